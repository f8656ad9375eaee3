import { html } from "../html.js";
import type { Page } from "../page.js";
import { pick } from "./failures.js";
import { number, since } from "./format.js";
import { link, table } from "./parts.js";

interface Entry {
  id: string;
  at: string;
  who: string;
  what: string;
  on: string;
  status: number | null;
  changed: number;
}

/** Who changed what. */
export const auditPage: Page = {
  path: "/audit",
  title: "Audit",
  isInNavigation: true,
  async render({ get, caller, query }) {
    if (!caller.scopes.includes("operate"))
      return html`<h1>Audit</h1><p class="empty">Who changed what is told to those with the scope <code>operate</code>.</p>`;
    const { entries, next } = (await get("/api/v1/audit", pick(query, ["cursor"]))) as {
      entries: Entry[];
      next: string | null;
    };
    const rows = entries.map(({ id, at, who, what, on, status, changed }) => ({
      key: id,
      cells: [
        html`${what}<br><small>${on}</small>`,
        who,
        status === null || status < 400
          ? html`<span class="good">done</span>`
          : html`<span class="bad">refused</span> <small>${status}</small>`,
        number(changed),
        since(at),
      ],
    }));
    return html`<h1>Audit</h1>
${
  rows.length === 0
    ? html`<p class="empty">Nobody has changed anything yet.</p>`
    : table(
        "Changes, the newest first",
        [
          { title: "What" },
          { title: "Who" },
          { title: "Result" },
          { title: "Changed", isNumber: true },
          { title: "When", isNumber: true },
        ],
        rows,
      )
}
${next !== null && html`<p><a href="${link("/audit", { cursor: next })}">Older changes</a></p>`}`;
  },
};

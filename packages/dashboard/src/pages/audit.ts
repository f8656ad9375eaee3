import { type Html, html } from "../html.js";
import type { Page } from "../page.js";
import { pick } from "./failures.js";
import { number, since } from "./format.js";
import { link, type Row, table } from "./parts.js";

interface Entry {
  id: string;
  at: string;
  who: string;
  what: string;
  on: string;
  request_id: string | null;
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
    return html`<h1>Audit</h1>
${
  entries.length === 0
    ? html`<p class="empty">Nobody has changed anything yet.</p>`
    : list("Changes, the newest first", entries)
}
${next !== null && html`<p><a href="${link("/audit", { cursor: next })}">Older changes</a></p>`}`;
  },
};

/** One change, which what came of it links to. */
export const entryPage: Page = {
  path: "/audit/:entry",
  title: "Audit entry",
  isInNavigation: false,
  isLive: false,
  async render({ get, caller, params }) {
    const crumbs = html`<p class="crumbs"><a href="${link("/audit")}">Audit</a></p>`;
    if (!caller.scopes.includes("operate"))
      return html`${crumbs}<h1>Audit entry</h1><p class="empty">Who changed what is told to those with the scope <code>operate</code>.</p>`;
    const entry = (await get(`/api/v1/audit/${encodeURIComponent(params.entry as string)}`)) as Entry;
    const about = concerned(entry.on);
    return html`${crumbs}<h1>Audit entry</h1>
${list("The change", [entry])}
<ul class="next">${entry.request_id !== null && html`<li>In the log it is the request <code>${entry.request_id}</code>.</li>`}${about && html`<li><a href="${link(about.path, about.query)}">${about.text}</a></li>`}</ul>`;
  },
};

/** Links to the entries of what was changed; to the audit log itself for one that is not written yet. */
export function auditLinks(entries: (string | undefined)[]): Html {
  const links = entries.map(
    (id) =>
      html`<li><a href="${link(id === undefined ? "/audit" : `/audit/${id}`)}">The audit log has it</a></li>`,
  );
  return html`${links.length > 0 && html`<ul class="next">${links}</ul>`}`;
}

function list(caption: string, entries: Entry[]): Html {
  const rows = entries.map(({ id, at, who, what, on, status, changed }): Row => {
    const about = concerned(on);
    return {
      key: id,
      cells: [
        html`<a href="${link(`/audit/${id}`)}">${what}</a><br><small>${about === undefined ? on : html`<a href="${link(about.path, about.query)}">${on}</a>`}</small>`,
        who,
        status === null || status < 400
          ? html`<span class="good">done</span>`
          : html`<span class="bad">refused</span> <small>${status}</small>`,
        number(changed),
        since(at),
      ],
    };
  });
  const columns = [
    { title: "What" },
    { title: "Who" },
    { title: "Result" },
    { title: "Changed", isNumber: true },
    { title: "When", isNumber: true },
  ];
  return table(caption, columns, rows);
}

/** The page of what a change was done to; undefined where there is none. @param on path of the API. */
function concerned(on: string): { path: string; query?: { host: string }; text: string } | undefined {
  const [, kind, id] = /^\/api\/v1\/([a-z]+)(?:\/([^/?]+))?/.exec(on) ?? [];
  if (kind === "runs" && id !== undefined) return { path: `/runs/${id}`, text: "The run" };
  if (kind === "hosts" && id !== undefined)
    return { path: "/hosts", query: { host: decoded(id) }, text: "The host" };
  const path = { failures: "/failures", dispatch: "/overview", events: "/events" }[kind ?? ""];
  return path === undefined ? undefined : { path, text: "What it was done to" };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // what was tried was no name
  }
}

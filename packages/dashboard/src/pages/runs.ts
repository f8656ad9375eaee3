import { html } from "../html.js";
import type { Page } from "../page.js";
import { failuresOf, type RunPage } from "./api.js";
import { pick } from "./failures.js";
import { bytes, number, since } from "./format.js";
import { link, runBadge, table } from "./parts.js";
import { progressOf, runName } from "./run-parts.js";

const MOST_LISTED = 50;
const STATES = ["running", "interrupted", "done", "cancelled"];

/** All runs that are kept, the newest first. */
export const runsPage: Page = {
  path: "/runs",
  title: "Runs",
  isInNavigation: true,
  async render({ get, query }) {
    const filter = pick(query, ["state", "label"]);
    const asked = { ...filter, ...pick(query, ["cursor"]), limit: String(MOST_LISTED) };
    const { runs, next } = (await get("/api/v1/runs", asked)) as RunPage;
    const isFiltered = Object.keys(filter).length > 0;
    const rows = runs.map((run) => ({
      key: run.id,
      cells: [
        runName(run),
        runBadge(run.state, failuresOf(run)),
        run.state === "running" || run.state === "interrupted" ? progressOf(run) : number(run.files),
        failuresOf(run) === 0 ? "0" : html`<span class="bad">${number(failuresOf(run))}</span>`,
        bytes(run.bytes),
        since(run.started_at),
      ],
    }));
    return html`<h1>Runs</h1>
<form method="get" action="${link("/runs")}" class="filter" role="search" aria-label="Runs">
<label>State <select name="state"><option value="">any</option>${STATES.map((state) => html`<option${filter.state === state && html` selected`}>${state}</option>`)}</select></label>
<label>Label <input name="label" value="${filter.label}" autocomplete="off"></label>
<button>Filter</button>${isFiltered && html` <a href="${link("/runs")}">All runs</a>`}
</form>
${
  rows.length > 0
    ? table(
        "Runs, the newest first",
        [
          { title: "Run" },
          { title: "State" },
          { title: "Files", isNumber: true },
          { title: "Failures", isNumber: true },
          { title: "Copied", isNumber: true },
          { title: "Started", isNumber: true },
        ],
        rows,
      )
    : isFiltered
      ? html`<p class="empty">No run is like that.</p>`
      : html`<p class="empty">No run yet. Start one:</p>
<pre tabindex="0"><code>drover sync https://example.com/prices.csv --redis redis://… --artifact-root /srv/data</code></pre>`
}
<p>${query.cursor !== undefined && html`<a href="${link("/runs", filter)}">The newest runs</a> `}${next !== null && html`<a href="${link("/runs", { ...filter, cursor: next })}">Older runs</a>`}</p>`;
  },
};

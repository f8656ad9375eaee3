import { type Html, html } from "../html.js";
import type { Page } from "../page.js";
import type { File, Run } from "./api.js";
import { pick } from "./failures.js";
import { bytes, duration, number } from "./format.js";
import { link, table } from "./parts.js";

const MOST_LISTED = 100;
/** Outcomes whose files are kept by name. */
const OUTCOMES = ["copied", "deleted", "failed", "blocked", "locked", "cancelled"] as const;
const FAILURES: readonly string[] = ["failed", "blocked", "locked", "cancelled"];

interface FilePage {
  files: File[];
  truncated: boolean;
  next: string | null;
}

/** What became of the files of a run, by outcome, class and host. */
export const filesPage: Page = {
  path: "/runs/:run/files",
  title: "Files",
  isInNavigation: false,
  isLive: false,
  async render({ get, caller, params, query }) {
    const path = `/api/v1/runs/${encodeURIComponent(params.run as string)}`;
    const filter = pick(query, ["outcome", "class", "host"]);
    const asked = { ...filter, ...pick(query, ["cursor"]), limit: String(MOST_LISTED) };
    const [run, found] = (await Promise.all([get(path), get(`${path}/files`, asked)])) as [Run, FilePage];
    const of = [filter.outcome, filter.class, filter.host].filter((text) => text !== undefined).join(", ");
    const here = `/runs/${run.id}/files`;
    const outcomes = OUTCOMES.filter((outcome) => run[outcome] > 0);
    const tab = (outcome: string | undefined, text: string) =>
      html`<li><a href="${link(here, { outcome })}"${filter.outcome === outcome && html` aria-current="true"`}>${text}</a></li>`;
    return html`<p class="crumbs"><a href="${link("/runs")}">Runs</a> / <a href="${link(`/runs/${run.id}`)}">${run.label ?? run.id}</a></p>
<h1>Files${of !== "" && `: ${of}`}</h1>
<nav aria-label="Outcomes"><ul class="tabs">${tab(undefined, "all")}${outcomes.map((outcome) => tab(outcome, `${outcome} ${number(run[outcome])}`))}</ul></nav>
${found.truncated && html`<p class="partial">Not all: of what was copied or deleted, the last files alone are kept. All are counted.</p>`}
${
  found.files.length === 0
    ? html`<p class="empty">No file is listed here.</p>`
    : selectable(run, found.files, caller.scopes.includes("operate"))
}
<p>${query.cursor !== undefined && html`<a href="${link(here, filter)}">The first files</a> `}${found.next !== null && html`<a href="${link(here, { ...filter, cursor: found.next })}">More files</a>`}</p>
<p class="empty">This list stands still: load the page again for a newer one.</p>`;
  },
};

/** The files in a table; those that failed can be ticked, to be retried. */
function selectable(run: Run, files: File[], mayOperate: boolean): Html {
  const isFailure = ({ outcome }: File) => FAILURES.includes(outcome);
  const mayRetry = mayOperate && files.some(isFailure);
  const rows = files.map((file) => ({
    key: file.destination,
    cells: [
      mayRetry && isFailure(file)
        ? html`<label class="tick"><input type="checkbox" name="file" value="${file.destination}"> ${file.source ?? file.destination}</label>`
        : (file.source ?? file.destination),
      html`<span class="${isFailure(file) && "bad"}">${file.outcome}</span>${file.error !== null && html`<br><small>${file.error.class}: ${file.error.message}</small>`}`,
      number(file.attempts),
      file.bytes === 0 ? "–" : bytes(file.bytes),
      file.duration_ms === 0 ? "–" : duration(file.duration_ms),
    ],
  }));
  const list = table(
    "Files",
    [
      { title: "Source" },
      { title: "Outcome" },
      { title: "Attempts", isNumber: true },
      { title: "Size", isNumber: true },
      { title: "Took", isNumber: true },
    ],
    rows,
  );
  if (!mayRetry) return list;
  return html`<form method="post" action="${link(`/runs/${run.id}/retry-selected`)}">${list}<p><button>Retry the ticked files</button></p></form>`;
}

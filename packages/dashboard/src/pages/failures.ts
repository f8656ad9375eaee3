import { html } from "../html.js";
import type { Action, Page } from "../page.js";
import type { File } from "./api.js";
import { counted, number } from "./format.js";
import { link, result, table } from "./parts.js";

interface Failure extends File {
  run: string;
  label: string | null;
  host: string;
}

interface FailurePage {
  failures: Failure[];
  total: number;
  truncated: boolean;
  next: string | null;
}

interface Retried {
  runs: string[];
  files: number;
  skipped: { run: string; why: string }[];
  truncated: boolean;
}

/** The time that failures are shown of, in milliseconds. */
const SHOWN_MS = 3_600_000;
const MOST_LISTED = 100;
/** Runs that are named. */
const MOST_NAMED = 20;

/** What failed in all runs in the last hour, file by file. */
export const failuresPage: Page = {
  path: "/failures",
  title: "Failures",
  isInNavigation: false,
  isLive: false,
  async render({ get, query }) {
    const filter = pick(query, ["class", "host"]);
    const found = (await get("/api/v1/failures", {
      ...filter,
      ...pick(query, ["cursor"]),
      since: new Date(Date.now() - SHOWN_MS).toISOString(),
      limit: String(MOST_LISTED),
    })) as FailurePage;
    const of = [filter.class, filter.host].filter((text) => text !== undefined).join(" at ");
    const rows = found.failures.map((failure) => ({
      key: `${failure.run} ${failure.destination}`,
      cells: [
        failure.source ?? failure.destination,
        html`${failure.error?.class}<br><small>${failure.error?.message}</small>`,
        number(failure.attempts),
        html`<a href="${link(`/runs/${failure.run}`)}">${failure.label ?? failure.run}</a>`,
      ],
    }));
    return html`<h1>Failures of the last hour${of !== "" && `: ${of}`}</h1>
<p>${counted(found.total, "file")}. <a href="${link("/overview")}">They are retried from the overview.</a></p>
${found.truncated && html`<p class="partial">Not all are counted: an earlier version recorded more than 200,000.</p>`}
${
  rows.length === 0
    ? html`<p class="empty">Nothing failed here, or it was retried since.</p>`
    : table(
        "Files that failed",
        [{ title: "Source" }, { title: "Error" }, { title: "Attempts", isNumber: true }, { title: "Run" }],
        rows,
      )
}
${found.next !== null && html`<p><a href="${link("/failures", { ...filter, cursor: found.next })}">More failures</a></p>`}`;
  },
  actions: [retryEverywhere()],
};

function retryEverywhere(): Action {
  return {
    path: "/failures/retry",
    async run({ change }, form) {
      const body = {
        ...pick(Object.fromEntries(form), ["class", "host"]),
        since: new Date(Date.now() - SHOWN_MS).toISOString(),
      };
      const { runs, files, skipped, truncated } = (await change("POST", "/api/v1/failures/retry", {
        body,
      })) as Retried;
      const named = runs.slice(0, MOST_NAMED);
      const left = skipped.slice(0, MOST_NAMED);
      return html`${result(
        files === 0
          ? "Nothing is tried again"
          : `${counted(files, "file")} ${files === 1 ? "is" : "are"} tried again`,
        files === 0
          ? "What failed was retried since, or its runs cannot go on."
          : `${counted(runs.length, "run")} ${runs.length === 1 ? "goes" : "go"} on with ${files === 1 ? "it" : "them"}${runs.length > named.length ? `, ${named.length} of which are named here` : ""}.`,
        [
          ...named.map((run): [string, string] => [`/runs/${run}`, `Run ${run}`]),
          ["/overview", "The overview"],
        ],
      )}
${truncated && html`<p class="partial">More than 1,000 runs are concerned: do it again once these are done.</p>`}
${left.length > 0 && html`<h2>Left out: ${counted(skipped.length, "run")}</h2><ul>${left.map(({ run, why }) => html`<li><a href="${link(`/runs/${run}`)}">${run}</a>: ${why}</li>`)}</ul>`}`;
    },
  };
}

/** Those of these parameters that say something. */
export function pick<const Name extends string>(
  given: Record<string, unknown>,
  names: readonly Name[],
): { [Each in Name]?: string } {
  const told = names.flatMap((name) => {
    const value = given[name];
    return typeof value === "string" && value !== "" ? [[name, value]] : [];
  });
  return Object.fromEntries(told) as { [Each in Name]?: string };
}

import { type Html, html } from "../html.js";
import type { FailureGroups } from "./api.js";
import { counted, number } from "./format.js";
import { link, step, table } from "./parts.js";

/** Groups that a page lists. */
const MOST_LISTED = 20;

export interface Shown {
  /** Unique on the page. */
  id: string;
  /** Whether there are buttons. */
  mayRetry: boolean;
  /** Path below the dashboard's own that retries are posted to. */
  path: string;
  /** Path below the dashboard's own that lists the files of a group. */
  listedAt: string;
  /** Which runs go on, for people: `the run`, `9 runs`. */
  runs: string;
}

/** Failures by class and host, each with a button that retries them. */
export function failureGroups(found: FailureGroups, { id, mayRetry, path, listedAt, runs }: Shown): Html {
  const listed = found.groups.slice(0, MOST_LISTED);
  const rows = listed.map((group) => {
    const fields = { class: group.class, host: group.host };
    const retry = step({
      id: `${id}-${group.class}-${group.host}`,
      label: `Retry these ${number(group.retriable)}`,
      explains: `${counted(group.retriable, "file")} of ${group.host} that ended with ${group.class} will be tried again, with fresh tries. ${runs} will go on with them.`,
      confirms: `Retry ${counted(group.retriable, "file")}`,
      path,
      fields: { ...fields, files: String(group.retriable) },
    });
    return {
      key: `${group.class} ${group.host}`,
      cells: [
        html`<a href="${link(listedAt, fields)}">${group.class}</a>`,
        group.host,
        number(group.files),
        mayRetry && (group.retriable > 0 ? retry : html`<small>a retry cannot help</small>`),
      ],
    };
  });
  const hiddenGroups = found.groups.length - listed.length;
  return html`${table(
    "Failures by class of the error and host",
    [{ title: "Class" }, { title: "Host" }, { title: "Files", isNumber: true }, { title: "Action" }],
    rows,
  )}
${(found.truncated || hiddenGroups > 0) && html`<p class="partial">Not all: these are the ${listed.length} largest groups${found.truncated && ", and not all failures are counted"}.</p>`}`;
}

/** A button that retries them all. */
export function retryAll({ retriable }: FailureGroups, { id, path, runs }: Shown): Html {
  return step({
    id: `${id}-all`,
    label: `Retry all ${number(retriable)}`,
    explains: `${counted(retriable, "file")} will be tried again, of every class and host. ${runs} will go on with them.`,
    confirms: `Retry ${counted(retriable, "file")}`,
    path,
    fields: { files: String(retriable) },
  });
}

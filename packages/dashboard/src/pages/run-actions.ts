import { html } from "../html.js";
import type { Action } from "../page.js";
import type { Run } from "./api.js";
import { pick } from "./failures.js";
import { counted } from "./format.js";
import { hidden, link, result } from "./parts.js";

/** Files that are named before they are retried. */
const MOST_NAMED = 20;

/** What is done to a run, and to files of it. */
export const runActions: Action[] = [
  {
    path: "/runs/:run/retry",
    async run({ params, change }, form) {
      const files = form.getAll("file");
      const only = {
        ...pick(Object.fromEntries(form), ["class", "host"]),
        ...(files.length > 0 && { files }),
      };
      const run = (await change("POST", `/api/v1/runs/${params.run}/retry`, { body: only })) as Run;
      const left = run.files - run.settled;
      return result(
        "The run goes on",
        `${counted(left, "file")} ${left === 1 ? "is" : "are"} to go now, those that are tried again among them.`,
        linksOf(run),
      );
    },
  },
  {
    path: "/runs/:run/retry-selected",
    async run({ params }, form) {
      const files = form.getAll("file");
      const back = link(`/runs/${params.run}`);
      if (files.length === 0)
        return html`<h1>No file is selected</h1><p>Tick the files to retry first.</p><p><a href="${back}">The run</a></p>`;
      const count = counted(files.length, "file");
      return html`<h1>Retry ${count}?</h1>
<p>${count} of run ${params.run} will be tried again, with fresh tries:</p>
<ul>${files.slice(0, MOST_NAMED).map((file) => html`<li>${file}</li>`)}</ul>
${files.length > MOST_NAMED && html`<p>and ${counted(files.length - MOST_NAMED, "more", "more")}.</p>`}
<form method="post" action="${back}/retry">${files.map((file) => hidden({ file }))}<button>Retry ${count}</button> <a href="${back}">Leave it</a></form>`;
    },
  },
  {
    path: "/runs/:run/resume",
    async run({ params, change }) {
      const run = (await change("POST", `/api/v1/runs/${params.run}/resume`)) as Run;
      return result("The run goes on", `${counted(run.files - run.settled, "file")} to go.`, linksOf(run));
    },
  },
  {
    path: "/runs/:run/cancel",
    async run({ params, change }) {
      const run = (await change("POST", `/api/v1/runs/${params.run}/cancel`)) as Run;
      return result(
        run.state === "done" ? "The run had ended already" : "The run is cancelled",
        "What had not ended ends cancelled within a moment.",
        [...linksOf(run), [`/runs/${run.id}/files?outcome=cancelled`, "Its files that were cancelled"]],
      );
    },
  },
  {
    path: "/runs/:run/cancel-file",
    async run({ params, change }, form) {
      const file = form.get("file") ?? "";
      const run = (await change("POST", `/api/v1/runs/${params.run}/cancel`, { body: { file } })) as Run;
      return result("1 file is cancelled", `${file} ends cancelled within a moment.`, [
        ...linksOf(run),
        [`/runs/${run.id}/files?outcome=cancelled`, "The file, among those that were cancelled"],
      ]);
    },
  },
];

function linksOf({ id, label }: Run): [string, string][] {
  return [[`/runs/${id}`, `Run ${label ?? id}`]];
}

import { type Content, type Html, html } from "../html.js";
import { BASE, type Page } from "../page.js";
import { type Carried, type FailureGroups, failuresOf, type Run, type Worker } from "./api.js";
import { failureGroups, retryAll, type Shown } from "./failure-groups.js";
import { bytes, counted, duration, number, since } from "./format.js";
import { link, runBadge, step, table } from "./parts.js";
import { runActions } from "./run-actions.js";
import { etaOf, progressOf } from "./run-parts.js";

/** Files on their way that are listed, and sources that are named. */
const MOST_CARRIED = 50;
const MOST_SOURCES = 2;
const OUTCOMES = ["copied", "unchanged", "deleted", "failed", "blocked", "locked", "cancelled"] as const;

/** One run: how it stands, what failed, and what can be done about it. */
export const runPage: Page = {
  path: "/runs/:run",
  title: "Run",
  isInNavigation: false,
  async render({ get, caller, params }) {
    const run = (await get(`/api/v1/runs/${encodeURIComponent(params.run as string)}`)) as Run;
    const [failures, { workers }] = (await Promise.all([
      get(`/api/v1/runs/${run.id}/failures`),
      get("/api/v1/workers"),
    ])) as [FailureGroups, { workers: Worker[] }];
    const mayOperate = caller.scopes.includes("operate");
    const isOpen = run.state === "running" || run.state === "interrupted";
    return html`<p class="crumbs"><a href="${BASE}/runs">Runs</a></p>
<div class="title"><h1>${run.label ?? run.id}</h1><p role="status" id="state">${runBadge(run.state, failuresOf(run))}</p></div>
${facts(run)}
${notices(run)}
${isOpen && html`<div class="big-progress">${progressOf(run)}</div>`}
${numbers(run)}
${mayOperate && actions(run, failures)}
${
  failures.files > 0 &&
  html`<section aria-labelledby="failed" data-key="failed"><h2 id="failed">Failures</h2>
${failureGroups(failures, shownOf(run, mayOperate))}</section>`
}
${isOpen && carried(run, workers, mayOperate)}
${files(run)}
${live(run)}`;
  },
  actions: runActions,
};

function shownOf({ id }: Run, mayRetry: boolean): Shown {
  const path = `/runs/${id}/retry`;
  return { id: "retry", mayRetry, path, listedAt: `/runs/${id}/files`, runs: "This run" };
}

function facts(run: Run): Html {
  const sources = run.sources.slice(0, MOST_SOURCES);
  const more = run.sources_count - sources.length;
  const fact = (name: string, says: Content) => html`<div><dt>${name}</dt><dd>${says}</dd></div>`;
  return html`<dl class="facts">
${fact("Id", html`<code>${run.id}</code>`)}
${fact("From", html`${sources.map((source, at) => html`${at > 0 && html`<br>`}${source}`)}${more > 0 && html`<br>and ${number(more)} more`}`)}
${fact("To", run.destination)}
${fact("Started", since(run.started_at))}
${run.ended_at !== null && fact("Took", duration(Date.parse(run.ended_at) - Date.parse(run.started_at)))}
</dl>`;
}

function notices(run: Run): Content {
  return [
    run.stopped_because !== null &&
      html`<p class="notice">It was cancelled by itself: ${run.stopped_because}.</p>`,
    run.not_deleted_because !== null &&
      html`<p class="notice">Nothing was deleted: ${run.not_deleted_because}.</p>`,
    run.state === "interrupted" &&
      html`<p class="notice">It was interrupted${!run.sealed && " before all its files were found"}: <strong>Resume</strong> goes on with it.</p>`,
  ];
}

function numbers(run: Run): Html {
  const tile = (name: string, value: string, says: Content) =>
    html`<div><dt>${name}</dt><dd><span class="value">${value}</span><span class="says">${says}</span></dd></div>`;
  const isRunning = run.state === "running";
  const failures = failuresOf(run);
  return html`<dl class="numbers">
${tile("Files", number(run.files), run.sealed ? html`${number(run.settled)} have ended` : "found so far")}
${isRunning ? tile("Time left", etaOf(run), html`${number(run.files_per_second ?? 0)} files/s`) : tile("Unchanged", number(run.unchanged), "needed no copy")}
${tile("Copied", bytes(run.bytes), counted(run.copied, "file"))}
${tile("Failures", number(failures), failures === 0 ? "none so far" : html`<a href="#failed">by class and host</a>`)}
</dl>`;
}

function actions(run: Run, failures: FailureGroups): Html {
  const path = `/runs/${run.id}`;
  const left = run.files - run.settled;
  const isOpen = run.state === "running" || run.state === "interrupted";
  return html`<div class="steps">${
    run.state === "interrupted" &&
    step({
      id: "resume",
      label: `Resume: ${counted(left, "file")} to go`,
      explains: `${counted(left, "file")} that ${left === 1 ? "has" : "have"} not ended ${left === 1 ? "is" : "are"} carried${run.sealed ? "" : ", and its sources are read to their ends"}. What failed is left alone.`,
      confirms: "Resume the run",
      path: `${path}/resume`,
    })
  }${failures.retriable > 0 && retryAll(failures, shownOf(run, true))}${
    isOpen &&
    step({
      id: "cancel",
      label: `Cancel: ${counted(left, "file")} to go`,
      explains: `${counted(left, "file")} that ${left === 1 ? "has" : "have"} not ended ${left === 1 ? "ends" : "end"} cancelled${run.sealed ? "" : ", and no more are looked for"}. What is copied stays. A retry takes the run up again.`,
      confirms: `Cancel ${counted(left, "file")}`,
      path: `${path}/cancel`,
      fields: { left: String(left) },
      isDangerous: true,
    })
  }${
    isOpen &&
    step({
      id: "cancel-one",
      label: "Cancel 1 file",
      explains:
        "One file ends cancelled, unless other runs wait for it too. Name its source, or its destination.",
      confirms: "Cancel this file",
      path: `${path}/cancel-file`,
      isDangerous: true,
      inputs: html`<label>Source or destination <input name="file" required autocomplete="off"></label>`,
    })
  }</div>`;
}

function carried(run: Run, workers: Worker[], mayOperate: boolean): Html {
  const all = workers.flatMap((worker) =>
    worker.carrying.filter((each) => each.run === run.id).map((each) => ({ worker, file: each })),
  );
  const rows = all.slice(0, MOST_CARRIED).map(({ worker, file }) => ({
    key: file.destination,
    cells: [
      file.source,
      received(file),
      html`${worker.host} <small>${worker.pid}</small>`,
      since(file.since),
      ...(mayOperate
        ? [
            step({
              id: `cancel ${file.destination}`.replace(/\s/g, "+"),
              label: "Cancel",
              explains: "1 file ends cancelled, unless other runs wait for it too.",
              confirms: "Cancel this file",
              path: `/runs/${run.id}/cancel-file`,
              fields: { file: file.destination },
              isDangerous: true,
            }),
          ]
        : []),
    ],
  }));
  return html`<section aria-labelledby="carried" data-key="carried"><h2 id="carried">On their way</h2>
${
  rows.length === 0
    ? html`<p class="empty">No worker carries a file of this run now.</p>`
    : table(
        "Files that workers carry",
        [
          { title: "Source" },
          { title: "Received" },
          { title: "Worker" },
          { title: "Since", isNumber: true },
          ...(mayOperate ? [{ title: "Action" }] : []),
        ],
        rows,
      )
}
${all.length > rows.length && html`<p class="partial">These are ${rows.length} of ${number(all.length)}.</p>`}</section>`;
}

function received({ source, received_bytes: got, size_bytes: size }: Carried): Html {
  if (size === null || size === 0) return html`${bytes(got)}`;
  return html`<progress max="${size}" value="${got}" aria-label="Received of ${source}"></progress> <span class="tally">${bytes(got)} of ${bytes(size)}</span>`;
}

function files(run: Run): Html {
  const rows = OUTCOMES.filter((outcome) => run[outcome] > 0).map((outcome) => ({
    key: outcome,
    cells: [
      outcome === "unchanged"
        ? html`${outcome} <small>only counted</small>`
        : html`<a href="${link(`/runs/${run.id}/files`, { outcome })}">${outcome}</a>`,
      number(run[outcome]),
    ],
  }));
  const report = `/api/v1/runs/${run.id}/report`;
  return html`<section aria-labelledby="files" data-key="files"><h2 id="files">Files</h2>
${
  rows.length === 0
    ? html`<p class="empty">None has ended yet.</p>`
    : table("Files by how they ended", [{ title: "Outcome" }, { title: "Files", isNumber: true }], rows)
}
<p>Report: <a href="${report}?format=csv" download>CSV</a>, <a href="${report}?format=ndjson" download>NDJSON</a></p></section>`;
}

/** Files as they end. The script fills the list, and keeps it over refreshes. */
function live(run: Run): Html {
  const isOver = run.state !== "running" && !(run.state === "interrupted" && run.sealed);
  const events = !isOver && html` data-events="/api/v1/runs/${run.id}/events?from=now"`;
  return html`<section aria-labelledby="log" data-key="log"><h2 id="log">As they end</h2>
<ol id="live" class="log" data-keep aria-labelledby="log"${events}></ol>
<p class="empty if-none">${isOver ? "The run is over." : "Files are listed here as they end, the newest first."}</p></section>`;
}

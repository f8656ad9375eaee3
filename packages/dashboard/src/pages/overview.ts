import { type Content, type Html, html } from "../html.js";
import { BASE, type Page } from "../page.js";
import type { FailureGroups, Overview, OverviewSample, Run, RunPage } from "./api.js";
import { failuresOf } from "./api.js";
import { dispatchActions, pauseStep, resumeStep } from "./dispatch.js";
import { failureGroups, retryAll } from "./failure-groups.js";
import { bytes, counted, duration, number, since, until } from "./format.js";
import { closeStep } from "./hosts.js";
import { link, mark, runBadge, table } from "./parts.js";
import { etaOf, progressOf, runName } from "./run-parts.js";
import { sparkline } from "./sparkline.js";

/** Time that the small lines cover, in milliseconds. */
const SPAN_MS = 300_000;
/** Runs that are listed. */
const MOST_RUNNING = 20;
const MOST_ENDED = 5;

type RecentFailures = FailureGroups & { runs: number };

/** What the fleet does now: what people look at first. */
export const overviewPage: Page = {
  path: "/overview",
  title: "Overview",
  isInNavigation: true,
  async render({ get, caller }) {
    const overview = (await get("/api/v1/overview")) as Overview; // first: it says quickly that Redis is away
    const [recent, running, interrupted, newest, failures] = (await Promise.all([
      get("/api/v1/overview/recent"),
      get("/api/v1/runs", { state: "running", limit: String(MOST_RUNNING) }),
      get("/api/v1/runs", { state: "interrupted", limit: String(MOST_ENDED) }),
      get("/api/v1/runs", { limit: String(MOST_RUNNING) }),
      get("/api/v1/failures/groups", { minutes: "60" }),
    ])) as [{ samples: OverviewSample[] }, RunPage, RunPage, RunPage, RecentFailures];
    const mayOperate = caller.scopes.includes("operate");
    const ended = newest.runs.filter(({ state }) => state !== "running" && state !== "interrupted");
    return html`<h1 class="hidden">Overview</h1>
${verdict(overview, mayOperate)}
${numbers(overview, recent.samples)}
${newest.runs.length === 0 ? beginning(overview) : active([...interrupted.runs, ...running.runs], running.next !== null)}
${overview.blocked_hosts.length > 0 && blockedHosts(overview, mayOperate)}
${lately(failures, mayOperate)}
${ended.length > 0 && endedRuns(ended.slice(0, MOST_ENDED))}`;
  },
  actions: dispatchActions,
};

function verdict({ state, sentence, ...overview }: Overview, mayOperate: boolean): Html {
  // What is said aloud changes with the state, not with every number.
  const aloud = state === "ok" ? sentence.replace(/:.*/, "") : sentence;
  const dispatch = overview.dispatch_paused
    ? resumeStep(overview.waiting_files)
    : pauseStep(overview.waiting_files);
  return html`<div class="verdict ${state}" id="verdict"><p>${mark(state)}<strong>${sentence}</strong></p>${mayOperate && dispatch}</div>
<p class="hidden" role="status" id="aloud">${aloud}</p>`;
}

function numbers(overview: Overview, samples: OverviewSample[]): Html {
  const line = (of: keyof Omit<OverviewSample, "at">) =>
    sparkline(
      samples.map((sample) => ({ atMs: Date.parse(sample.at), value: sample[of] })),
      SPAN_MS,
    );
  const { workers } = overview;
  const waiting = overview.waiting_files;
  const oldest = overview.oldest_waiting_seconds;
  return html`<dl class="numbers">
${tile("Files per second", number(overview.files_per_second), html`${counted(overview.open_files, "file")} to go`, line("files_per_second"))}
${tile("Bytes per second", bytes(overview.bytes_per_second), "copied, in the last half minute", line("bytes_per_second"))}
${tile("Oldest waiting", waiting === 0 && oldest === 0 ? "nothing" : duration(oldest * 1_000), html`${counted(waiting, "file")} waiting`, line("oldest_waiting_seconds"))}
${tile("Workers", number(workers.alive), html`carrying ${number(workers.carrying)} of ${counted(workers.capacity, "file")} at once${workers.draining > 0 && html`, ${number(workers.draining)} draining`}`, line("carrying"))}
</dl>`;
}

function tile(name: string, value: string, says: Content, line: Html): Html {
  return html`<div><dt>${name}</dt><dd><span class="value">${value}</span><span class="says">${says}</span>${line}</dd></div>`;
}

/** For those who have no run yet: what to do. */
function beginning({ workers }: Overview): Html {
  return html`<section aria-labelledby="beginning" data-key="beginning"><h2 id="beginning">No run yet</h2>
${workers.alive === 0 && html`<p>Start a worker on any machine that reaches this Redis:</p><pre tabindex="0"><code>drover worker --redis redis://… --root /srv/data</code></pre>`}
<p>Start a run:</p><pre tabindex="0"><code>drover sync https://example.com/prices.csv --redis redis://… --artifact-root /srv/data</code></pre></section>`;
}

function active(runs: Run[], hasMore: boolean): Html {
  const rows = runs.map((run) => {
    const failures = failuresOf(run);
    return {
      key: run.id,
      cells: [
        runName(run),
        run.state === "running" ? progressOf(run) : html`${runBadge(run.state, failures)} ${progressOf(run)}`,
        run.files_per_second === null ? "–" : number(run.files_per_second),
        etaOf(run),
        failures === 0 ? "0" : html`<a class="bad" href="${link(`/runs/${run.id}`)}">${number(failures)}</a>`,
        since(run.started_at),
      ],
    };
  });
  return html`<section aria-labelledby="running" data-key="running"><h2 id="running">Running</h2>
${
  runs.length === 0
    ? html`<p class="empty">Nothing runs.</p>`
    : table(
        "Runs that have not ended",
        [
          { title: "Run" },
          { title: "Progress" },
          { title: "Files/s", isNumber: true },
          { title: "Time left", isNumber: true },
          { title: "Failures", isNumber: true },
          { title: "Started", isNumber: true },
        ],
        rows,
      )
}
${hasMore && html`<p class="partial">These are the newest ${MOST_RUNNING}: <a href="${link("/runs", { state: "running" })}">all that run</a>.</p>`}</section>`;
}

function blockedHosts(overview: Overview, mayOperate: boolean): Html {
  const rows = overview.blocked_hosts.map(({ host, breaker, open_until, since: begun, ...waiting }) => ({
    key: host,
    cells: [
      host,
      breaker === "open" ? html`<span class="bad">open</span>` : html`<span class="warn">being tried</span>`,
      since(begun),
      open_until === null ? "now" : until(open_until),
      number(waiting.files),
      mayOperate && closeStep(host, waiting),
    ],
  }));
  return html`<section aria-labelledby="blocked" data-key="blocked"><h2 id="blocked">Blocked hosts</h2>
${overview.blocked_files > 0 && html`<p>About ${counted(overview.blocked_files, "file")} ${overview.blocked_files === 1 ? "waits" : "wait"} for them.</p>`}
${table(
  "Hosts whose breakers are open",
  [
    { title: "Host" },
    { title: "Breaker" },
    { title: "Blocked", isNumber: true },
    { title: "Tried again", isNumber: true },
    { title: "Files waiting", isNumber: true },
    { title: "Action" },
  ],
  rows,
)}
${rows.length === 100 && html`<p class="partial">These are the first 100: <a href="${BASE}/hosts">all hosts</a>.</p>`}</section>`;
}

function lately(failures: RecentFailures, mayRetry: boolean): Html {
  const runs = failures.runs === 1 ? "The run" : `Up to ${counted(failures.runs, "run")}`;
  const shown = { id: "retry", mayRetry, path: "/failures/retry", listedAt: "/failures", runs };
  return html`<section aria-labelledby="failed" data-key="failed"><h2 id="failed">Failures of the last hour</h2>
${
  failures.files === 0
    ? html`<p class="empty">None.</p>`
    : html`<p>${counted(failures.files, "file")} of ${counted(failures.runs, "run")} that ${failures.runs === 1 ? "is" : "are"} under way or ended in the last hour.</p>
${failureGroups(failures, shown)}
${mayRetry && failures.retriable > 0 && failures.groups.length > 1 && retryAll(failures, shown)}`
}</section>`;
}

function endedRuns(runs: Run[]): Html {
  const rows = runs.map((run) => ({
    key: run.id,
    cells: [
      runName(run),
      runBadge(run.state, failuresOf(run)),
      number(run.files),
      bytes(run.bytes),
      run.ended_at === null ? "–" : since(run.ended_at),
    ],
  }));
  return html`<section aria-labelledby="ended" data-key="ended"><h2 id="ended">Ended last</h2>
${table(
  "Runs that ended last",
  [
    { title: "Run" },
    { title: "State" },
    { title: "Files", isNumber: true },
    { title: "Copied", isNumber: true },
    { title: "Ended", isNumber: true },
  ],
  rows,
)}
<p><a href="${BASE}/runs">All runs</a></p></section>`;
}

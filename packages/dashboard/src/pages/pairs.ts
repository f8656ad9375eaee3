import { type Html, html } from "../html.js";
import type { Action, Page } from "../page.js";
import { bytes, counted, number, since } from "./format.js";
import { badge, link, result, step, table } from "./parts.js";

interface Pair {
  id: string;
  local: string;
  remote: string;
  generation: number;
  last_run: string | null;
  ended_at: string | null;
  conflicts: number;
}

interface Version {
  size: number;
  mtime: string;
}

interface Conflict {
  path: string;
  reason: string;
  local: Version | null;
  remote: Version | null;
}

/** What an action of a pair was answered with. */
interface Begun {
  run: string | null;
  planned: {
    push: number;
    pull: number;
    "delete-local": number;
    "delete-remote": number;
    listed: number;
  } | null;
}

/** Conflicts that a page shows. */
const MOST_SHOWN = 500;

/** The pairs that are synced both ways. */
export const pairsPage: Page = {
  path: "/pairs",
  title: "Pairs",
  isInNavigation: true,
  async render({ get }) {
    const { pairs } = (await get("/api/v1/pairs")) as { pairs: Pair[] };
    if (pairs.length === 0)
      return html`<h1>Pairs</h1><p class="empty">No pair was synced yet: <code>drover bisync DIR s3://bucket/prefix</code> keeps two trees the same in both directions.</p>`;
    const columns = [
      { title: "Local" },
      { title: "Other side" },
      { title: "Synced" },
      { title: "Conflicts", isNumber: true },
    ];
    const rows = pairs.map((pair) => ({
      key: pair.id,
      cells: [
        html`<a href="${link(`/pairs/${pair.id}`)}">${pair.local}</a>`,
        pair.remote,
        endedText(pair),
        pair.conflicts === 0 ? "0" : badge("warning", number(pair.conflicts)),
      ],
    }));
    return html`<h1>Pairs</h1>${table("Pairs", columns, rows)}`;
  },
};

function endedText({ ended_at: ended }: Pair): Html | string {
  return ended === null ? "under way, or broke off: the next sync goes on" : since(ended);
}

const resolveAction: Action = {
  path: "/pairs/:pair/resolve",
  run({ params, change }, form) {
    const path = form.get("path");
    const body = { take: form.get("take") ?? "", ...(path === null ? {} : { paths: [path] }) };
    return begun(params.pair as string, change("POST", `/api/v1/pairs/${params.pair}/resolve`, { body }));
  },
};

/** One pair: its conflicts with both versions, and what can be done. */
export const pairPage: Page = {
  path: "/pairs/:pair",
  title: "Pair",
  isInNavigation: false,
  async render({ get, params, caller }) {
    const path = `/api/v1/pairs/${encodeURIComponent(params.pair as string)}`;
    const pair = (await get(path)) as unknown as Pair;
    const { conflicts } = (await get(`${path}/conflicts`)) as { conflicts: Conflict[] };
    const mayOperate = caller.scopes.includes("operate");
    return html`<h1>${pair.local} and ${pair.remote}</h1>
<p>Synced: ${endedText(pair)}.${pair.last_run !== null && html` Last run: <a href="${link(`/runs/${pair.last_run}`)}">${pair.last_run}</a>.`}</p>
${mayOperate && html`<div class="steps">${pairSteps(pair)}</div>`}
<section aria-labelledby="conflicts" data-key="conflicts"><h2 id="conflicts">Conflicts</h2>${conflictTable(pair, conflicts, mayOperate)}</section>`;
  },
  actions: [
    {
      path: "/pairs/:pair/sync",
      run: ({ params, change }) =>
        begun(params.pair as string, change("POST", `/api/v1/pairs/${params.pair}/sync`, { body: {} })),
    },
    {
      path: "/pairs/:pair/rollback",
      run: ({ params, change }, form) =>
        begun(
          params.pair as string,
          change("POST", `/api/v1/runs/${encodeURIComponent(form.get("run") ?? "")}/rollback`),
        ),
    },
    resolveAction,
  ],
};

async function begun(pair: string, answering: Promise<unknown>): Promise<Html> {
  const { run, planned } = (await answering) as Begun;
  const listed = planned && planned.listed > 0 ? ` ${counted(planned.listed, "conflict")} to resolve.` : "";
  if (run === null)
    return result("Nothing was to be done", `Both sides are as they should be.${listed}`, [
      [`/pairs/${pair}`, "The pair"],
    ]);
  const says = planned
    ? `${planned.push} to the other side, ${planned.pull} from it, ${planned["delete-local"] + planned["delete-remote"]} to be deleted.${listed}`
    : "It is carried out as a run.";
  return result("It has begun", says, [
    [`/runs/${run}`, "Its run"],
    [`/pairs/${pair}`, "The pair"],
  ]);
}

function pairSteps({ id, last_run: run }: Pair): Html {
  return html`${step({
    id: `sync-${id}`,
    label: "Sync now",
    explains:
      "Both sides are listed and compared, and made the same by the terms of the last time. Guards stop what looks like an accident.",
    confirms: "Sync this pair",
    path: `/pairs/${id}/sync`,
  })}${
    run !== null &&
    step({
      id: `rollback-${id}`,
      label: "Take the last run back",
      explains: `What run ${run} did is taken back, where nothing was changed since. That is a run itself, which can be taken back too.`,
      confirms: `Take ${run} back`,
      path: `/pairs/${id}/rollback`,
      fields: { run },
      isDangerous: true,
    })
  }`;
}

function conflictTable({ id }: Pair, conflicts: Conflict[], mayOperate: boolean): Html {
  if (conflicts.length === 0) return html`<p class="empty">No conflict waits.</p>`;
  const columns = [
    { title: "Path" },
    { title: "What happened" },
    { title: "Local version" },
    { title: "Other version" },
    ...(mayOperate ? [{ title: "Action" }] : []),
  ];
  const rows = conflicts.slice(0, MOST_SHOWN).map(({ path, reason, local, remote }) => ({
    key: path,
    cells: [
      path,
      reason.replaceAll("_", " "),
      versionText(local),
      versionText(remote),
      ...(mayOperate ? [html`<div class="steps">${resolveStep(id, path, 1)}</div>`] : []),
    ],
  }));
  return html`<p>${counted(conflicts.length, "conflict")} ${conflicts.length === 1 ? "waits" : "wait"} for a person.</p>
${mayOperate && html`<div class="steps">${resolveStep(id, undefined, conflicts.length)}</div>`}
${table("Conflicts", columns, rows)}
${conflicts.length > MOST_SHOWN && html`<p class="partial">The first ${number(MOST_SHOWN)} are shown.</p>`}`;
}

function versionText(version: Version | null): Html | string {
  return version === null ? "none" : html`${bytes(version.size)}, ${since(version.mtime)}`;
}

/** @param path undefined for all conflicts. */
function resolveStep(id: string, path: string | undefined, count: number): Html {
  const choice = (value: string, label: string) => html`<option value="${value}">${label}</option>`;
  return step({
    id: `resolve-${id}-${path ?? ""}`,
    label: path === undefined ? `Resolve these ${number(count)}` : "Resolve",
    explains: html`${path === undefined ? counted(count, "conflict") : path}: the version that is taken comes to the other side too, the other one goes to the backup. Where a version was changed since it was listed, nothing is done.`,
    confirms: path === undefined ? `Resolve ${counted(count, "conflict")}` : `Resolve ${path}`,
    path: `/pairs/${id}/resolve`,
    fields: { path },
    inputs: html`<label>Take <select name="take">${choice("newest", "the one edited last")}${choice("local", "the local one")}${choice("remote", "the other one")}${choice("both", "both, with a copy")}</select></label>`,
  });
}

import type { RunSummary } from "@drover/producer/runs/summary";
import { type OutcomeName, successfulFiles } from "@drover/shared/outcome";
import { kindOf, type Run } from "@drover/shared/run";
import { below } from "@drover/shared/storage/registry";
import { paint } from "../../display/color.js";
import { showDuration } from "../../display/duration.js";
import { pausedText } from "../../display/paused.js";
import { toJson as outcomeToJson, Report, toLine } from "../../display/report.js";
import { EXIT, exitCode } from "../../exit.js";
import { printable, warn } from "../../output.js";
import { OptionError } from "../../settings/option-error.js";
import { ownOptions } from "../../settings/own-options.js";
import type { Resolved, Settings } from "../../settings/settings.js";
import { parseCount, parseDuration } from "../../settings/units.js";
import { withEngine } from "../engine.js";
import { type DisplayFlags, displayOf, type OutputFlags } from "../options.js";

/** The JSON form of a run. */
function toJson({ run, counts }: RunSummary) {
  return {
    run: run.id,
    kind: kindOf(run.spec),
    label: run.spec.label ?? null,
    state: run.state,
    started: new Date(run.startedMs).toISOString(),
    ended: run.endedMs === undefined ? null : new Date(run.endedMs).toISOString(),
    root: run.spec.root,
    sources: run.spec.sources.length,
    list: run.spec.list ?? null,
    ...counts,
    bytes: run.bytes,
    ...(run.deletionRefused === "" ? {} : { undeleted: run.deletionRefused }),
    ...(run.stoppedBecause === "" ? {} : { stopped: run.stoppedBecause }),
  };
}

export interface ListFlags extends OutputFlags {
  limit?: string;
  label?: string;
}

/** What is copied, in a few words: the first source, and how many others there are. */
function sourcesOf({ spec }: Run): string {
  const named = [...spec.sources, ...(spec.list === undefined ? [] : [`list ${spec.list}`])];
  if (named.length === 0) return spec.listIsStdin ? "a list" : "nothing";
  const others = named.length - 1 + (spec.listIsStdin && spec.list === undefined ? 1 : 0);
  return printable(others === 0 ? String(named[0]) : `${named[0]} and ${others} more`);
}

/** Where it is copied to. */
function destinationOf({ spec }: Run): string {
  return printable(spec.destination === undefined ? spec.root : below(spec.root, spec.destination));
}

/** Runs that are listed for people. */
const LISTED_RUNS = 20;

/** `drover runs`: lists the latest runs, newest first. Programs get all, unless they ask for fewer. */
export async function list(settings: Settings, flags: ListFlags): Promise<number> {
  const limit = flags.limit === undefined ? undefined : parseCount("--limit", flags.limit);
  const { listRuns } = await import("@drover/producer/runs/summary");
  return await withEngine(settings, async (engine) => {
    const most = limit ?? (flags.json ? undefined : LISTED_RUNS);
    const summaries = await listRuns(engine, most, flags.label);
    if (flags.json) {
      process.stdout.write(`${JSON.stringify(summaries.map(toJson), null, 2)}\n`);
      return EXIT.ok;
    }
    if (summaries.length === 0) process.stdout.write("no runs yet\n");
    for (const { run, counts } of summaries) {
      const parts = [`${successfulFiles(counts)}/${counts.files} successful`];
      for (const outcome of ["failed", "blocked", "locked", "cancelled"] as const)
        if (counts[outcome] > 0) parts.push(`${counts[outcome]} ${outcome}`);
      const open = counts.files - counts.settled;
      if (open > 0) parts.push(`${open} open`);
      if (run.deletionRefused !== "") parts.push("nothing deleted");
      if (run.stoppedBecause !== "") parts.push(`cancelled because ${run.stoppedBecause}`);
      const started = new Date(run.startedMs).toISOString();
      process.stdout.write(
        `${run.id}  ${run.state.padEnd(11)}  ${started}  ${parts.join(", ")}  ` +
          `${run.spec.label === undefined ? "" : `[${printable(run.spec.label)}]  `}` +
          `${sourcesOf(run)} -> ${destinationOf(run)}\n`,
      );
    }
    const known = await engine.ledger.count();
    if (most !== undefined && known > most && limit === undefined && flags.label === undefined) {
      const listed = new Set(summaries.map(({ run }) => run.id));
      const open = (await engine.ledger.unfinished()).filter(({ id }) => !listed.has(id));
      const interrupted = open.filter(({ state }) => state === "interrupted").length;
      const among = interrupted === 0 ? "" : `, ${interrupted} of them interrupted`;
      process.stdout.write(`${known - most} older${among}: --limit ${known} lists all\n`);
    }
    return EXIT.ok;
  });
}

export interface StatusFlags extends OutputFlags {
  files?: boolean;
  /** Outcomes of the files to list, which asks for `files` too. */
  outcome?: OutcomeName[];
}

/** `drover status RUN`: prints its counts and the files that did not succeed; with `files` what else it did. */
export async function status(given: string, resolved: Resolved, flags: StatusFlags): Promise<number> {
  const { summaryOf } = await import("@drover/producer/runs/summary");
  const { filesDone, filesFailed } = await import("@drover/producer/runs/run-files");
  const { dispatchPause } = await import("@drover/shared/protocol/dispatch-pause");
  const own = ownOptions(resolved);
  const listsFiles = flags.files === true || flags.outcome !== undefined;
  return await withEngine(resolved.values, async (engine) => {
    const id = await engine.ledger.find(given);
    const summary = await summaryOf(engine, id);
    const { run, counts } = summary;
    const done = listsFiles ? await filesDone(engine, run, counts, flags.outcome) : undefined;
    const write = (text: string) => process.stdout.write(text);
    if (flags.json) {
      write(JSON.stringify(toJson(summary)).slice(0, -1));
      if (done !== undefined) {
        const files = done.done.map((outcome) => outcomeToJson(outcome, id)).join(",");
        write(`,"files":[${files}],"truncated":${done.truncated}`);
      }
      write(`,"failures":[`);
    } else {
      write(statusText(summary));
      const waits = run.spec.fleet && run.state === "running";
      const pause = waits ? await dispatchPause(engine.redis, engine.keys) : undefined;
      if (pause) write(`${pausedText(pause)}\n`);
      for (const outcome of done?.done ?? []) write(`${toLine(outcome)}\n`);
      if (done?.truncated) write(truncatedText(run, done.done.length));
    }
    let first = true;
    for await (const page of filesFailed(engine, run, flags.outcome && { wanted: flags.outcome })) {
      for (const { job, error, outcome } of page) {
        if (flags.json) {
          write(
            `${first ? "" : ","}${JSON.stringify({ source: job.s, destination: job.d, outcome, error })}`,
          );
          first = false;
        } else write(`${paint("error", printable(`✗ ${job.s} (${error.message})`))}\n`);
      }
    }
    if (flags.json) write("]}\n");
    else if (run.state === "interrupted") process.stdout.write(`drover resume ${id}${own} goes on with it\n`);
    else if (counts.settled > successfulFiles(counts))
      process.stdout.write(`drover retry ${id}${own} tries these again\n`);
    return EXIT.ok;
  });
}

function truncatedText({ spec, endedMs }: Run, listed: number): string {
  const { most = 0, ms = 0 } = spec.keepOutcomes ?? {};
  const isOver = endedMs !== undefined && endedMs + ms < Date.now();
  if (most === 0 || isOver) return "truncated: what it did is not kept any more (see --keep-outcomes-for)\n";
  return `truncated: the last ${listed} that it did are kept (see --keep-outcomes)\n`;
}

function statusText({ run, counts }: RunSummary): string {
  const took = (run.endedMs ?? Date.now()) - run.startedMs;
  const { files, copied, unchanged, deleted, failed, blocked, locked, cancelled, settled } = counts;
  return (
    `run ${run.id}: ${run.state}, started ${new Date(run.startedMs).toISOString()}, ${showDuration(took)}\n` +
    `${run.spec.label === undefined ? "" : `label ${printable(run.spec.label)}\n`}` +
    `from ${sourcesOf(run)}\n` +
    `to ${destinationOf(run)}\n` +
    `${files} ${files === 1 ? "file" : "files"}${run.sealed ? "" : " so far"}: ${copied} copied, ${unchanged} unchanged, ` +
    `${run.spec.delete ? `${deleted} deleted, ` : ""}${failed} failed, ${blocked} blocked, ${locked} locked, ${cancelled} cancelled, ` +
    `${files - settled} open\n` +
    (run.deletionRefused === "" ? "" : `nothing was deleted: ${run.deletionRefused}\n`) +
    (run.stoppedBecause === "" ? "" : `cancelled because ${run.stoppedBecause}\n`)
  );
}

/** @throws SettingsError */
function daysOf(text: string | undefined): number {
  const days = Number(text);
  if (text === undefined || (text.trim() !== "" && days >= 0)) return days;
  try {
    return parseDuration("--older-than", text) / 86_400_000;
  } catch {
    throw new OptionError("--older-than must be a number of days, or a time such as 12h");
  }
}

/**
 * `drover gc`: forgets runs that ended or were interrupted long ago.
 *
 * @param days since then, for all runs. Default: what {@link pruneRuns} forgets, and what was interrupted seven days ago.
 */
export async function gc(days: string | undefined, settings: Settings): Promise<number> {
  const age = daysOf(days);
  const retention = await import("@drover/shared/protocol/run-retention");
  const { dropKept } = await import("@drover/producer/runs/carry/piped-list");
  return await withEngine(settings, async (engine) => {
    const keepRuns = settings["keep-runs"];
    const all = { keepRuns, most: Number.MAX_SAFE_INTEGER, thorough: true };
    const pruned = await retention.pruneRuns(engine, all);
    const { runs: older, lists } =
      days === undefined
        ? await retention.forgetInterrupted(engine, retention.KEPT_MS)
        : await retention.forgetRunsOlderThan(engine, age * 86_400_000);
    const runs = pruned + older;
    for (const list of lists) dropKept(list);
    process.stdout.write(`${runs} ${runs === 1 ? "run" : "runs"} forgotten\n`);
    return EXIT.ok;
  });
}

export interface RetryFlags extends DisplayFlags {
  class?: string;
  host?: string;
}

/** `drover resume RUN` continues an interrupted run; `drover retry RUN` also retries failed files. */
export async function resume(
  given: string,
  retry: boolean,
  resolved: Resolved,
  flags: RetryFlags,
): Promise<number> {
  const { format, statsMs } = displayOf(flags);
  const { resumeRun } = await import("@drover/producer/runs/carry/resume");
  const { startLocalPool } = await import("@drover/worker/runtime/local-worker-pool");
  const { isLive, showRun } = await import("../../display/show-run.js");
  return await withEngine(resolved.values, async (engine) => {
    const id = await engine.ledger.find(given);
    const { class: errorClass, host } = flags;
    const only = errorClass === undefined && host === undefined ? undefined : { class: errorClass, host };
    const options = { startPool: startLocalPool, retry, only, live: isLive(format), warn };
    const resumed = await resumeRun(engine, id, options);
    if (resumed.is === "open") {
      const title = `${retry ? "Retrying" : "Resuming"} run ${id}...`;
      return await showRun(engine, resumed.handle, { format, statsMs, title, own: ownOptions(resolved) });
    }
    const { run, counts } = resumed;
    const report = new Report(format, id, undefined);
    report.start(`Run ${id} is done: nothing is left to ${retry ? "retry" : "resume"}`);
    await report.end(counts);
    const { deletionRefused } = run;
    if (deletionRefused !== "") warn(`nothing was deleted in ${run.spec.root}: ${deletionRefused}`);
    return exitCode(counts, false, deletionRefused);
  });
}

/** `drover wait RUN`: follows a run of the fleet. */
export async function wait(given: string, resolved: Resolved, flags: DisplayFlags): Promise<number> {
  const { format, statsMs } = displayOf(flags);
  const { followRun } = await import("@drover/producer/runs/carry/resume");
  const { showRun } = await import("../../display/show-run.js");
  return await withEngine(resolved.values, async (engine) => {
    const id = await engine.ledger.find(given);
    const title = `Waiting for run ${id}...`;
    const own = ownOptions(resolved);
    return await showRun(engine, await followRun(engine, id), { format, statsMs, title, own });
  });
}

/** `drover cancel RUN`: stops the run; unsettled files end as `cancelled`. */
export async function cancel(given: string, settings: Settings): Promise<number> {
  const { cancelRun } = await import("@drover/producer/runs/cancel");
  const { startLocalPool } = await import("@drover/worker/runtime/local-worker-pool");
  return await withEngine(settings, async (engine) => {
    const id = await engine.ledger.find(given);
    const cancelled = await cancelRun(engine, id, startLocalPool);
    const text = {
      over: `is ${cancelled.is === "over" ? cancelled.state : ""} already`,
      asked: "is being cancelled",
      cancelled: "is cancelled",
    }[cancelled.is];
    process.stdout.write(`run ${id} ${text}\n`);
    return EXIT.ok;
  });
}

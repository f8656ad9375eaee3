import type { RunHandle, RunResult } from "@drover/producer/runs/carry/run-handle";
import type { Engine } from "@drover/shared/engine";
import { messageOf } from "@drover/shared/errors";
import { successfulFiles } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Run } from "@drover/shared/run";
import { below } from "@drover/shared/storage/registry";
import prettyBytes from "pretty-bytes";
import { EXIT, exitCode } from "../exit.js";
import { commandLog } from "../log/log.js";
import { printable, progressLine, reportError, says, setLive, warn } from "../output.js";
import { exitWithoutRedis, untilStopped } from "../redis-watch.js";
import { onStopSignal } from "../signals.js";
import { showDuration } from "./duration.js";
import type { Format } from "./format.js";
import { Meter } from "./meter.js";
import { Report } from "./report.js";
import { RunDisplay } from "./run-display.js";

export interface ShowOptions {
  format: Format;
  /** Interval in ms of progress lines where there is no live display; 0 for none. */
  statsMs: number;
  /** First line of the human-readable output. */
  title: string;
  /** Options that other commands need to find this run, see {@link ownOptions}. */
  own: string;
}

/** Whether the run is shown live, file by file: on a terminal, where nothing else is written to it but lines. */
export function isLive(format: Format): boolean {
  const isFree = format === "human" || !process.stdout.isTTY;
  return isFree && says("normal") && process.stderr.isTTY === true && process.env.TERM !== "dumb";
}

/** Follows a run to its end and shows it. @returns the exit code. */
export async function showRun(engine: Engine, handle: RunHandle, options: ShowOptions): Promise<number> {
  const { format, statsMs, title, own } = options;
  const { run, breakers } = handle;
  const meter = new Meter();
  const progress = isLive(format) ? new (await import("./progress.js")).Progress(meter, breakers) : undefined;
  setLive(progress);
  const report = new Report(format, run.id, progress);
  const stats =
    progress || statsMs === 0 ? undefined : setInterval(() => progressLine(meter.line()), statsMs).unref();
  const stop = new AbortController();
  const unlisten = onStopSignal(() => {
    if (handle.stopping !== "") warn(handle.stopping);
    stop.abort();
  }, EXIT.interrupted);
  if (!progress && run.spec.breakerWaitMs > 0) sayBlocked(breakers);
  report.start(title);
  const { sources, list, root } = run.spec;
  commandLog()?.info({ run: run.id, sources: sources.length, list, destination: root }, "run started");
  const startedMs = performance.now();
  try {
    const following = handle.follow(new RunDisplay(report, meter, run.id), stop.signal);
    const stopped = await untilStopped(engine.redis, following, stop.signal, { away: warn, back: warn });
    if (stopped.is === "without-redis") {
      report.breakOff();
      progress?.stop();
      const [command, does] = run.spec.fleet ? ["wait", "follows it"] : ["resume", "goes on"];
      warn(`interrupted while Redis cannot be used: drover ${command} ${run.id}${own} ${does}`);
      return await exitWithoutRedis(EXIT.interrupted);
    }
    clearInterval(stats);
    const { value: result } = stopped;
    const tookMs = performance.now() - startedMs;
    commandLog()?.info(
      {
        run: run.id,
        end: result.end,
        ...result.counts,
        bytes: meter.copiedBytes,
        duration_ms: Math.round(tookMs),
      },
      "run ended",
    );
    await report.end(result.counts, [
      countsLine(run, result, { bytes: meter.copiedBytes, tookMs }),
      nextLine(run, result, own),
    ]);
    return conclude(handle, result, own);
  } catch (error) {
    report.breakOff();
    if (!messageOf(error).includes(run.id))
      warn(`run ${run.id} broke off: drover resume ${run.id}${own} goes on with it`);
    throw error;
  } finally {
    clearInterval(stats);
    progress?.stop();
    setLive(undefined);
    unlisten();
  }
}

/** What became of the files, how fast, and where they are. */
function countsLine(
  { spec }: Run,
  { counts }: RunResult,
  { bytes, tookMs }: { bytes: number; tookMs: number },
): string {
  const parts = [`${counts.copied} copied`, `${counts.unchanged} unchanged`];
  if (spec.delete) parts.push(`${counts.deleted} deleted`);
  for (const outcome of ["failed", "blocked", "locked", "cancelled"] as const)
    if (counts[outcome] > 0 || outcome === "failed") parts.push(`${counts[outcome]} ${outcome}`);
  const rate = prettyBytes((bytes / Math.max(tookMs, 1)) * 1000);
  const where = spec.destination === undefined ? spec.root : below(spec.root, spec.destination);
  return `${parts.join(", ")}; ${prettyBytes(bytes)} in ${showDuration(tookMs)} (${rate}/s) to ${printable(where)}`;
}

/** The run's id, and the command that goes on with it. */
function nextLine({ id }: Run, { counts, end }: RunResult, own: string): string {
  const isOver = end === "done" || end === "cancelled";
  if (!isOver) return `run ${id}`; // what to do is said at the end
  const isGood = successfulFiles(counts) === counts.files;
  return isGood ? `run ${id}` : `run ${id}: drover retry ${id}${own} tries again what did not succeed`;
}

/** Reports how a run ended and what to do about it. @returns the exit code. */
function conclude(
  { run }: RunHandle,
  { end, counts, listing, deletionRefused, stoppedBecause }: RunResult,
  own: string,
): number {
  switch (end) {
    case "interrupted":
      warn(`interrupted: drover resume ${run.id}${own} goes on`);
      return EXIT.interrupted;
    case "goes-on":
      warn(`the run goes on: drover wait ${run.id}${own} follows it, drover cancel ${run.id}${own} stops it`);
      return EXIT.interrupted;
    case "half-submitted":
      warn(`not everything was submitted: drover resume ${run.id}${own} goes on`);
      return EXIT.interrupted;
    case "incomplete": {
      const kept = run.spec.delete ? "; nothing was deleted" : "";
      const remedy = listing?.remedy ?? `drover resume ${run.id}${own} lists on`;
      reportError(`${listing?.message}; not everything was found${kept}: ${remedy}`);
      return counts.files === 0 ? EXIT.settings : EXIT.some;
    }
    case "cancelled":
      warn(`run ${run.id} was cancelled${stoppedBecause === "" ? "" : `: ${stoppedBecause}`}`);
      break;
    case "done":
      if (counts.files === 0 && deletionRefused === "") warn("nothing matched: there is no file to sync");
  }
  if (deletionRefused !== "") reportError(`nothing was deleted in ${run.spec.root}: ${deletionRefused}`);
  return exitCode(counts, end === "cancelled", deletionRefused);
}

/**
 * Without a live display: warns once per host that its files wait, and again if the host recovered in
 * between.
 */
function sayBlocked(breakers: HostBreakers): void {
  const said = new Set<string>();
  breakers.onChange((host) => {
    const untilMs = breakers.blockedUntil(host);
    if (untilMs === 0) said.delete(host);
    if (untilMs === 0 || said.has(host)) return;
    said.add(host);
    const wait = showDuration(untilMs - Date.now());
    warn(`${breakers.describe(host)}: its files wait and are tried again in ${wait}`);
  });
}

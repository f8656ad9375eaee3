import type { RunHandle, RunResult } from "@drover/producer/runs/run-handle";
import type { Engine } from "@drover/shared/engine";
import { messageOf } from "@drover/shared/errors";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { EXIT, exitCode } from "../exit.js";
import { reportError, setLive, warn } from "../output.js";
import { exitWithoutRedis, untilStopped } from "../redis-watch.js";
import { onStopSignal } from "../signals.js";
import { showDuration } from "./duration.js";
import type { Format } from "./format.js";
import { Report } from "./report.js";
import { RunDisplay } from "./run-display.js";

export interface ShowOptions {
  format: Format;
  /** First line of the human-readable output. */
  title: string;
}

/** Whether the run is shown live, file by file. */
export function isLive(format: Format): boolean {
  return format === "human" && process.stdout.isTTY === true && process.env.TERM !== "dumb";
}

/** Follows a run to its end and shows it. @returns the exit code. */
export async function showRun(
  engine: Engine,
  handle: RunHandle,
  { format, title }: ShowOptions,
): Promise<number> {
  const { run, breakers } = handle;
  const progress = isLive(format) ? new (await import("./progress.js")).Progress(breakers) : undefined;
  setLive(progress);
  const report = new Report(format, progress);
  const stop = new AbortController();
  const unlisten = onStopSignal(() => {
    if (handle.stopping !== "") warn(handle.stopping);
    stop.abort();
  }, EXIT.interrupted);
  if (!progress && run.spec.breakerWaitMs > 0) sayBlocked(breakers);
  report.start(title);
  try {
    const following = handle.follow(new RunDisplay(report, progress), stop.signal);
    const stopped = await untilStopped(engine.redis, following, stop.signal, { away: warn, back: warn });
    if (stopped.is === "without-redis") {
      report.breakOff();
      progress?.stop();
      const goesOn = run.spec.fleet ? `drover wait ${run.id} follows it` : `drover resume ${run.id} goes on`;
      warn(`interrupted while Redis cannot be used: ${goesOn}`);
      return await exitWithoutRedis(EXIT.interrupted);
    }
    await report.end(stopped.value.counts);
    return conclude(handle, stopped.value);
  } catch (error) {
    report.breakOff();
    if (!messageOf(error).includes(run.id))
      warn(`run ${run.id} broke off: drover resume ${run.id} goes on with it`);
    throw error;
  } finally {
    progress?.stop();
    setLive(undefined);
    unlisten();
  }
}

/** Reports how a run ended and what to do about it. @returns the exit code. */
function conclude({ run }: RunHandle, { end, counts, listing, deletionRefused }: RunResult): number {
  switch (end) {
    case "interrupted":
      warn(`interrupted: drover resume ${run.id} goes on`);
      return EXIT.interrupted;
    case "goes-on":
      warn(`the run goes on: drover wait ${run.id} follows it, drover cancel ${run.id} stops it`);
      return EXIT.interrupted;
    case "half-submitted":
      warn(`not everything was submitted: drover resume ${run.id} goes on`);
      return EXIT.interrupted;
    case "incomplete": {
      const kept = run.spec.delete ? "; nothing was deleted" : "";
      const remedy = listing?.remedy ?? `drover resume ${run.id} lists on`;
      reportError(`${listing?.message}; not everything was found${kept}: ${remedy}`);
      return counts.files === 0 ? EXIT.settings : EXIT.some;
    }
    case "cancelled":
      warn(`run ${run.id} was cancelled`);
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

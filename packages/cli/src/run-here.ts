import type { Outcome } from "@drover/shared/outcome";
import { type HostBreakers, hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import type { Run, RunSecrets } from "@drover/shared/run";
import { type CarryResult, carryRun, type Watcher } from "./carry-run.js";
import { type Format, Report, showDuration } from "./display/report.js";
import type { Engine } from "./engine.js";
import { EXIT, exitCode } from "./exit.js";
import { detail, reportError, setLive, warn } from "./output.js";

export interface ShowOptions {
  format: Format;
  /** First line of the human form. */
  title: string;
}

/** Carries a run and shows it; answers the exit code. */
export async function runHere(
  engine: Engine,
  run: Run,
  secrets: RunSecrets,
  show: ShowOptions,
  extra: { stdin?: NodeJS.ReadableStream; retry?: boolean } = {},
): Promise<number> {
  const breakers = hostBreakersOf(run.spec);
  const terminal = show.format === "human" && process.stdout.isTTY && process.env.TERM !== "dumb";
  const progress = terminal ? new (await import("./display/progress.js")).Progress(breakers) : undefined;
  setLive(progress);
  const report = new Report(show.format, progress);
  const watcher: Watcher = {
    queued: (files) => progress?.queued(files),
    sealed: () => progress?.sealed(),
    started: (job, attempt) => progress?.started(job, attempt),
    receiving: (index, transfer) => progress?.receiving(index, transfer),
    waiting: (job) => progress?.waiting(job),
    dropped: (job) => progress?.waiting(job),
    retrying: (job, attempt, error, delayMs) =>
      detail(`${job.d}: ${error.message}; try ${attempt + 1} in ${(delayMs / 1000).toFixed(1)} s`),
    settled: (outcome: Outcome) => {
      progress?.settled(outcome);
      report.outcome(outcome);
    },
    warn,
  };
  const interrupt = new AbortController();
  let signals = 0;
  const onSignal = () => {
    if (++signals > 1) process.exit(EXIT.interrupted);
    warn("stopping: unfinished files stay resumable (once more stops at once)");
    interrupt.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  const unwatch = watchRedis(engine);
  if (!progress && run.spec.breakerWaitMs > 0) sayBlocked(breakers);
  report.start(show.title);
  try {
    const result = await carryRun({
      engine,
      run,
      secrets,
      stdin: extra.stdin,
      retry: extra.retry ?? false,
      breakers,
      watcher,
      live: progress !== undefined,
      stop: interrupt.signal,
    });
    await report.end(result.counts);
    return conclude(run, result);
  } catch (error) {
    report.breakOff();
    throw error;
  } finally {
    progress?.stop();
    setLive(undefined);
    unwatch();
    if (signals === 0) {
      process.off("SIGINT", onSignal); // else a second one may still come
      process.off("SIGTERM", onSignal);
    }
  }
}

/** Says how a run ended; answers the exit code. */
export function conclude(run: Run, { end, counts, listing, deletionRefused }: CarryResult): number {
  if (end === "stopped") {
    warn(`interrupted: drover resume ${run.id} goes on`);
    return EXIT.interrupted;
  }
  if (listing && end === "incomplete") {
    const kept = run.spec.delete ? "; nothing was deleted" : "";
    const remedy = listing.remedy ?? `drover resume ${run.id} lists on`;
    reportError(`${listing.message}; not everything was found${kept}: ${remedy}`);
    return counts.files === 0 ? EXIT.settings : EXIT.some;
  }
  if (end === "cancelled") warn(`run ${run.id} was cancelled`);
  else if (counts.files === 0 && deletionRefused === "") warn("nothing matched: there is no file to sync");
  if (deletionRefused !== "") reportError(`nothing was deleted in ${run.spec.root}: ${deletionRefused}`);
  return exitCode(counts, end === "cancelled", deletionRefused);
}

/** Without a live display: says of each host once that its files wait, and again when it was well in between. */
function sayBlocked(breakers: HostBreakers): void {
  const said = new Set<string>();
  breakers.onChange((host) => {
    const untilMs = breakers.blockedUntil(host);
    if (untilMs === 0) said.delete(host);
    if (untilMs === 0 || said.has(host)) return;
    said.add(host);
    warn(
      `${breakers.describe(host)}: its files wait and are tried again in ${showDuration(untilMs - Date.now())}`,
    );
  });
}

/** Says once that Redis is away, and that it is back. */
export function watchRedis(engine: Engine): () => void {
  let away = false;
  const onClose = () => {
    if (!away) warn("Redis is away: waiting for it");
    away = true;
  };
  const onReady = () => {
    if (away) warn("Redis is back");
    away = false;
  };
  engine.redis.on("close", onClose);
  engine.redis.on("ready", onReady);
  return () => {
    engine.redis.off("close", onClose);
    engine.redis.off("ready", onReady);
  };
}

import { PairGuardError } from "@drover/producer/pair/guards";
import { rollback } from "@drover/producer/pair/rollback";
import { syncPair } from "@drover/producer/pair/sync-pair";
import { planRun } from "@drover/producer/runs/plan";
import { openEngine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { successfulFiles } from "@drover/shared/outcome";
import { ListingError } from "@drover/shared/storage/listing-error";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { PairReport } from "../display/pair-report.js";
import { EXIT } from "../exit.js";
import { reportError, warn } from "../output.js";
import { exitWithoutRedis, untilStopped } from "../redis-watch.js";
import { withDestination } from "../settings/destination.js";
import { type PairFlags, pairRequestOf } from "../settings/pair-request.js";
import { requestOf } from "../settings/run-request.js";
import type { Resolved } from "../settings/settings.js";
import { parseDuration } from "../settings/units.js";
import { onStopSignal } from "../signals.js";
import { displayOf } from "./options.js";

/** Syncs a pair and shows it. @returns the exit code. */
export async function bisync(
  local: string,
  remote: string,
  flags: PairFlags,
  resolved: Resolved,
): Promise<number> {
  const { format } = displayOf(flags);
  const request = pairRequestOf(flags, resolved);
  const { backupDir: _, maxDelete: __, delete: ___, ...ofRun } = flags;
  const planned = await planRun(requestOf([treeOf(remote)], ofRun, withDestination(resolved, "DIR", local)));
  const { redis, "state-dir": stateDir } = resolved.values as { redis?: string; "state-dir": string };
  const engine = await openEngine({ redis, stateDir });
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  const report = new PairReport(format);
  try {
    const { "keep-runs": keepRuns } = resolved.values;
    const { signal } = stop;
    const options = {
      ...{ startPool: startLocalPool, stateDir, keepRuns, events: report, signal },
      ...(flags.keepBackups === undefined
        ? {}
        : { keepBackupsMs: parseDuration("--keep-backups", flags.keepBackups) }),
    };
    const syncing = syncPair(engine, planned, request, { ...options, dryRun: flags.dryRun ?? false });
    const stopped = await untilStopped(engine.redis, syncing, stop.signal, { away: warn, back: warn });
    if (stopped.is === "without-redis") {
      warn("interrupted while Redis cannot be used: the next sync goes on");
      return await exitWithoutRedis(EXIT.interrupted);
    }
    const { run, counts } = stopped.value;
    const code = await report.end(stopped.value);
    const isToGo =
      flags.rollbackOnError && run !== undefined && counts && successfulFiles(counts) < counts.files;
    if (!isToGo) return code;
    warn(`a file failed: run ${run} is taken back`);
    const back = new PairReport(format === "json" ? "human" : format);
    const taken = await rollback(engine, planned, request, run, {
      ...options,
      events: back,
      dryRun: false,
      wouldDo: () => {},
    });
    await back.endSteps(stopped.value.pair, taken);
    return EXIT.some;
  } catch (error) {
    if (stop.signal.aborted) {
      warn("interrupted: the next sync goes on");
      return EXIT.interrupted;
    }
    const isStopped =
      error instanceof PairGuardError || error instanceof ListingError || error instanceof TransferError;
    if (!isStopped) throw error;
    await report.stopped(error);
    reportError(`${error.message}; nothing was changed`);
    return EXIT.some;
  } finally {
    unlisten();
    engine.close();
  }
}

/** A prefix is a tree, whether it ends in a slash or not. */
function treeOf(remote: string): string {
  return /^s3:\/\//i.test(remote) && !remote.endsWith("/") ? `${remote}/` : remote;
}

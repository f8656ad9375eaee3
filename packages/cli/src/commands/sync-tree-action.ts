import { PairGuardError } from "@drover/producer/pair/guards";
import type { SyncResult } from "@drover/producer/sync-action/results";
import type { SyncContext } from "@drover/producer/sync-action/sync-tree";
import { openEngine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { ListingError } from "@drover/shared/storage/listing-error";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { ActionReport } from "../display/action-report.js";
import { EXIT } from "../exit.js";
import { reportError, warn } from "../output.js";
import { exitWithoutRedis, untilStopped } from "../redis-watch.js";
import type { PairFlags } from "../settings/pair-request.js";
import type { Resolved } from "../settings/settings.js";
import { onStopSignal } from "../signals.js";
import { displayOf } from "./options.js";

/**
 * Syncs pairs and shows it.
 *
 * @param more what there is to say of the result beside its numbers.
 * @returns the exit code.
 */
export async function showSync<T extends SyncResult>(
  flags: PairFlags,
  { values }: Resolved,
  sync: (context: SyncContext) => Promise<T>,
  more: (result: T) => string[],
): Promise<number> {
  const { format } = displayOf(flags);
  const { redis, "state-dir": stateDir, "keep-runs": keepRuns } = values;
  const engine = await openEngine({ redis, stateDir: stateDir as string });
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  const report = new ActionReport(format);
  try {
    const syncing = sync({
      engine,
      startPool: startLocalPool,
      stateDir: stateDir as string,
      keepRuns,
      signal: stop.signal,
      events: report.events,
    });
    const stopped = await untilStopped(engine.redis, syncing, stop.signal, { away: warn, back: warn });
    if (stopped.is === "without-redis") {
      warn("interrupted while Redis cannot be used: the next sync goes on");
      return await exitWithoutRedis(EXIT.interrupted);
    }
    return await report.end(stopped.value, more(stopped.value));
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

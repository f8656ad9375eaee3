import { PairGuardError } from "@drover/producer/pair/guards";
import type { Engine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { ListingError } from "@drover/shared/storage/listing-error";
import { EXIT } from "../../exit.js";
import { reportError, warn } from "../../output.js";
import { exitWithoutRedis, untilStopped } from "../../redis-watch.js";
import { onStopSignal } from "../../signals.js";

/**
 * Syncs pairs until it has ended or is asked to stop, and closes the engine.
 *
 * @param report told why a sync was stopped before its first change.
 * @param show shows what came of it, and returns the exit code.
 * @returns the exit code.
 */
export async function showStoppable<T>(
  engine: Engine,
  report: { stopped(error: unknown): Promise<void> },
  sync: (signal: AbortSignal) => Promise<T>,
  show: (done: T, signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  let hasEnded = false;
  try {
    const syncing = sync(stop.signal);
    const stopped = await untilStopped(engine.redis, syncing, stop.signal, { away: warn, back: warn });
    if (stopped.is === "without-redis") {
      warn("interrupted while Redis cannot be used: the next sync goes on");
      return await exitWithoutRedis(EXIT.interrupted);
    }
    hasEnded = true; // what fails from here on was not stopped before its first change
    return await show(stopped.value, stop.signal);
  } catch (error) {
    if (stop.signal.aborted) {
      warn("interrupted: the next sync goes on");
      return EXIT.interrupted;
    }
    const isStopped =
      error instanceof PairGuardError || error instanceof ListingError || error instanceof TransferError;
    if (hasEnded || !isStopped) throw error;
    await report.stopped(error);
    reportError(`${error.message}; nothing was changed`);
    return EXIT.some;
  } finally {
    unlisten();
    engine.close();
  }
}

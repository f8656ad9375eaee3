import { TransferError } from "@drover/shared/errors";
import type { PairSession } from "./pair-session.js";

/**
 * Removes what runs that began too long ago have kept, and what is known of them: they cannot be taken back any more.
 *
 * @param keepMs how long it is kept, in milliseconds.
 * @param warn told of what cannot be removed, which is tried again after the next run.
 */
export async function pruneBackups(
  { store, sides, signal }: PairSession,
  keepMs: number,
  warn: (message: string) => void,
): Promise<void> {
  for (const { runId, startedMs } of await store.undoable()) {
    if (startedMs > Date.now() - keepMs) continue;
    try {
      // What a bucket keeps by itself goes by the rules of the bucket.
      for await (const page of store.undo(runId))
        for (const { backup, version, more = [], side } of page)
          for (const kept of version === undefined ? [backup, ...more] : more)
            if (kept !== "") await sides[side].removeKept(kept, runId, signal);
      await store.dropUndo(runId);
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      warn(`what run ${runId} has kept cannot be removed now: ${error.message}`);
    }
  }
}

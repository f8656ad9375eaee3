import type { SyncResult } from "@drover/producer/sync-action/results";
import type { SyncContext } from "@drover/producer/sync-action/sync-tree";
import { openEngine } from "@drover/shared/engine";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { ActionReport } from "../../display/action-report.js";
import type { PairFlags } from "../../settings/pair-request.js";
import type { Resolved } from "../../settings/settings.js";
import { displayOf } from "../options.js";
import { showStoppable } from "./show-stoppable.js";

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
  const report = new ActionReport(format);
  const context = {
    ...{ engine, startPool: startLocalPool, stateDir: stateDir as string, keepRuns },
    events: report.events,
  };
  return await showStoppable(
    engine,
    report,
    (signal) => sync({ ...context, signal }),
    (result) => report.end(result, more(result)),
  );
}

import type { Engine } from "@drover/shared/engine";
import type { RunState } from "@drover/shared/run";
import { LocalRun } from "./carry/local-run.js";
import { SILENT } from "./carry/run-handle.js";
import type { StartWorkerPool } from "./carry/worker-pool.js";

/**
 * `over`: the run had ended before. `asked`: its process or fleet will stop it. `cancelled`: open files were
 * settled as `cancelled` here.
 */
export type Cancelled = { is: "over"; state: RunState } | { is: "asked" } | { is: "cancelled" };

/**
 * Cancels a run. Unfinished files are settled as `cancelled`.
 *
 * @param startPool as in `submit`: ends the open files of a run that no process carries.
 * @throws SettingsError if there is no such run.
 */
export async function cancelRun(engine: Engine, id: string, startPool: StartWorkerPool): Promise<Cancelled> {
  const { ledger } = engine;
  const run = await ledger.get(id);
  if (run.state === "done" || run.state === "cancelled") return { is: "over", state: run.state };
  if (run.state === "running" || run.spec.fleet) {
    await ledger.cancel(id);
    return { is: "asked" };
  }
  // No process works on the run, so this one settles the open files.
  await ledger.take(run);
  await ledger.cancel(id);
  const taken = { ...(await ledger.get(id)), sealed: true };
  const handle = new LocalRun(engine, taken, { secrets: { headers: {}, sources: [] }, startPool });
  await handle.follow(SILENT, new AbortController().signal);
  return { is: "cancelled" };
}

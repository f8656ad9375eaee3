import type { Engine } from "@drover/shared/engine";
import type { RunState } from "@drover/shared/run";
import { LocalRun } from "./local-run.js";
import { SILENT } from "./run-handle.js";
import type { StartWorkerPool } from "./worker-pool.js";

/** `over`: it had ended before. `asked`: whoever carries it stops. `cancelled`: what was open ended `cancelled` here. */
export type Cancelled = { is: "over"; state: RunState } | { is: "asked" } | { is: "cancelled" };

/**
 * Stops a run; what is not done ends `cancelled`.
 *
 * @param startPool as in `submit`: of a run that nobody carries, what is open is ended here.
 * @throws SettingsError where there is no such run.
 */
export async function cancelRun(engine: Engine, id: string, startPool: StartWorkerPool): Promise<Cancelled> {
  const { ledger } = engine;
  const run = await ledger.get(id);
  if (run.state === "done" || run.state === "cancelled") return { is: "over", state: run.state };
  if (run.state === "running" || run.spec.fleet) {
    await ledger.cancel(id);
    return { is: "asked" };
  }
  // Nobody works on it: what is open is settled here.
  await ledger.take(run);
  await ledger.cancel(id);
  const taken = { ...(await ledger.get(id)), sealed: true };
  const handle = new LocalRun(engine, taken, { secrets: { headers: {}, sources: [] }, startPool });
  await handle.follow(SILENT, new AbortController().signal);
  return { is: "cancelled" };
}

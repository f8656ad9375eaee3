import type { Engine } from "@drover/shared/engine";
import { encodeStep } from "@drover/shared/pair/step";
import { Spool } from "../delete/spool.js";
import type { PlannedRun } from "../runs/plan/plan.js";
import { type Carried, type CarryOptions, carrySteps } from "./carry-steps.js";
import type { PlannedStep } from "./pair-plan.js";
import { openPairSession, type PairRequest } from "./pair-session.js";

export interface RollbackOptions extends CarryOptions {
  dryRun: boolean;
  signal: AbortSignal;
  /** Told of each step of a dry run. */
  wouldDo(step: PlannedStep): void;
}

/**
 * Takes back what a run did with the files of a pair: each path is as it was before, unless it was changed since: then it is
 * left alone, and fails. It is a run itself, which can be taken back too.
 *
 * @param runId of a run that {@link PairStore.undoable} has.
 */
export async function rollback(
  engine: Engine,
  planned: PlannedRun,
  request: PairRequest,
  runId: string,
  options: RollbackOptions,
): Promise<Carried & { paths: number }> {
  const session = await openPairSession(engine, planned, request, options.signal);
  const steps = new Spool<PlannedStep>();
  try {
    for await (const page of session.store.undo(runId)) {
      for (const entry of page) {
        const { name, side, former } = entry;
        // What takes a name goes before what had it comes back.
        const phase = former === "" ? 1 : 2;
        steps.add({ name, side, step: encodeStep({ is: "undo", entry }), phase });
      }
    }
    if (options.dryRun) {
      for await (const step of steps.all()) options.wouldDo(step);
      return { run: undefined, counts: undefined, end: "done", paths: steps.count };
    }
    return { ...(await carrySteps(engine, session, { steps }, options)), paths: steps.count };
  } finally {
    steps.close();
    await session.close();
  }
}

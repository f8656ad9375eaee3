import type { Engine } from "@drover/shared/engine";
import type { RunCounts } from "@drover/shared/outcome";
import type { RunEnd, RunEvents } from "../runs/run-handle.js";
import type { PlannedRun } from "../runs/plan.js";
import { type SubmitOptions, submit } from "../runs/submit.js";
import type { LeftPath, PlannedStep } from "./plan-pair.js";
import { type PairRequest, preparePair } from "./prepare-pair.js";

/** What a sync of a pair is told of while it goes on. */
export interface PairEvents extends RunEvents {
  /** The plan passed its guards. Nothing was changed yet. */
  planned(numbers: PairNumbers): void;
  /** A path that the plan leaves as it is, and why. */
  left(path: LeftPath): void;
  /** A conflict that a person resolves. */
  listed(path: string, reason: string): void;
  /** In a dry run: what would be done. */
  wouldDo(step: PlannedStep): void;
}

/** What was planned. */
export interface PairNumbers {
  /** Paths that either side has. */
  paths: number;
  push: number;
  pull: number;
  "delete-local": number;
  "delete-remote": number;
  /** Paths that both sides had changed, one way or another. */
  conflicts: number;
  /** Conflicts that wait for a person. */
  listed: number;
  /** Paths that are left as they are. */
  left: number;
  /** Of these those of which nothing could be told. */
  unknown: number;
}

export interface PairResult {
  /** Id of the pair. */
  pair: string;
  /** Id of the run; undefined where there was nothing to carry. */
  run: string | undefined;
  planned: PairNumbers;
  /** What became of the paths that were carried. */
  counts: RunCounts | undefined;
  /** How the run ended; `done` where there was none. */
  end: RunEnd;
}

export interface SyncPairOptions extends Pick<SubmitOptions, "startPool" | "stateDir" | "keepRuns" | "live"> {
  dryRun: boolean;
  events: PairEvents;
  /** Stops it in an orderly way: the next sync plans what is left anew. */
  signal: AbortSignal;
}

/**
 * Syncs a pair: plans, asks the guards, carries the plan out as a run, and notes what both sides hold. A sync that broke off
 * at any point is gone on with by the next one, which plans anew.
 *
 * @param planned a run with the local side as its root and the remote one as its only source.
 * @throws PairGuardError, SettingsError, TransferError, ListingError before the first change; RunLostError if another process
 *   has taken the run.
 */
export async function syncPair(
  engine: Engine,
  planned: PlannedRun,
  request: PairRequest,
  options: SyncPairOptions,
): Promise<PairResult> {
  const { events, signal, dryRun } = options;
  const prepared = await preparePair(engine, planned, request, signal);
  try {
    const { plan, run, record } = prepared;
    const { paths, counts, unknown } = plan;
    const numbers: PairNumbers = { paths, unknown, ...counts };
    events.planned(numbers);
    for await (const each of plan.left.all()) events.left(each);
    for await (const { path, reason } of plan.conflicts.all()) events.listed(path, reason);
    const result = { pair: record.id, planned: numbers };
    if (dryRun) {
      for await (const step of plan.steps.all()) events.wouldDo(step);
      return { ...result, run: undefined, counts: undefined, end: "done" };
    }
    await prepared.begin();
    if (plan.steps.count === 0) {
      await prepared.end();
      return { ...result, run: undefined, counts: undefined, end: "done" };
    }
    const { startPool, stateDir, keepRuns, live } = options;
    const handle = await submit(engine, run.planned, {
      startPool,
      stateDir,
      runId: run.runId,
      given: run.given,
      ...(keepRuns === undefined ? {} : { keepRuns }),
      ...(live === undefined ? {} : { live }),
      warn: (message) => events.warn(message),
    });
    const followed = await handle.follow(events, signal);
    if (followed.end === "done" || followed.end === "cancelled") await prepared.end();
    return { ...result, run: handle.run.id, counts: followed.counts, end: followed.end };
  } finally {
    await prepared.close();
  }
}

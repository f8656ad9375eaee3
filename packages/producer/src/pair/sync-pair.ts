import type { Engine } from "@drover/shared/engine";
import type { PairStore } from "@drover/shared/pair/store";
import { wantedBy } from "../expand/wanted.js";
import type { RunEvents } from "../runs/carry/run-handle.js";
import type { PlannedRun } from "../runs/plan/plan.js";
import { type Carried, type CarryOptions, carrySteps } from "./carry-steps.js";
import { checkPlan } from "./guards.js";
import type { LeftPath, PairPlan, PlannedStep } from "./pair-plan.js";
import { openPairSession, type PairRequest, type PairSession } from "./pair-session.js";
import { planPair } from "./plan-pair.js";
import { countRenames } from "./renames.js";

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

export interface PairResult extends Carried {
  /** Id of the pair. */
  pair: string;
  planned: PairNumbers;
  dryRun: boolean;
}

export interface SyncPairOptions extends CarryOptions {
  /** Whether nothing is changed. */
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
  const session = await openPairSession(engine, planned, request, options.signal);
  try {
    const { sides, store, signal, record } = session;
    const clockOffsetMs = () => session.clockOffsetMs();
    const examiner = { sides, terms: request.terms, clockOffsetMs, signal };
    const known = session.adopts === undefined ? store : NOTHING_KNOWN;
    const wanted = wantedBy(planned.spec);
    const isOfPair = request.wanted?.(wanted) ?? wanted;
    const plan = await planPair(examiner, known, isOfPair, await store.conflicts());
    try {
      await checkPlan(plan, request.limits, (side) => countRenames(plan, side, session));
      await request.review?.({ record, plan, sides, signal });
      const numbers: PairNumbers = { paths: plan.paths, unknown: plan.unknown, ...plan.counts };
      await tell(plan, numbers, options);
      const { dryRun } = options;
      const result = { pair: record.id, planned: numbers, dryRun };
      if (dryRun) return { ...result, run: undefined, counts: undefined, end: "done" };
      record.terms = request.terms;
      // A pull writes no object, and asks for nothing.
      if (request.terms.direction !== "pull") record.s3Objects = planned.spec.s3Objects;
      await listConflicts(session, plan);
      return { ...result, ...(await carrySteps(engine, session, plan, options)) };
    } finally {
      plan.close();
    }
  } finally {
    await session.close();
  }
}

/** What is known of a pair that is synced for the first time, or as if it were. */
const NOTHING_KNOWN: Pick<PairStore, "ancestors"> = { async *ancestors() {} };

async function tell(
  plan: PairPlan,
  numbers: PairNumbers,
  { events, dryRun }: SyncPairOptions,
): Promise<void> {
  events.planned(numbers);
  for await (const each of plan.left.all()) events.left(each);
  for await (const { path, reason } of plan.conflicts.all()) events.listed(path, reason);
  if (dryRun) for await (const step of plan.steps.all()) events.wouldDo(step);
}

/** Keeps the conflicts that were found, and forgets those that are none any more. */
async function listConflicts({ store }: PairSession, plan: PairPlan): Promise<void> {
  const listed = new Set<string>();
  for await (const conflict of plan.conflicts.all()) {
    listed.add(conflict.path);
    await store.listConflict(conflict);
  }
  const solved = (await store.conflicts()).map(({ path }) => path).filter((path) => !listed.has(path));
  await store.dropConflicts(solved);
}

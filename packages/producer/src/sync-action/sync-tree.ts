import type { Engine } from "@drover/shared/engine";
import { isSuccess, type Outcome } from "@drover/shared/outcome";
import type { PairRequest, PairReview } from "../pair/pair-session.js";
import { type PairEvents, type PairResult, type SyncPairOptions, syncPair } from "../pair/sync-pair.js";
import { SILENT } from "../runs/carry/run-handle.js";
import type { PlannedRun } from "../runs/plan/plan.js";
import { ManualResolutionRequired, type SyncConflict, type SyncResult } from "./results.js";
import { conflictsOf } from "./review-plan.js";

/** With what pairs are synced. */
export interface SyncContext
  extends Pick<SyncPairOptions, "startPool" | "stateDir" | "keepRuns" | "signal" | "submitted"> {
  engine: Engine;
  /** Told of everything besides. */
  events: PairEvents;
}

/** A pair that is to be synced. */
export interface TreeRequest {
  /** The local side, as people call it. */
  local: string;
  /** Plans its run, with the local side as its destination and the other one as its only source. @throws SettingsError */
  plan(): Promise<PlannedRun>;
  pair: PairRequest;
  dryRun: boolean;
}

/** For whoever does not want to hear of a sync of a pair. */
export const SILENT_PAIR: PairEvents = {
  ...SILENT,
  planned: () => {},
  left: () => {},
  listed: () => {},
  wouldDo: () => {},
};

/**
 * Syncs a pair and adds what became of it to a result.
 *
 * @param review looks at the plan before anything is changed.
 * @throws as syncPair, and for what cannot be planned.
 */
export async function syncTree(
  context: SyncContext,
  request: TreeRequest,
  result: SyncResult,
  review: (review: PairReview) => Promise<void> = async () => {},
): Promise<PairResult> {
  const { engine, events, ...options } = context;
  const planned = await request.plan();
  const pair: PairRequest = {
    ...request.pair,
    async review(plan) {
      await review(plan);
      result.conflicts.push(...(await conflictsOf(plan)));
      for await (const { path, reason, local, remote } of plan.plan.conflicts.all())
        result.conflicts.push({
          path,
          reason,
          ...(local ? { localMtime: new Date(local.mtimeMs) } : {}),
          ...(remote ? { remoteMtime: new Date(remote.mtimeMs) } : {}),
        });
    },
  };
  const collected = collecting(result, events);
  const { dryRun } = request;
  const done = await syncPair(engine, planned, pair, { ...options, dryRun, events: collected });
  if (done.run !== undefined) result.runs.push(done.run);
  result.pairs.push(done.pair);
  if (done.end !== "done") result.interrupted ||= done.end !== "cancelled";
  const isWhole = done.end === "done" && done.planned.unknown === 0 && !result.hasErrors;
  if (!isWhole || result.conflicts.some(isListed)) result.isSettled = false;
  return done;
}

/** Collects what is told into a result. */
function collecting(result: SyncResult, events: PairEvents): PairEvents {
  return {
    ...forwarding(events),
    left(path) {
      result.skipped.push({ path: path.name, why: path.why });
      events.left(path);
    },
    wouldDo(step) {
      result.syncedItems.push(step.name);
      events.wouldDo(step);
    },
    settled(outcome) {
      addOutcome(result, outcome);
      events.settled(outcome);
    },
  };
}

/** Methods of an object, which need it, as functions. */
function forwarding(events: PairEvents): PairEvents {
  return {
    queued: (files) => events.queued(files),
    endedBefore: (files) => events.endedBefore(files),
    sealed: () => events.sealed(),
    started: (job, attempt) => events.started(job, attempt),
    receiving: (index, progress) => events.receiving(index, progress),
    waiting: (job) => events.waiting(job),
    retrying: (job, attempt, error, delayMs) => events.retrying(job, attempt, error, delayMs),
    settled: (outcome) => events.settled(outcome),
    warn: (message) => events.warn(message),
    planned: (numbers) => events.planned(numbers),
    left: (path) => events.left(path),
    listed: (path, reason) => events.listed(path, reason),
    wouldDo: (step) => events.wouldDo(step),
  };
}

function addOutcome(result: SyncResult, { name, outcome, pair, error }: Outcome): void {
  if (!isSuccess(outcome)) {
    result.errors.push({ path: name, why: error?.message ?? outcome });
    return;
  }
  const { action = "unchanged", conflict = false, backup, copies = [] } = pair ?? {};
  if (/^(push|pull|delete-local|delete-remote)$/.test(action)) result.syncedItems.push(name);
  else if (!/^(unchanged|forgotten|listed)$/.test(action)) result.skipped.push({ path: name, why: action });
  // What has a copy is in the backup as well, for whoever takes the run back.
  if (backup !== undefined && copies.length === 0) result.backedUp.push(backup);
  result.backedUp.push(...copies);
  // Decided anew by a worker.
  if (conflict && !result.conflicts.some(({ path }) => path === name))
    result.conflicts.push({ path: name, ...(action === "listed" ? { reason: "both_changed" } : {}) });
}

/** Whether a conflict waits for a person. */
function isListed({ reason }: SyncConflict): boolean {
  return reason !== undefined;
}

/** @throws ManualResolutionRequired where conflicts wait for a person. */
export function refuseListed<T extends SyncResult>(result: T): T {
  if (!result.dryRun && result.conflicts.some(isListed)) throw new ManualResolutionRequired(result);
  return result;
}

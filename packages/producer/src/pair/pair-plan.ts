import type { Side } from "@drover/shared/pair/decide";
import type { PairConflict } from "@drover/shared/pair/store";
import { Spool } from "../delete/spool.js";

/** What is to be done with a path by a worker. */
export interface PlannedStep {
  name: string;
  /** See step.ts. */
  step: string;
  /** The side that its job names, where a path has a step for each. Default: the remote one. */
  side?: Side;
  /** In which order: what frees a name comes before what needs it. */
  phase: 1 | 2;
}

/** A path that is left as it is, for people. */
export interface LeftPath {
  name: string;
  why: string;
}

/** Numbers that guards look at, of one side. */
export interface SideCounts {
  /** Tracked paths of which the side has a file now. */
  present: number;
  /** Of these those with other bytes than the ancestor. */
  changed: number;
  /** Files that the plan deletes there. */
  deletes: number;
}

/** What a sync would do. Nothing of it was done yet. */
export class PairPlan {
  /** Paths that both sides are known to have held. */
  tracked = 0;
  /** Paths that a side has. */
  paths = 0;
  readonly sides: Record<Side, SideCounts> = {
    local: { present: 0, changed: 0, deletes: 0 },
    remote: { present: 0, changed: 0, deletes: 0 },
  };
  readonly counts = {
    push: 0,
    pull: 0,
    "delete-local": 0,
    "delete-remote": 0,
    conflicts: 0,
    left: 0,
    listed: 0,
  };
  readonly steps = new Spool<PlannedStep>();
  readonly left = new Spool<LeftPath>();
  /** Paths whose ancestors change without a write to a side: the encoded ancestor in base64, "" to drop it. */
  readonly notes = new Spool<[name: string, ancestor: string]>();
  readonly conflicts = new Spool<PairConflict>();
  /** Paths of which nothing can be told, or that stand in each other's way. */
  unknown = 0;

  close(): void {
    for (const each of [this.steps, this.left, this.notes, this.conflicts]) each.close();
  }
}

/** Leaves a path as it is. */
export function leave(plan: PairPlan, name: string, why: string): void {
  plan.counts.left++;
  plan.left.add({ name, why });
}

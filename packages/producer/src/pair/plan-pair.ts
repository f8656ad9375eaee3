import { TransferError } from "@drover/shared/errors";
import { type Ancestor, encodeAncestor } from "@drover/shared/pair/ancestor";
import { type Decision, decide, type PairTerms, type Side } from "@drover/shared/pair/decide";
import { type Examined, type Examiner, examine, type SeenPath } from "@drover/shared/pair/path-state";
import type { FileLook } from "@drover/shared/pair/side";
import { encodeStep } from "@drover/shared/pair/step";
import type { ConflictVersion, PairConflict, PairStore } from "@drover/shared/pair/store";
import { Spool } from "../delete/spool.js";
import { Clashes } from "./clashes.js";
import { mergePair } from "./merge.js";

/** Paths that are examined at once: some of them are read. */
const AT_ONCE = 16;
/** Paths that are merged before they are examined. */
const BATCH = 512;

/** What is to be done with a path by a worker. */
export interface PlannedStep {
  name: string;
  /** See step.ts. */
  step: string;
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
  readonly counts = { push: 0, pull: 0, "delete-local": 0, "delete-remote": 0, conflicts: 0, left: 0, listed: 0 };
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

/**
 * Lists both sides and decides on every path. Nothing is changed, and the plan is valid for this moment alone: it is never
 * stored, for to go on with a sync is to plan again.
 *
 * @param wanted whether a path is of the pair.
 * @throws TransferError, ListingError if a side cannot be listed completely.
 */
export async function planPair(
  examiner: Examiner,
  store: Pick<PairStore, "ancestors">,
  wanted: (name: string) => boolean,
): Promise<PairPlan> {
  const plan = new PairPlan();
  const clashes = new Clashes();
  try {
    let batch: SeenPath[] = [];
    for await (const seen of mergePair(examiner.sides, store, wanted, examiner.signal)) {
      clashes.see(seen);
      if (batch.push(seen) < BATCH) continue;
      await planBatch(batch, examiner, plan);
      batch = [];
    }
    await planBatch(batch, examiner, plan);
    return clashes.size === 0 ? plan : await withoutClashes(plan, clashes);
  } catch (error) {
    plan.close();
    throw error;
  }
}

async function planBatch(batch: SeenPath[], examiner: Examiner, plan: PairPlan): Promise<void> {
  const states: (Examined | TransferError)[] = [];
  let next = 0;
  const examineSome = async () => {
    for (let at = next++; at < batch.length; at = next++) {
      try {
        states[at] = await examineNamed(batch[at] as SeenPath, examiner);
      } catch (error) {
        if (!(error instanceof TransferError)) throw error;
        states[at] = error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, examineSome));
  for (const [at, seen] of batch.entries())
    add(seen, states[at] as Examined | TransferError, examiner.terms, plan);
}

/** @throws TransferError for a name that one of the sides cannot have. */
function examineNamed(seen: SeenPath, examiner: Examiner): Promise<Examined> {
  for (const side of Object.values(examiner.sides)) side.checkName(seen.name);
  return examine(seen, examiner);
}

function add(
  seen: SeenPath,
  state: Examined | TransferError,
  terms: PairTerms,
  plan: PairPlan,
): void {
  const { name, ancestor, local, remote } = seen;
  if (ancestor) plan.tracked++;
  if (local.is !== "absent" || remote.is !== "absent") plan.paths++;
  if (state instanceof TransferError) {
    // It is looked at again in the next sync; until then both sides stay as they are.
    plan.unknown++;
    leave(plan, name, state.message);
    if (ancestor)
      for (const side of ["local", "remote"] as const) if (seen[side].is !== "absent") plan.sides[side].present++;
    return;
  }
  for (const side of ["local", "remote"] as const) {
    if (!state.tracked || state[side] === "absent") continue;
    plan.sides[side].present++;
    if (state[side] === "changed") plan.sides[side].changed++;
  }
  const decision = decide(state, terms);
  switch (decision.do) {
    case "nothing":
      if (state.restamped) note(plan, seen, state);
      break;
    case "record":
      note(plan, seen, state);
      break;
    case "forget":
      plan.notes.add([name, ""]);
      break;
    case "leave": {
      const unknown = [local, remote].find((look) => look.is === "unknown");
      if (unknown?.is === "unknown") plan.unknown++;
      leave(plan, name, unknown?.is === "unknown" ? unknown.why : decision.why);
      if (decision.forgets) plan.notes.add([name, ""]);
      break;
    }
    case "list":
      plan.counts.listed++;
      plan.counts.conflicts++;
      plan.conflicts.add({
        path: name,
        reason: decision.reason,
        ...(local.is === "file" ? { local: versionOf(local) } : {}),
        ...(remote.is === "file" ? { remote: versionOf(remote) } : {}),
        listedMs: Date.now(),
      });
      break;
    default:
      addStep(plan, seen, decision);
  }
}

function addStep(
  plan: PairPlan,
  { name, local, remote }: SeenPath,
  decision: Extract<Decision, { to: Side }>,
): void {
  const stamps = {
    local: local.is === "file" ? local.stamp : "",
    remote: remote.is === "file" ? remote.stamp : "",
  };
  if (decision.conflict) plan.counts.conflicts++;
  if (decision.do === "delete") {
    plan.counts[`delete-${decision.to}`]++;
    plan.sides[decision.to].deletes++;
  } else plan.counts[decision.to === "remote" ? "push" : "pull"]++;
  plan.steps.add({ name, step: encodeStep({ decision, ...stamps }), phase: decision.do === "delete" ? 1 : 2 });
}

function note(plan: PairPlan, { name, local, remote, ancestor }: SeenPath, { sha256 }: Examined): void {
  if (sha256 === undefined || local.is !== "file" || remote.is !== "file") return;
  const mode = local.mode ?? remote.mode;
  const noted: Ancestor = {
    sha256,
    sizeBytes: local.sizeBytes,
    ...(mode === undefined ? {} : { mode }),
    local: local.racy ? "" : local.stamp,
    remote: remote.racy ? "" : remote.stamp,
  };
  const isNoted = ancestor !== undefined && encodeAncestor(ancestor).equals(encodeAncestor(noted));
  if (!isNoted) plan.notes.add([name, encodeAncestor(noted).toString("base64")]);
}

function leave(plan: PairPlan, name: string, why: string): void {
  plan.counts.left++;
  plan.left.add({ name, why });
}

function versionOf({ stamp, sizeBytes, mtimeMs }: FileLook): ConflictVersion {
  return { stamp, sizeBytes, mtimeMs };
}

/** The plan without the paths that stand in each other's way: both sides keep them. */
async function withoutClashes(plan: PairPlan, clashes: Clashes): Promise<PairPlan> {
  const kept = new PairPlan();
  try {
    Object.assign(kept, { tracked: plan.tracked, paths: plan.paths, unknown: plan.unknown });
    Object.assign(kept.sides, plan.sides);
    Object.assign(kept.counts, plan.counts);
    for await (const each of plan.left.all()) kept.left.add(each);
    for await (const each of plan.notes.all()) if (!clashes.has(each[0])) kept.notes.add(each);
    for await (const each of plan.conflicts.all()) kept.conflicts.add(each);
    for await (const each of plan.steps.all()) {
      if (!clashes.has(each.name)) kept.steps.add(each);
      else {
        kept.unknown++;
        leave(kept, each.name, "blocked: one side has a file where the other one has a directory");
      }
    }
    return kept;
  } catch (error) {
    kept.close();
    throw error;
  } finally {
    plan.close();
  }
}

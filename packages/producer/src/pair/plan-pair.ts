import { TransferError } from "@drover/shared/errors";
import { encodeAncestor } from "@drover/shared/pair/ancestor";
import { type Decision, decide, type Side } from "@drover/shared/pair/decide";
import {
  ancestorOf,
  type Examined,
  type Examiner,
  examine,
  type SeenPath,
  withMode,
} from "@drover/shared/pair/path-state";
import type { FileLook } from "@drover/shared/pair/side";
import { encodeStep } from "@drover/shared/pair/step";
import type { ConflictVersion, PairConflict, PairStore } from "@drover/shared/pair/store";
import { Clashes } from "./clashes.js";
import { mergePair } from "./merge.js";
import { leave, PairPlan } from "./pair-plan.js";
import { settleClashes } from "./settle-clashes.js";

/** Paths that are examined at once: some of them are read. */
const AT_ONCE = 16;
/** Paths that are merged before they are examined. */
const BATCH = 512;

/**
 * Lists both sides and decides on every path. Nothing is changed, and the plan is valid for this moment alone: it is never
 * stored, for to go on with a sync is to plan again.
 *
 * @param wanted whether a path is of the pair.
 * @param listed conflicts that wait for a person.
 * @throws TransferError, ListingError if a side cannot be listed completely.
 */
export async function planPair(
  examiner: Examiner,
  store: Pick<PairStore, "ancestors">,
  wanted: (name: string) => boolean,
  listed: readonly PairConflict[],
): Promise<PairPlan> {
  const plan = new PairPlan();
  const hadBoth = new Set(listed.filter((each) => each.local && each.remote).map(({ path }) => path));
  const clashes = new Clashes();
  try {
    let batch: SeenPath[] = [];
    for await (const seen of mergePair(examiner.sides, store, wanted, examiner.signal)) {
      clashes.see(seen);
      if (batch.push(seen) < BATCH) continue;
      await planBatch(batch, { examiner, hadBoth }, plan);
      batch = [];
    }
    await planBatch(batch, { examiner, hadBoth }, plan);
    return clashes.size === 0 ? plan : await settleClashes(plan, clashes, examiner.terms);
  } catch (error) {
    plan.close();
    throw error;
  }
}

interface Planning {
  examiner: Examiner;
  /** Conflicts that were listed while both sides had a version. */
  hadBoth: ReadonlySet<string>;
}

async function planBatch(batch: SeenPath[], { examiner, hadBoth }: Planning, plan: PairPlan): Promise<void> {
  const states: (Examined | TransferError)[] = [];
  let next = 0;
  const examineSome = async () => {
    for (let at = next++; at < batch.length; at = next++) {
      try {
        const { seen, state } = await examineTwice(batch[at] as SeenPath, examiner);
        batch[at] = seen;
        states[at] = state;
      } catch (error) {
        if (!(error instanceof TransferError)) throw error;
        states[at] = error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, examineSome));
  for (const [at, seen] of batch.entries()) {
    const state = states[at] as Examined | TransferError;
    if (state instanceof TransferError) addUnknown(seen, state, plan);
    else add(seen, state, decisionOn(seen, state, { examiner, hadBoth }), plan);
  }
}

function decisionOn({ name }: SeenPath, state: Examined, { examiner, hadBoth }: Planning): Decision {
  const decision = withMode(decide(state, examiner.terms), state);
  if (decision.do !== "list" || !hadBoth.has(name)) return decision;
  // A person has removed one of two versions: the other one is taken, where it may be written.
  const { direction } = examiner.terms;
  const absent = (["local", "remote"] as const).find((side) => state[side] === "absent");
  const written = direction === "bidirectional" ? absent : direction === "pull" ? "local" : "remote";
  if (absent === undefined || absent !== written) return decision;
  return { do: "copy", to: absent, keeps: false, conflict: true };
}

/** @throws TransferError for a name that one of the sides cannot have. */
function examineNamed(seen: SeenPath, examiner: Examiner): Promise<Examined> {
  for (const side of Object.values(examiner.sides)) side.checkName(seen.name);
  return examine(seen, examiner);
}

/**
 * What is forgotten or listed is never looked at by a worker, as what is deleted is: where a side is said not to have a path that
 * both had, it is asked once more. A listing may lie.
 */
async function examineTwice(
  seen: SeenPath,
  examiner: Examiner,
): Promise<{ seen: SeenPath; state: Examined }> {
  const state = await examineNamed(seen, examiner);
  const { do: what, ...rest } = decide(state, examiner.terms);
  const rests =
    what === "forget" || what === "list" || (what === "leave" && "forgets" in rest && rest.forgets);
  if (!seen.ancestor || !rests) return { seen, state };
  const again = { ...seen };
  for (const side of ["local", "remote"] as const)
    if (seen[side].is === "absent") again[side] = await examiner.sides[side].look(seen.name, examiner.signal);
  const isSo = again.local.is === seen.local.is && again.remote.is === seen.remote.is;
  return isSo ? { seen, state } : { seen: again, state: await examineNamed(again, examiner) };
}

function countPath({ ancestor, local, remote }: SeenPath, plan: PairPlan): void {
  if (ancestor) plan.tracked++;
  if (local.is !== "absent" || remote.is !== "absent") plan.paths++;
}

/** It is looked at again in the next sync; until then both sides stay as they are. */
function addUnknown(seen: SeenPath, { message }: TransferError, plan: PairPlan): void {
  countPath(seen, plan);
  plan.unknown++;
  leave(plan, seen.name, message);
  if (!seen.ancestor) return;
  for (const side of ["local", "remote"] as const) if (seen[side].is !== "absent") plan.sides[side].present++;
}

function add(seen: SeenPath, state: Examined, decision: Decision, plan: PairPlan): void {
  const { name, local, remote } = seen;
  countPath(seen, plan);
  for (const side of ["local", "remote"] as const) {
    if (!state.tracked || state[side] === "absent") continue;
    plan.sides[side].present++;
    if (state[side] === "changed") plan.sides[side].changed++;
  }
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
  plan.steps.add({
    name,
    step: encodeStep({ is: "decided", decision, ...stamps }),
    phase: decision.do === "delete" ? 1 : 2,
  });
}

function note(plan: PairPlan, seen: SeenPath, { sha256 }: Examined): void {
  const noted = sha256 === undefined ? undefined : ancestorOf(seen, sha256);
  if (!noted) return;
  const { name, ancestor } = seen;
  const isNoted = ancestor !== undefined && encodeAncestor(ancestor).equals(encodeAncestor(noted));
  if (!isNoted) plan.notes.add([name, encodeAncestor(noted).toString("base64")]);
}

function versionOf({ stamp, sizeBytes, mtimeMs }: FileLook): ConflictVersion {
  return { stamp, sizeBytes, mtimeMs };
}

import type { PairTerms, Side } from "@drover/shared/pair/decide";
import { type DecidedStep, decodeDecided, encodeStep } from "@drover/shared/pair/step";
import type { Clash, Clashes } from "./clashes.js";
import { OTHER } from "./merge.js";
import { leave, PairPlan, type PlannedStep } from "./pair-plan.js";

/** What becomes of a file that is in the way of a directory. */
type Way =
  /** The ordinary table, removals first. */
  | "in-order"
  /** The file gets another name, then the directory comes. */
  | "vacate"
  /** The directory stays, and gets the file beside it under another name. */
  | "beside"
  /** A person decides. */
  | "list"
  /** Both sides stay as they are. */
  | "blocked"
  /** One side has both: the file is synced, what is below it is not. */
  | "file-alone";

/** What is planned for the paths of a clash. */
interface Planned {
  /** The step of the file itself. */
  own: DecidedStep | undefined;
  clash: Clash;
  /** How many paths below it are deleted. */
  deletes: number;
}

/**
 * Orders the steps of paths that are a file on one side and a directory on the other: no strategy destroys a directory with
 * new content. It keeps the name, and the file's version gets a name of its own.
 *
 * @param plan is closed. @returns another one.
 */
export async function settleClashes(plan: PairPlan, clashes: Clashes, terms: PairTerms): Promise<PairPlan> {
  const kept = new PairPlan();
  try {
    Object.assign(kept, { tracked: plan.tracked, paths: plan.paths, unknown: plan.unknown });
    Object.assign(kept.sides, plan.sides);
    Object.assign(kept.counts, plan.counts);
    const planned = new Map<string, Planned>();
    for await (const step of plan.steps.all()) note(step, clashes.of(step.name), planned);
    const alone = [...planned.values()].filter(({ own }) => own === undefined);
    const moved = new Set(
      alone.filter((each) => moveAlone(kept, each, terms)).map(({ clash }) => clash.name),
    );
    for await (const each of plan.left.all()) {
      if (moved.has(each.name)) kept.counts.left--;
      else kept.left.add(each);
    }
    for await (const each of plan.notes.all()) kept.notes.add(each);
    for await (const each of plan.conflicts.all()) kept.conflicts.add(each);
    for await (const step of plan.steps.all()) {
      const clash = clashes.of(step.name);
      if (!clash) kept.steps.add(step);
      else add(kept, step, clash, wayOf(clash, planned.get(clash.name), terms));
    }
    return kept;
  } catch (error) {
    kept.close();
    throw error;
  } finally {
    plan.close();
  }
}

function note({ name, step }: PlannedStep, clash: Clash | undefined, planned: Map<string, Planned>): void {
  if (!clash) return;
  const known = planned.get(clash.name) ?? { own: undefined, clash, deletes: 0 };
  planned.set(clash.name, known);
  const decoded = decodeDecided(step);
  if (name === clash.name) known.own = decoded;
  else if (decoded.decision.do === "delete") known.deletes++;
}

/**
 * A file that would have been left where it is, if there were no directory to come to its place.
 *
 * @returns whether something is planned for it now.
 */
function moveAlone(plan: PairPlan, planned: Planned, terms: PairTerms): boolean {
  const { clash } = planned;
  const { name, stamps, files } = clash;
  const [side] = files;
  // Of what is no file, a link say, nothing is known.
  if (side === undefined || stamps[side] === "") return false;
  const way = wayOf(clash, planned, terms);
  if (way === "list") list(plan, name);
  if (way === "vacate") vacate(plan, name, stamps, side);
  return way === "list" || way === "vacate";
}

function list(plan: PairPlan, path: string): void {
  plan.counts.listed++;
  plan.counts.conflicts++;
  plan.conflicts.add({ path, reason: "type", listedMs: Date.now() });
}

function vacate(plan: PairPlan, name: string, { local, remote }: Record<Side, string>, to: Side): void {
  count(plan, { do: "delete", to });
  plan.counts.conflicts++;
  const decision = { do: "vacate", to, conflict: true } as const;
  plan.steps.add({ name, step: encodeStep({ is: "decided", decision, local, remote }), phase: 1 });
}

function wayOf({ files, below, isAncestor }: Clash, planned: Planned | undefined, terms: PairTerms): Way {
  for (const side of files) if (below[side] > 0) return files.size === 2 ? "file-alone" : "blocked";
  const [side] = files;
  if (files.size !== 1 || side === undefined) return "blocked";
  const own = planned?.own?.decision;
  if (own?.do === "delete" && own.to === side) return "in-order";
  const { direction, strategy } = terms;
  // The file comes if all of the directory goes.
  if (own && planned.deletes === below[OTHER[side]]) return "in-order";
  if (strategy === "manual") return "list";
  if (direction === "bidirectional") return "vacate";
  // One way: only the side that is written may make room, or take the file in, and only if its strategy lets the other one win.
  const written: Side = direction === "pull" ? "local" : "remote";
  if (strategy === `${written}-wins`) return "blocked";
  if (side === written) return "vacate";
  return isAncestor ? "blocked" : "beside";
}

function add(plan: PairPlan, planned: PlannedStep, clash: Clash, way: Way): void {
  const { name, step } = planned;
  const isFile = name === clash.name;
  const decoded = decodeDecided(step);
  const why = "one side has a file where the other one has a directory";
  const block = (reason: string) => {
    uncount(plan, decoded);
    plan.unknown++;
    leave(plan, name, reason);
  };
  if (way === "blocked") {
    block(`blocked: ${why}`);
    return;
  }
  if (way === "file-alone") {
    if (isFile) plan.steps.add(planned);
    else block(`refused name: ${clash.name} is a file`);
    return;
  }
  if (way === "beside") {
    if (!isFile) {
      plan.steps.add(planned);
      return;
    }
    uncount(plan, decoded);
    plan.counts.conflicts++;
    const { to } = decoded.decision;
    count(plan, { do: "copy", to });
    plan.steps.add({
      ...planned,
      step: encodeStep({ ...decoded, decision: { do: "beside", to, conflict: true } }),
    });
    return;
  }
  if (way === "list") {
    uncount(plan, decoded);
    if (!isFile) {
      leave(plan, name, `waits: ${clash.name} is a conflict`);
      return;
    }
    list(plan, name);
    return;
  }
  const [side] = clash.files;
  const fileSide = side as Side;
  if (way === "in-order") {
    // What is below waits for the file to go.
    const above = !isFile && decoded.decision.to === fileSide ? { above: clash.name } : {};
    plan.steps.add({ ...planned, step: encodeStep({ ...decoded, ...above }) });
    return;
  }
  uncount(plan, decoded);
  if (isFile) {
    vacate(plan, name, decoded, fileSide);
    return;
  }
  // The whole directory comes, what was to be deleted with it too.
  if (decoded.decision.to !== fileSide && decoded.decision.do !== "delete") {
    block(`blocked: ${why}`);
    return;
  }
  count(plan, { do: "copy", to: fileSide });
  const decision = { do: "copy", to: fileSide, keeps: false, conflict: false } as const;
  plan.steps.add({ name, step: encodeStep({ ...decoded, decision, above: clash.name }), phase: 2 });
}

function uncount(plan: PairPlan, { decision }: DecidedStep): void {
  count(plan, decision, -1);
  if (decision.conflict) plan.counts.conflicts--;
}

function count(plan: PairPlan, { do: what, to }: { do: string; to: Side }, by = 1): void {
  if (what === "delete") {
    plan.counts[`delete-${to}`] += by;
    plan.sides[to].deletes += by;
  } else plan.counts[to === "remote" ? "push" : "pull"] += by;
}

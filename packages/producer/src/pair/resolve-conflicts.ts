import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import type { PairTerms, Side } from "@drover/shared/pair/decide";
import { type CarriedDecision, encodeStep } from "@drover/shared/pair/step";
import type { PairConflict } from "@drover/shared/pair/store";
import { Spool } from "../delete/spool.js";
import type { PlannedRun } from "../runs/plan/plan.js";
import { type Carried, type CarryOptions, carrySteps } from "./carry-steps.js";
import { OTHER } from "./merge.js";
import type { PlannedStep } from "./pair-plan.js";
import { openPairSession, type PairRequest } from "./pair-session.js";

export const TAKES = ["local", "remote", "newest", "both"] as const;
/** Which version of a conflict wins. */
export type Take = (typeof TAKES)[number];

/** Times of objects are whole seconds: versions closer than this are of one time, in milliseconds. */
const SAME_TIME_MS = 2_000;

/**
 * Resolves conflicts that are listed. It takes the versions that were listed: where one was changed since, nothing is done and
 * the conflict is listed anew. The version that loses goes to the backup.
 *
 * @param paths of the conflicts; undefined for all of them.
 * @throws SettingsError for a path without a conflict, or one that cannot be resolved so; then nothing is changed.
 */
export async function resolveConflicts(
  engine: Engine,
  planned: PlannedRun,
  request: PairRequest,
  { paths, take }: { paths: readonly string[] | undefined; take: Take },
  options: CarryOptions & { signal: AbortSignal },
): Promise<Carried & { conflicts: number }> {
  const session = await openPairSession(engine, planned, request, options.signal);
  const steps = new Spool<PlannedStep>();
  try {
    const listed = await session.store.conflicts();
    const chosen = paths === undefined ? listed : paths.map((path) => named(listed, path));
    for (const conflict of chosen) {
      const decision = decisionFor(conflict, take, request.terms);
      const stamps = { local: conflict.local?.stamp ?? "", remote: conflict.remote?.stamp ?? "" };
      const step = encodeStep({ is: "decided", decision, ...stamps });
      steps.add({ name: conflict.path, step, phase: 2 });
    }
    return { ...(await carrySteps(engine, session, { steps }, options)), conflicts: chosen.length };
  } finally {
    steps.close();
    await session.close();
  }
}

function named(listed: PairConflict[], path: string): PairConflict {
  const found = listed.find((each) => each.path === path);
  if (found) return found;
  throw new SettingsError(`${path} is no conflict of this pair: drover conflicts lists them`);
}

function decisionFor(conflict: PairConflict, take: Take, { direction }: PairTerms): CarriedDecision {
  if (conflict.reason === "type")
    throw new SettingsError(
      `${conflict.path} is a file on one side and a directory on the other: rename one of them, then sync again`,
    );
  const winner = take === "newest" ? newestOf(conflict) : take;
  if (winner === "both") {
    if (!conflict.local || !conflict.remote)
      throw new SettingsError(`${conflict.path} was deleted on one side: there are no two versions to keep`);
    return { do: "set-aside", to: direction === "push" ? "remote" : "local", conflict: true };
  }
  const to = OTHER[winner];
  if ((direction === "pull" && to === "remote") || (direction === "push" && to === "local"))
    throw new SettingsError(
      `${conflict.path}: the ${winner} version would be written to the ${to} side, and this pair is synced with --direction ${direction}`,
    );
  return conflict[winner]
    ? { do: "copy", to, keeps: conflict[to] !== undefined, conflict: true }
    : { do: "delete", to, keeps: true, conflict: true };
}

function newestOf({ path, local, remote }: PairConflict): Side {
  // A deletion has no time: what is there is what somebody wrote.
  if (!local) return "remote";
  if (!remote) return "local";
  if (Math.abs(local.mtimeMs - remote.mtimeMs) > SAME_TIME_MS)
    return local.mtimeMs > remote.mtimeMs ? "local" : "remote";
  throw new SettingsError(`${path}: both versions are of one time: choose --take local, remote or both`);
}

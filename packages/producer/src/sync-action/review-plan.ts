import { createHash } from "node:crypto";
import { TransferError } from "@drover/shared/errors";
import type { Side } from "@drover/shared/pair/decide";
import type { FileLook, Look, PairSides } from "@drover/shared/pair/side";
import { type DecidedStep, decodeDecided, encodeStep } from "@drover/shared/pair/step";
import { Spool } from "../delete/spool.js";
import type { PairPlan, PlannedStep } from "../pair/pair-plan.js";
import type { PairReview } from "../pair/pair-session.js";
import { MOST_YAML_BYTES } from "../strict-yaml.js";
import type { SettingsCheck, SettingsIssue } from "./check-settings.js";
import type { SyncConflict } from "./results.js";

/** The conflicts among the steps of a plan. Only they are asked for the times of their versions. */
export async function conflictsOf({ plan, sides, signal }: PairReview): Promise<SyncConflict[]> {
  const found: SyncConflict[] = [];
  for await (const { name, step } of plan.steps.all()) {
    const { decision, ...stamps } = decodeDecided(step);
    if (!decision.conflict) continue;
    const [localMtime, remoteMtime] = await Promise.all(
      (["local", "remote"] as const).map((side) => editedAt(name, stamps[side], side, sides, signal)),
    );
    found.push({
      path: name,
      ...(localMtime === undefined ? {} : { localMtime }),
      ...(remoteMtime === undefined ? {} : { remoteMtime }),
      winner:
        decision.do === "set-aside" || decision.do === "beside"
          ? "both"
          : decision.to === "local"
            ? "remote"
            : "local",
    });
  }
  return found;
}

async function editedAt(
  name: string,
  stamp: string,
  side: Side,
  sides: PairSides,
  signal: AbortSignal,
): Promise<Date | undefined> {
  if (stamp === "") return undefined;
  try {
    const look: Look = await sides[side].look(name, signal);
    if (look.is !== "file" || look.stamp !== stamp) return undefined;
    return new Date((await sides[side].edited(name, look as FileLook, undefined, signal)).ms);
  } catch (error) {
    if (error instanceof TransferError) return undefined; // it is decided anew
    throw error;
  }
}

/** How files are checked before they are published. */
export interface Checking {
  check: SettingsCheck;
  /** Whether an invalid file holds back all others. */
  allOrNothing: boolean;
  /** Whether a path is a settings file: conflict copies are none. */
  isSettings: (name: string) => boolean;
}

/**
 * Checks what the steps of a plan would publish, and takes those out of it that would publish what must not be. A step keeps
 * the SHA-256 of what was checked: a worker publishes nothing else, whatever it decides by then.
 *
 * @returns what is wrong with the files that are held back, by path.
 */
export async function checkSteps(
  { plan, sides, signal }: PairReview,
  checking: Checking,
): Promise<Map<string, SettingsIssue[]>> {
  const invalid = new Map<string, SettingsIssue[]>();
  const steps = new Spool<PlannedStep>();
  for await (const planned of plan.steps.all()) {
    const step = decodeDecided(planned.step);
    if (
      step.decision.do === "delete" ||
      step.decision.do === "vacate" ||
      !checking.isSettings(planned.name)
    ) {
      steps.add(planned);
      continue;
    }
    const found = await checkStep(planned.name, step, { sides, signal, check: checking.check });
    if (Array.isArray(found)) invalid.set(planned.name, found);
    else steps.add({ ...planned, step: encodeStep({ ...step, checked: found.sha256 }) });
  }
  if (invalid.size === 0) {
    replaceSteps(plan, steps);
    return invalid;
  }
  const kept = new Spool<PlannedStep>();
  for await (const planned of plan.steps.all()) {
    const issues = invalid.get(planned.name);
    if (issues) leave(plan, planned, whyHeld(issues));
    else if (checking.allOrNothing)
      leave(plan, planned, "held back: another file is invalid, and all or nothing is wanted");
  }
  if (!checking.allOrNothing) for await (const planned of steps.all()) kept.add(planned);
  steps.close();
  replaceSteps(plan, kept);
  return invalid;
}

async function checkStep(
  name: string,
  step: DecidedStep,
  { sides, signal, check }: { sides: PairSides; signal: AbortSignal; check: SettingsCheck },
): Promise<SettingsIssue[] | { sha256: string }> {
  const from = step.decision.to === "local" ? "remote" : "local";
  const stamp = step[from];
  // A stamp begins with the size.
  if (Number(stamp.slice(0, stamp.indexOf(":"))) > MOST_YAML_BYTES)
    return [{ why: "it is larger than 1 MiB" }];
  let bytes: Buffer;
  try {
    bytes = await sides[from].bytes(name, stamp, signal);
  } catch (error) {
    if (error instanceof TransferError) return [{ why: `it cannot be checked: ${error.message}` }];
    throw error;
  }
  const issues = check.check(name, bytes);
  return issues.length > 0 ? issues : { sha256: createHash("sha256").update(bytes).digest("hex") };
}

function whyHeld(issues: SettingsIssue[]): string {
  return `held back: ${issues.map(sayIssue).join("; ")}`;
}

/** A finding for people: `line 3, column 5: bad indentation`. */
export function sayIssue({ why, line, column }: SettingsIssue): string {
  return line === undefined ? why : `line ${line}, column ${column}: ${why}`;
}

/** Takes a step out of a plan's numbers, and notes that its path is left as it is. */
function leave(plan: PairPlan, { name, step }: PlannedStep, why: string): void {
  const { decision } = decodeDecided(step);
  const { counts } = plan;
  if (decision.do === "delete" || decision.do === "vacate") counts[`delete-${decision.to}`]--;
  else counts[decision.to === "remote" ? "push" : "pull"]--;
  if (decision.conflict) counts.conflicts--;
  counts.left++;
  plan.unknown++;
  plan.left.add({ name, why });
}

function replaceSteps(plan: PairPlan, steps: PairPlan["steps"]): void {
  plan.steps.close();
  Object.assign(plan, { steps });
}

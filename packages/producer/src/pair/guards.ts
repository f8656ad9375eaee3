import type { Side } from "@drover/shared/pair/decide";
import { OTHER } from "./merge.js";
import type { PairPlan } from "./pair-plan.js";

/** A sync was stopped before its first change. `code` is for programs. */
export class PairGuardError extends Error {
  override name = "PairGuardError";

  constructor(
    readonly code: "busy" | "marker" | "generation" | "empty-side" | "max-delete" | "max-change",
    message: string,
  ) {
    super(message);
  }
}

/** Limits of what one sync may do. */
export interface PairLimits {
  /** Most files that it may delete on one side. */
  maxDelete: { files: number } | { percent: number };
  /** Most tracked files of one side, in percent, that may have other bytes; all of them only at 100. */
  maxChangePercent: number;
  /** A side that may have lost all files. */
  allowEmpty: "local" | "remote" | undefined;
}

/** Fewer tracked files than this may all change. */
const FEW_FILES = 10;

/**
 * Looks whether a plan is an accident.
 *
 * @param renamesOn how many of the files that are deleted on a side come there under another name; asked where it matters.
 * @throws PairGuardError if it looks like one.
 */
export async function checkPlan(
  plan: PairPlan,
  limits: PairLimits,
  renamesOn: (side: Side) => Promise<number>,
): Promise<void> {
  if (plan.tracked === 0) return;
  for (const side of ["local", "remote"] as const) {
    const { present } = plan.sides[side];
    if (present > 0 || limits.allowEmpty === side || plan.sides[OTHER[side]].present === 0) continue;
    throw new PairGuardError(
      "empty-side",
      `the ${side} side has none of the ${plan.tracked} files that were synced: is it mounted, is it the right one? If they were meant to go: --allow-empty ${side}`,
    );
  }
  for (const side of ["local", "remote"] as const) {
    const { deletes } = plan.sides[side];
    const { maxDelete } = limits;
    const allowed = "files" in maxDelete ? maxDelete.files : (plan.tracked * maxDelete.percent) / 100;
    if (deletes <= allowed || limits.allowEmpty === OTHER[side]) continue;
    const lost = deletes - (await renamesOn(side));
    if (lost <= allowed) continue;
    const limit = "files" in maxDelete ? String(maxDelete.files) : `${maxDelete.percent}%`;
    throw new PairGuardError(
      "max-delete",
      `${lost} of ${plan.tracked} files would be deleted on the ${side} side, and --max-delete allows ${limit}`,
    );
  }
  for (const side of ["local", "remote"] as const) {
    const { present, changed } = plan.sides[side];
    const { maxChangePercent } = limits;
    const isTooMuch = changed === present || (changed * 100) / present > maxChangePercent;
    if (present < FEW_FILES || maxChangePercent >= 100 || !isTooMuch) continue;
    throw new PairGuardError(
      "max-change",
      `${changed} of ${present} files of the ${side} side have other bytes than when they were synced: was it encrypted, or restored? If that is meant: --max-change 100%`,
    );
  }
}

import { existsSync } from "node:fs";
import { join } from "node:path";
import { type DryRunResult, dryRun } from "@drover/producer/runs/foresee/dry-run";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import { type EngineOptions, openEngine } from "@drover/shared/engine";
import { EXIT } from "../exit.js";
import { reportError, warn } from "../output.js";
import { DryRunOutput } from "./dry-run-output.js";
import type { Format } from "./format.js";

/**
 * `--dry-run`: prints what the sync would do.
 * @returns the exit code.
 * @throws ListingError if a source cannot be listed completely.
 */
export async function showDryRun(planned: PlannedRun, format: Format, state: EngineOptions): Promise<number> {
  const output = new DryRunOutput(format);
  // A state directory without a Redis has no catalog, so none is started.
  const noted = state.redis !== undefined || existsSync(join(state.stateDir, "redis"));
  const files = dryRun(planned, {
    openEngine: async () => (noted ? await openEngine(state) : undefined),
    warn,
  });
  let step = await files.next();
  for (; !step.done; step = await files.next()) output.file(step.value);
  const { counts, unclear } = step.value;
  const deleted = planned.spec.delete ? `, ${counts.delete} deleted` : "";
  const perhaps = unclear === 0 ? "" : ` (${unclear} of them only if what comes is not what is there)`;
  output.end(
    `${counts.copy} ${counts.copy === 1 ? "file" : "files"} would be copied${perhaps}, ${counts.unchanged} left unchanged${deleted}; nothing was changed`,
  );
  return dryRunExit(step.value, planned.spec.root);
}

/**
 * Says what would go wrong in a run.
 *
 * @returns the exit code of the dry run.
 * @throws ListingError if a source could not be listed completely.
 */
export function dryRunExit({ counts, deletionRefused, incomplete }: DryRunResult, root: string): number {
  if (incomplete) throw incomplete;
  const total = counts.copy + counts.unchanged + counts.none;
  if (deletionRefused !== "") reportError(`nothing would be deleted in ${root}: ${deletionRefused}`);
  else if (total === 0) warn("nothing matched: there is no file to sync");
  if (counts.none > 0) return counts.none === total ? EXIT.none : EXIT.some;
  return deletionRefused === "" ? EXIT.ok : EXIT.some;
}

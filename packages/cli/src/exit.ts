import { type RunCounts, successfulFiles } from "@drover/shared/outcome";

/** Exit codes of commands that carry files. */
export const EXIT = { ok: 0, some: 1, settings: 2, none: 3, interrupted: 130 } as const;

/**
 * The exit code for a run's counts. Unchanged files count as success; blocked, locked and cancelled ones do
 * not.
 *
 * @param deletionRefused why nothing was removed although deletion was requested, or "".
 */
export function exitCode(counts: RunCounts, cancelled = false, deletionRefused = ""): number {
  const good = successfulFiles(counts);
  if (good === counts.files) return cancelled || deletionRefused !== "" ? EXIT.some : EXIT.ok;
  return good === 0 ? EXIT.none : EXIT.some;
}

/** Exit codes of `drover fetch`. */
export const FETCH_EXIT = { ok: 0, missing: 42, usage: 64, failed: 70, open: 75, interrupted: 130 } as const;

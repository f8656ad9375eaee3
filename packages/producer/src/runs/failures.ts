import type { Engine } from "@drover/shared/engine";
import type { Run } from "@drover/shared/run";
import { type FailureFilter, failureMatcher } from "../enqueue/failure-filter.js";
import { type FailedFile, filesFailed } from "./run-files.js";

/** The failures of one run, in the order of its files. */
export interface RunFailures {
  run: Run;
  files: FailedFile[];
}

/**
 * What failed in all runs that are kept, the newest run first.
 *
 * @param filter `sinceMs` leaves out runs that ended before (Unix ms).
 */
export async function* failuresOfRuns(
  engine: Engine,
  filter: FailureFilter & { sinceMs?: number | undefined },
): AsyncGenerator<RunFailures> {
  for (const run of await engine.ledger.withFailures(filter.sinceMs ?? 0)) {
    const matches = failureMatcher(filter, run.spec);
    const files: FailedFile[] = [];
    for await (const page of filesFailed(engine, run)) files.push(...page.filter(matches));
    if (files.length > 0) yield { run, files: files.sort((one, other) => one.index - other.index) };
  }
}

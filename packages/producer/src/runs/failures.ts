import type { Engine } from "@drover/shared/engine";
import type { Run } from "@drover/shared/run";
import { type FailureFilter, failureMatcher, hostMatcher } from "../enqueue/failure-filter.js";
import { type FailedFile, filesFailed } from "./run-files.js";

/** The failures of one run. */
export interface RunFailures {
  run: Run;
  /** In pages, in the order of the run's files; some may be empty. */
  pages: AsyncGenerator<FailedFile[]>;
}

/** Where failures are read from on: the newest run is first, and in a run the lowest index. */
export interface FailurePlace {
  startedMs: number;
  run: string;
  index: number;
}

/**
 * The runs in which something may have failed, the newest first, and what did. Pages are read when they are asked for.
 *
 * @param filter `sinceMs` leaves out runs that ended before (Unix ms).
 * @param from Default: the beginning.
 */
export async function* failuresOfRuns(
  engine: Engine,
  filter: FailureFilter & { sinceMs?: number | undefined },
  from?: FailurePlace,
): AsyncGenerator<RunFailures> {
  for (const run of await engine.ledger.withFailures(filter.sinceMs ?? 0)) {
    if (from !== undefined && isBefore(run, from)) continue;
    yield { run, pages: matching(engine, run, filter, from?.run === run.id ? from.index : 0) };
  }
}

async function* matching(
  engine: Engine,
  run: Run,
  filter: FailureFilter,
  from: number,
): AsyncGenerator<FailedFile[]> {
  const matches = failureMatcher(filter, run.spec);
  const which = { from, errorClass: filter.class, isHost: hostMatcher(filter.host) };
  for await (const page of filesFailed(engine, run, which)) yield page.filter(matches);
}

function isBefore({ startedMs, id }: Run, place: FailurePlace): boolean {
  return startedMs !== place.startedMs ? startedMs > place.startedMs : id > place.run;
}

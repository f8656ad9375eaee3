import type { Engine } from "@drover/shared/engine";
import { OUTCOMES, type Outcome, type OutcomeName, type RunCounts } from "@drover/shared/outcome";
import { keptOutcomes } from "@drover/shared/protocol/outcome-stream";
import { type EndedFailure, failuresInOrder, type WhichFailures } from "@drover/shared/protocol/run-failures";
import type { Run } from "@drover/shared/run";
import { below } from "@drover/shared/storage/registry";

/** What a run did, as far as it is kept. */
export interface RunFiles {
  /** Files that were copied or deleted, the last one last. */
  done: Outcome[];
  /** Whether it did more than that: the first ones are not kept any more. */
  truncated: boolean;
}

/**
 * The files that a run copied or deleted, as far as they are kept: see `keepOutcomes` of the request. What it left
 * unchanged is only counted.
 *
 * @param wanted outcomes. Default: all.
 */
export async function filesDone(
  engine: Engine,
  run: Run,
  counts: RunCounts,
  wanted: readonly OutcomeName[] = OUTCOMES,
): Promise<RunFiles> {
  const most = run.spec.keepOutcomes?.most ?? 0;
  const found: Outcome[] = [];
  for await (const page of keptOutcomes(engine.redis, engine.keys, run.id)) {
    for (const each of page)
      if ((each.outcome === "copied" || each.outcome === "deleted") && wanted.includes(each.outcome))
        found.push(each);
    if (found.length >= most) break;
  }
  const all = (["copied", "deleted"] as const).filter((each) => wanted.includes(each));
  const done = found.slice(0, most).reverse();
  return { done, truncated: done.length < all.reduce((sum, each) => sum + counts[each], 0) };
}

/** A file that did not succeed, and how it ended. */
export interface FailedFile extends EndedFailure {
  /** Where it was to be: absolute path, or `s3://bucket/key`. */
  path: string;
}

/**
 * The files of a run that did not succeed, in pages and in the order of its files, in bounded memory.
 *
 * @param which as in {@link failuresInOrder}. Default: all.
 */
export async function* filesFailed(
  { redis, keys }: Engine,
  run: Run,
  which: WhichFailures = {},
): AsyncGenerator<FailedFile[]> {
  for await (const page of failuresInOrder(redis, keys, run.id, which))
    yield page.map((each) => ({ ...each, path: below(run.spec.root, each.job.d) }));
}

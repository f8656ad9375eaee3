import type { Engine } from "@drover/shared/engine";
import { isSuccess, OUTCOMES, type Outcome, type OutcomeName, type RunCounts } from "@drover/shared/outcome";
import type { Failure } from "@drover/shared/protocol/ledger";
import { keptOutcomes } from "@drover/shared/protocol/outcome-stream";
import { pipelined } from "@drover/shared/redis/script";
import type { Run } from "@drover/shared/run";
import { below } from "@drover/shared/storage/registry";

const FAILURES = OUTCOMES.filter((outcome) => !isSuccess(outcome));

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
export interface FailedFile extends Failure {
  outcome: OutcomeName;
  /** Where it was to be: absolute path, or `s3://bucket/key`. */
  path: string;
}

/**
 * The files of a run that did not succeed, all of them, in pages and in no order.
 *
 * @param wanted outcomes. Default: all.
 */
export async function* filesFailed(
  engine: Engine,
  run: Run,
  wanted: readonly OutcomeName[] = OUTCOMES,
): AsyncGenerator<FailedFile[]> {
  for await (const page of engine.ledger.failures(run.id)) {
    const outcomes = await outcomesOf(engine, run.id, page);
    yield page
      .map((each, at) => ({
        ...each,
        outcome: outcomes[at] as OutcomeName,
        path: below(run.spec.root, each.job.d),
      }))
      .filter(({ outcome }) => wanted.includes(outcome));
  }
}

async function outcomesOf({ redis, keys }: Engine, id: string, files: Failure[]): Promise<OutcomeName[]> {
  const bits = await pipelined(redis, () => {
    const pipeline = redis.pipeline();
    for (const { index } of files)
      for (const outcome of FAILURES) pipeline.getbit(keys.outcome(id, outcome), index);
    return pipeline;
  });
  return files.map(
    (_, at) => FAILURES.find((_outcome, nth) => bits[at * FAILURES.length + nth] === 1) ?? "failed",
  );
}

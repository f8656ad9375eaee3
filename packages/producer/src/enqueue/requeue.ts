import type { Engine } from "@drover/shared/engine";
import { type TransferJob, transferJobSchema } from "@drover/shared/job";
import type { Backlog } from "@drover/shared/protocol/backlog";
import { Flights } from "@drover/shared/protocol/flights";
import { type Failure, scanFailures } from "@drover/shared/protocol/run-failures";
import type { Run } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import { type FailureFilter, failureMatcher } from "./failure-filter.js";

const PAGE = 500;

/** Where runs are kept. */
type Stored = Pick<Engine, "redis" | "keys">;

/** Returns the files that a dead process had in its queue to the backlog. Settled files are left alone. */
export async function requeueLeft(run: Run, backlog: Backlog): Promise<void> {
  for (const [chunk, files] of await backlog.inFlight(run.id)) {
    const jobs = files.map(([index, job]) => ({ ...job, i: index }) as TransferJob);
    await requeue(jobs, run, backlog, chunk.slice(0, chunk.indexOf("|")), false);
    await backlog.forgetInFlight(run.id, chunk);
  }
}

/**
 * Requeues every failed file that can succeed: not a collision of two sources, nor one whose name is lost.
 *
 * @param filter which of them. Default: all.
 */
export async function requeueFailed(
  run: Run,
  engine: Stored,
  backlog: Backlog,
  filter: FailureFilter = {},
): Promise<void> {
  const all: TransferJob[] = [];
  for await (const job of retriable(run, engine, filter)) all.push({ ...job, g: (job.g ?? 0) + 1 });
  for (let from = 0; from < all.length; from += PAGE) {
    await requeue(all.slice(from, from + PAGE), run, backlog, `f${from}`, true);
  }
}

/** Whether any file of a run would be requeued. */
export async function hasRetriable(run: Run, engine: Stored, filter: FailureFilter): Promise<boolean> {
  for await (const _ of retriable(run, engine, filter)) return true;
  return false;
}

async function* retriable(run: Run, engine: Stored, filter: FailureFilter): AsyncGenerator<TransferJob> {
  const matches = failureMatcher(filter, run.spec);
  for await (const page of scanFailures(engine.redis, engine.keys, run.id)) {
    for (const failure of page) {
      if (isFinal(failure) || !matches(failure)) continue;
      const parsed = transferJobSchema.safeParse({ ...failure.job, i: failure.index });
      if (parsed.success) yield parsed.data;
    }
  }
}

/** Whether a file cannot succeed, however often it is tried. */
export function isFinal({ error }: { error: Pick<Failure["error"], "class"> }): boolean {
  return error.class === "collision" || error.class === "removed";
}

async function requeue(
  jobs: TransferJob[],
  run: Run,
  backlog: Backlog,
  page: string,
  clear: boolean,
): Promise<void> {
  const flights = new Flights(run.id, run.spec);
  const hosts = groupByHost(jobs, run);
  for (const [host, files] of hosts) {
    await backlog.requeue(
      run.id,
      `${run.batch}.${run.generation}.${page}|${host}`,
      files.map((job) => {
        const { i: index, ...rest } = job;
        return { index, flight: flights.own(job), job: JSON.stringify(rest) };
      }),
      clear ? ["failed", "blocked", "locked", "cancelled"] : [],
      flights.shared,
    );
  }
}

function groupByHost(jobs: TransferJob[], run: Run): Map<string, TransferJob[]> {
  const hosts = new Map<string, TransferJob[]>();
  for (const job of jobs) {
    const host = hostOf(job.s, run.spec);
    const files = hosts.get(host);
    if (files) files.push(job);
    else hosts.set(host, [job]);
  }
  return hosts;
}

import { NO_HOST } from "@drover/producer/enqueue/failure-filter";
import { isFinal } from "@drover/producer/enqueue/requeue";
import type { RunSummary } from "@drover/producer/runs/summary";
import type { Engine } from "@drover/shared/engine";
import type { RunCounts } from "@drover/shared/outcome";
import { countedFailures, scanFailures } from "@drover/shared/protocol/run-failures";
import { hostOf } from "@drover/shared/storage/registry";

/** Failures that are counted for one answer, of those that were not counted when they were recorded. */
const MOST_COUNTED = 200_000;
/** What `truncated` means in answers. */
export const TRUNCATED = `Whether there is more than these counts have: of what earlier versions of Drover recorded, and did not count, the newest ${MOST_COUNTED} failures are counted.`;
/** Runs whose groups are remembered. */
const MOST_RUNS = 1_000;
/** Counting may take this part of the time at most. */
const SHARE = 0.1;

/** Failures of one class from one host. */
export interface FailureGroup {
  class: string;
  host: string;
  files: number;
  /** How many of them can be tried again: not those that cannot succeed, nor those of a run that a command line carries. */
  retriable: number;
}

export interface CountedFailures {
  groups: FailureGroup[];
  /** Whether there is more than was counted. */
  truncated: boolean;
  /** Failures that were read to count them. */
  read: number;
}

interface Kept {
  /** Changes with what failed. */
  stand: string;
  /** Not counted again before then (Unix ms). */
  untilMs: number;
  counted: Promise<CountedFailures>;
}

/** Tells how much failed in runs, and remembers it for as long as nothing else has failed. */
export class FailureCounts {
  readonly #kept = new Map<string, Kept>();

  constructor(private readonly engine: Pick<Engine, "redis" | "keys" | "ledger">) {}

  /** The failures of one run. While many fail, the answer may be some seconds old. */
  async ofRun(summary: RunSummary): Promise<CountedFailures> {
    const { run, counts } = summary;
    if (failuresIn(summary) === 0) return { groups: [], truncated: false, read: 0 };
    const { failed, blocked, locked, cancelled } = counts;
    const stand = [run.generation, failed, blocked, locked, cancelled].join();
    const known = this.#kept.get(run.id);
    if (known !== undefined && (known.stand === stand || known.untilMs > Date.now()))
      return await known.counted;
    const begunMs = Date.now();
    const kept: Kept = { stand, untilMs: Number.POSITIVE_INFINITY, counted: this.#count(summary) };
    this.#kept.delete(run.id); // the one that was counted longest ago comes first
    this.#kept.set(run.id, kept);
    if (this.#kept.size > MOST_RUNS) this.#kept.delete(this.#kept.keys().next().value as string);
    try {
      return await kept.counted;
    } catch (error) {
      this.#kept.delete(run.id);
      throw error;
    } finally {
      kept.untilMs = Date.now() + (Date.now() - begunMs) / SHARE;
    }
  }

  /** The failures of all runs that have not ended, or ended since then (Unix ms), the newest run first. */
  async since(sinceMs: number): Promise<CountedFailures & { runs: number }> {
    const { ledger } = this.engine;
    const runs = await ledger.withFailures(sinceMs);
    const counts = await ledger.countsOf(runs.map(({ id }) => id));
    const groups = new Map<string, FailureGroup>();
    let [read, failing, truncated] = [0, 0, false];
    for (const [at, run] of runs.entries()) {
      const summary = { run, counts: counts[at] as RunCounts };
      if (failuresIn(summary) === 0) continue;
      if (read >= MOST_COUNTED) return { groups: [...groups.values()], truncated: true, read, runs: failing };
      const counted = await this.ofRun(summary);
      for (const each of counted.groups) add(groups, each);
      read += counted.read;
      failing++;
      truncated ||= counted.truncated;
    }
    return { groups: [...groups.values()], truncated, read, runs: failing };
  }

  async #count({ run }: RunSummary): Promise<CountedFailures> {
    const { redis, keys } = this.engine;
    const groups = new Map<string, FailureGroup>();
    const addFiles = (errorClass: string, host: string, files: number) => {
      const isRetriable = run.spec.fleet && !isFinal({ error: { class: errorClass } });
      add(groups, { class: errorClass, host: host || NO_HOST, files, retriable: isRetriable ? files : 0 });
    };
    const counts = await countedFailures(redis, keys, run.id);
    for (const each of counts ?? []) addFiles(each.class, each.host, each.files);
    if (counts !== undefined) return { groups: [...groups.values()], truncated: false, read: 0 };
    let read = 0;
    for await (const page of scanFailures(redis, keys, run.id))
      for (const { job, error } of page) {
        if (read === MOST_COUNTED) return { groups: [...groups.values()], truncated: true, read };
        addFiles(error.class, hostOf(job.s, run.spec), 1);
        read++;
      }
    return { groups: [...groups.values()], truncated: false, read };
  }
}

/** Files of a run that failed, as its counts have it. */
export function failuresIn({ counts }: RunSummary): number {
  return counts.failed + counts.blocked + counts.locked + counts.cancelled;
}

/** Adds a group to those of its class and host. */
function add(groups: Map<string, FailureGroup>, more: FailureGroup): void {
  const key = `${more.class} ${more.host}`;
  const known = groups.get(key);
  if (known === undefined) groups.set(key, { ...more });
  else {
    known.files += more.files;
    known.retriable += more.retriable;
  }
}

import type { Engine } from "@drover/shared/engine";
import type { Run, RunSpec } from "@drover/shared/run";
import { destinationHost, storageOf } from "@drover/shared/storage/registry";

/** Runs that are looked through, the newest; and how many of them count, at most. */
const MOST_LOOKED_AT = 500;
const MOST_RUNS = 10;

/** How fast earlier runs were: medians. */
export interface Rates {
  /** How many runs they are of. */
  runs: number;
  /** Whether those went to the same destination; else they had a host in common. */
  of: "destination" | "hosts";
  filesPerSecond: number;
  /** Undefined where none of them copied a byte. */
  bytesPerSecond: number | undefined;
}

/**
 * How fast the latest runs were that ended by themselves and copied something: those to the same destination, or else
 * those that share a host.
 *
 * @returns undefined where there is none.
 */
export async function earlierRates({ ledger }: Engine, spec: RunSpec): Promise<Rates | undefined> {
  const runs = (await ledger.list(MOST_LOOKED_AT)).filter(
    ({ state, spec, endedMs = 0, startedMs }) => state === "done" && !spec.pair && endedMs > startedMs,
  );
  const hosts = hostsOf(spec);
  return (
    (await ratesOf(
      { ledger },
      runs.filter((run) => run.spec.root === spec.root),
      "destination",
    )) ??
    (await ratesOf(
      { ledger },
      runs.filter((run) => [...hostsOf(run.spec)].some((host) => hosts.has(host))),
      "hosts",
    ))
  );
}

async function ratesOf(
  { ledger }: Pick<Engine, "ledger">,
  runs: Run[],
  of: Rates["of"],
): Promise<Rates | undefined> {
  const counts = await ledger.countsOf(runs.map(({ id }) => id));
  const copying = runs
    .map((run, at) => ({ run, copied: counts[at]?.copied ?? 0 }))
    .filter(({ copied }) => copied > 0)
    .slice(0, MOST_RUNS)
    .map(({ run, copied }) => ({
      copied,
      bytes: run.copiedBytes,
      seconds: ((run.endedMs as number) - run.startedMs) / 1000,
    }));
  if (copying.length === 0) return undefined;
  const bytes = copying.filter((each) => each.bytes > 0).map((each) => each.bytes / each.seconds);
  return {
    runs: copying.length,
    of,
    filesPerSecond: median(copying.map(({ copied, seconds }) => copied / seconds)),
    bytesPerSecond: bytes.length === 0 ? undefined : median(bytes),
  };
}

function median(values: number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

/** Hosts that a run reads from and writes to; none for the local machine. */
function hostsOf(spec: RunSpec): Set<string> {
  const hosts = spec.sources.map((source) => storageOf(source).hostOf(source, spec));
  return new Set([...hosts, destinationHost(spec)].filter((host) => host !== ""));
}

import type { Engine } from "@drover/shared/engine";
import type { RunCounts } from "@drover/shared/outcome";
import type { Run } from "@drover/shared/run";

/** A run with its counts. */
export interface RunSummary {
  run: Run;
  counts: RunCounts;
}

/**
 * The newest runs that are kept, newest first.
 *
 * @param most default: all.
 * @param label of the runs. Default: any.
 */
export async function listRuns({ ledger }: Engine, most?: number, label?: string): Promise<RunSummary[]> {
  const runs =
    label === undefined
      ? await ledger.list(most)
      : (await ledger.list()).filter(({ spec }) => spec.label === label).slice(0, most);
  const counts = await ledger.countsOf(runs.map(({ id }) => id));
  return runs.map((run, at) => ({ run, counts: counts[at] as RunCounts }));
}

/**
 * One page of the runs that are kept, newest first.
 *
 * @param page.place start (ms) and id of the run before its first one; undefined for the newest.
 * @param page.most runs.
 * @param page.wanted whether a run is to be among them. Default: all are.
 * @returns at most one run more than that, which tells that there is another page.
 */
export async function runPage(
  { ledger }: Engine,
  page: { place?: Pick<Run, "id" | "startedMs"> | undefined; most: number; wanted?: (run: Run) => boolean },
): Promise<RunSummary[]> {
  const { place, most, wanted = () => true } = page;
  const runs: Run[] = [];
  for await (const some of ledger.listFrom(place)) {
    runs.push(...some.filter(wanted));
    if (runs.length > most) break;
  }
  const shown = runs.slice(0, most + 1);
  const counts = await ledger.countsOf(shown.map(({ id }) => id));
  return shown.map((run, at) => ({ run, counts: counts[at] as RunCounts }));
}

/** The counts of one run, now or after it ended. @throws SettingsError if there is no such run. */
export async function summaryOf({ ledger }: Engine, id: string): Promise<RunSummary> {
  return { run: await ledger.get(id), counts: await ledger.counts(id) };
}

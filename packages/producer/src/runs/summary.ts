import type { Engine } from "@drover/shared/engine";
import type { Run, RunCounts } from "@drover/shared/run";

/** How a run stands: what it is, and how many of its files ended how. */
export interface RunSummary {
  run: Run;
  counts: RunCounts;
}

/** The latest runs that are kept, at most 200, newest first. */
export async function listRuns({ ledger }: Engine): Promise<RunSummary[]> {
  const summaries: RunSummary[] = [];
  for (const run of await ledger.list()) summaries.push({ run, counts: await ledger.counts(run.id) });
  return summaries;
}

/**
 * How one run stands, now or after it ended.
 *
 * @throws SettingsError where there is no such run.
 */
export async function summaryOf({ ledger }: Engine, id: string): Promise<RunSummary> {
  return { run: await ledger.get(id), counts: await ledger.counts(id) };
}

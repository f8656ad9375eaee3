import type { Engine } from "@drover/shared/engine";
import type { RunCounts } from "@drover/shared/outcome";
import type { Run } from "@drover/shared/run";

/** A run with its counts. */
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

/** The counts of one run, now or after it ended. @throws SettingsError if there is no such run. */
export async function summaryOf({ ledger }: Engine, id: string): Promise<RunSummary> {
  return { run: await ledger.get(id), counts: await ledger.counts(id) };
}

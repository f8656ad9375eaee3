import type { Engine } from "@drover/shared/engine";
import type { Run, RunCounts } from "@drover/shared/run";

/** A run with its counts. */
export interface RunSummary {
  run: Run;
  counts: RunCounts;
}

/** The latest runs, newest first. */
export async function listRuns({ ledger }: Engine): Promise<RunSummary[]> {
  const summaries: RunSummary[] = [];
  for (const run of await ledger.list()) summaries.push({ run, counts: await ledger.counts(run.id) });
  return summaries;
}

/** @throws SettingsError if there is no such run. */
export async function summaryOf({ ledger }: Engine, id: string): Promise<RunSummary> {
  return { run: await ledger.get(id), counts: await ledger.counts(id) };
}

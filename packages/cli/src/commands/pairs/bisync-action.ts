import { rollback } from "@drover/producer/pair/rollback";
import { syncPair } from "@drover/producer/pair/sync-pair";
import { planRun } from "@drover/producer/runs/plan/plan";
import { openEngine } from "@drover/shared/engine";
import { successfulFiles } from "@drover/shared/outcome";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { PairReport } from "../../display/pair-report.js";
import { EXIT } from "../../exit.js";
import { warn } from "../../output.js";
import { type PairFlags, pairRequestOf, pairRunRequestOf } from "../../settings/pair-request.js";
import type { Resolved } from "../../settings/settings.js";
import { parseDuration } from "../../settings/units.js";
import { displayOf } from "../options.js";
import { showStoppable } from "./show-stoppable.js";

/** Syncs a pair and shows it. @returns the exit code. */
export async function bisync(
  local: string,
  remote: string,
  flags: PairFlags,
  resolved: Resolved,
): Promise<number> {
  const { format } = displayOf(flags);
  const request = pairRequestOf(flags, resolved);
  const planned = await planRun(pairRunRequestOf(local, remote, flags, resolved));
  const { redis, "state-dir": stateDir } = resolved.values as { redis?: string; "state-dir": string };
  const engine = await openEngine({ redis, stateDir });
  const report = new PairReport(format);
  const { "keep-runs": keepRuns } = resolved.values;
  const options = {
    ...{ startPool: startLocalPool, stateDir, keepRuns },
    ...(flags.keepBackups === undefined
      ? {}
      : { keepBackupsMs: parseDuration("--keep-backups", flags.keepBackups) }),
  };
  const dryRun = flags.dryRun ?? false;
  const sync = (signal: AbortSignal) =>
    syncPair(engine, planned, request, { ...options, events: report, signal, dryRun });
  return await showStoppable(engine, report, sync, async (done, signal) => {
    const { run, counts, pair } = done;
    const code = await report.end(done);
    const isToGo =
      flags.rollbackOnError && run !== undefined && counts && successfulFiles(counts) < counts.files;
    if (!isToGo) return code;
    warn(`a file failed: run ${run} is taken back`);
    const back = new PairReport(format === "json" ? "human" : format);
    const how = { ...options, events: back, signal, dryRun: false, wouldDo: () => {} };
    await back.endSteps(pair, await rollback(engine, planned, request, run, how));
    return EXIT.some;
  });
}

import type { FleetRun } from "@drover/producer/runs/carry/fleet-run";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import type { Engine } from "@drover/shared/engine";
import { EXIT } from "../../exit.js";
import { detail, reportError, warn } from "../../output.js";
import { OptionError } from "../../settings/option-error.js";
import { ownOptions } from "../../settings/own-options.js";
import { requestOf } from "../../settings/run-request.js";
import type { Resolved } from "../../settings/settings.js";
import { displayOf } from "../options.js";
import type { RunFlags } from "./run-options.js";

/** What a command does besides carrying a run. */
export interface RunSteps {
  /** Whether the destination is the name of the file where one file is the only source. Default false. */
  rootMayBeFile?: boolean;
  /** Called with each local source before anything is planned, to undo what a killed command has left. */
  recover?(path: string, warn: (message: string) => void): void;
  /** Called with the planned run before anything changes. @throws SettingsError */
  check?(planned: PlannedRun): Promise<void>;
  /** Called when the run has ended. @returns the exit code of the command. */
  after?(engine: Engine, planned: PlannedRun, code: number): Promise<number>;
}

/**
 * Checks all settings before anything changes, then carries the run or submits it to the fleet, and shows it.
 *
 * @returns the exit code.
 */
export async function makeRun(
  sources: string[],
  flags: RunFlags,
  resolved: Resolved,
  { rootMayBeFile = false, recover, check, after }: RunSteps = {},
): Promise<number> {
  const { redis, "state-dir": stateDir } = resolved.values as { redis?: string; "state-dir": string };
  const { "keep-runs": keepRuns } = resolved.values;
  const { format, statsMs } = displayOf(flags);
  if (flags.delete && flags.detach)
    throw new OptionError(
      "--delete needs the command to stay until everything has arrived: leave --detach out",
    );
  if (recover) await recoverAll(sources, recover);
  const planned = await planOf(sources, flags, resolved, {
    rootMayBeFile,
    needsPrices: flags.maxCost !== undefined,
  });
  await check?.(planned);
  if (flags.dryRun) {
    const { showDryRun } = await import("../../display/show-dry-run.js");
    return await showDryRun(planned, format, { redis, stateDir });
  }
  const fleets = flags.detach ? "--detach" : flags.hostLimit ? "--host-limit" : undefined;
  if (fleets && redis === undefined)
    throw new OptionError(`${fleets} needs a fleet: name its Redis with --redis`);
  const { parseHostLimit } = await import("@drover/shared/protocol/host-limits");
  const hostLimits = (flags.hostLimit ?? []).map(parseHostLimit);
  const { prepareDestination } = await import("@drover/producer/runs/plan/destination");
  await prepareDestination(planned);
  // Redis starts while the remaining modules are loaded.
  const { openEngine } = await import("@drover/shared/engine");
  const opening = openEngine({ redis, stateDir });
  opening.catch(() => {}); // awaited below
  const { submit, submitDetached } = await import("@drover/producer/runs/carry/submit");
  const { startLocalPool } = await import("@drover/worker/runtime/local-worker-pool");
  const { isLive, showRun } = await import("../../display/show-run.js");
  const engine = await opening;
  try {
    if (flags.detach) {
      const handle = await submitDetached(engine, planned, { stateDir, keepRuns, hostLimits, warn });
      return await leave(handle);
    }
    const options = { startPool: startLocalPool, stateDir, keepRuns, hostLimits, live: isLive(format), warn };
    const handle = await submit(engine, planned, options);
    if (!planned.spec.fleet) detail(`run ${handle.run.id}`); // of a fleet's run the display says it
    const title = titleOf(planned);
    const code = await showRun(engine, handle, { format, statsMs, title, own: ownOptions(resolved) });
    return after ? await after(engine, planned, code) : code;
  } finally {
    engine.close();
  }
}

/**
 * Understands and checks what a command line asks for, and warns of what it may not mean.
 *
 * @param how.rootMayBeFile see {@link makeRun}.
 * @param how.needsPrices whether the price table of the settings is read.
 * @throws SettingsError for what cannot be.
 */
export async function planOf(
  sources: string[],
  flags: RunFlags,
  resolved: Resolved,
  { rootMayBeFile, needsPrices }: { rootMayBeFile: boolean; needsPrices: boolean },
): Promise<PlannedRun> {
  const request = requestOf(sources, flags, resolved);
  request.destination.rootMayBeFile = rootMayBeFile;
  const { prices } = resolved.values;
  if (needsPrices && prices !== undefined) {
    const { readPriceTable } = await import("@drover/producer/prices/read-price-table");
    request.terms = { ...request.terms, prices: readPriceTable(prices) };
  }
  const { planRun } = await import("@drover/producer/runs/plan/plan");
  const planned = await planRun(request);
  const { directoriesMeant } = await import("@drover/producer/expand/directories-meant");
  for (const line of directoriesMeant(planned.spec)) warn(line);
  const { checkBackup } = await import("@drover/producer/runs/plan/destination");
  await checkBackup(planned);
  return planned;
}

async function recoverAll(sources: string[], recover: NonNullable<RunSteps["recover"]>): Promise<void> {
  const { parseLocation, storageOf } = await import("@drover/shared/storage/registry");
  const local = sources.filter((source) => storageOf(source).schemes[0] === "file");
  for (const source of local) recover(parseLocation(source, { directory: process.cwd() }).text, warn);
}

/** Submits a run to its fleet and prints its id. */
async function leave(handle: FleetRun): Promise<number> {
  const { SILENT } = await import("@drover/producer/runs/carry/run-handle");
  const { ListingError } = await import("@drover/shared/storage/listing-error");
  const { id } = handle.run;
  try {
    const batches = await handle.submitAll({ ...SILENT, warn });
    process.stdout.write(`${id}\n`);
    await handle.untilDurable(batches);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof ListingError)) throw error;
    process.stdout.write(`${id}\n`);
    const remedy = error.remedy ?? `drover resume ${id} lists on`;
    reportError(`${error.message}; not everything was found: ${remedy}`);
    return EXIT.some;
  }
}

function titleOf({ spec, secrets }: PlannedRun): string {
  const count = secrets.sources.length;
  const many = count === 1 ? "1 source" : `${count} sources`;
  const hasList = spec.list !== undefined || spec.listIsStdin;
  const what = !hasList ? many : count > 0 ? `${many} and a list` : "a list";
  return `Syncing ${what}...`;
}

import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { isBelow } from "@drover/shared/paths";
import { type HostLimit, setHostLimits } from "@drover/shared/protocol/host-limits";
import { type CreatedAlong, recordRun } from "@drover/shared/protocol/record-run";
import { pruneRuns } from "@drover/shared/protocol/run-retention";
import { aliveWorkers } from "@drover/shared/protocol/worker-registry";
import { redactText } from "@drover/shared/redact";
import { type Run, type RunSpec, rootsWritten } from "@drover/shared/run";
import { trace } from "@drover/shared/tracing";
import type { PlannedRun } from "../plan/plan.js";
import type { GivenFiles } from "./expand-run.js";
import { FleetRun } from "./fleet-run.js";
import { openRun } from "./open-run.js";
import { keepPipe } from "./piped-list.js";
import type { RunHandle } from "./run-handle.js";
import { openStoredList } from "./run-list.js";
import type { StartWorkerPool } from "./worker-pool.js";

export interface SubmitOptions {
  /** Starts the workers if this process carries the run: `startLocalPool` of the worker package. */
  startPool: StartWorkerPool;
  /** Absolute path of the state directory, where a piped list is kept. */
  stateDir: string;
  /** Runs of each kind that went well and are kept; the oldest beyond them are forgotten. Default 20,000. */
  keepRuns?: number;
  /** Host limits to set for the whole fleet. Default none. */
  hostLimits?: { hosts: string[]; limit: HostLimit }[];
  /** Whether to report the progress of each file. Default false. */
  live?: boolean;
  /** What is recorded in the same step as the run. Default nothing. */
  along?: CreatedAlong;
  /** Id of the run, where something was named after it already. Default: a new one. */
  runId?: string;
  /** Its files, where they were found already. Default: its sources are expanded. */
  given?: GivenFiles;
  /** Called with messages for people, such as that a fleet has no worker. */
  warn(message: string): void;
}

/**
 * Creates a run from a plan. {@link RunHandle.follow} then finds its files and carries or follows them.
 *
 * @throws SettingsError if no worker of the fleet writes to the destination; UnavailableError if a piped list
 *   cannot be kept.
 */
export async function submit(
  engine: Engine,
  planned: PlannedRun,
  options: SubmitOptions,
): Promise<RunHandle> {
  const { run, stdin } = await createRun(engine, planned, options);
  const { startPool, live = false, given } = options;
  return openRun(engine, run, { secrets: planned.secrets, stdin, given, startPool, live });
}

/**
 * As {@link submit}, for a run that is left to its fleet: see {@link FleetRun.submitAll}.
 *
 * @throws SettingsError if the run is not for a fleet, and as submit.
 */
export async function submitDetached(
  engine: Engine,
  planned: PlannedRun,
  options: Omit<SubmitOptions, "startPool" | "live">,
): Promise<FleetRun> {
  if (!planned.spec.fleet) throw new SettingsError("only a fleet carries a run that nobody stays with");
  const { run, stdin } = await createRun(engine, planned, options);
  return new FleetRun(engine, run, { secrets: planned.secrets, stdin });
}

async function createRun(
  engine: Engine,
  planned: PlannedRun,
  options: Omit<SubmitOptions, "startPool" | "live">,
): Promise<{ run: Run; stdin: NodeJS.ReadableStream | undefined }> {
  const { ledger } = engine;
  let { spec } = planned;
  const submitting = trace("submit run", spec.traceparent);
  if (spec.fleet) {
    await lookForWorkers(engine, spec, options.warn);
    await setHostLimits(engine.redis, engine.keys, options.hostLimits ?? []);
  }
  await pruneRuns(engine, { keepRuns: options.keepRuns });
  let stdin: NodeJS.ReadableStream | undefined;
  if (planned.pipe !== undefined) {
    const kept = keepPipe(planned.pipe, options.stateDir);
    spec = { ...spec, list: kept.path };
    stdin = kept.stream;
  }
  const traceparent = submitting.end(() => ({ "drover.destination": redactText(spec.root) }));
  if (traceparent !== undefined) spec = { ...spec, traceparent };
  const run = await ledger.get(await recordRun(ledger, spec, planned.secrets, options.runId, options.along));
  if (planned.secrets.list !== undefined) stdin = openStoredList(run, planned.secrets.list);
  return { run, stdin };
}

/**
 * Warns if the fleet has no workers. @throws SettingsError if it has workers but none that writes to the
 * run's roots.
 */
export async function lookForWorkers(
  engine: Engine,
  spec: RunSpec,
  warn: (message: string) => void,
): Promise<void> {
  const workers = await aliveWorkers(engine.redis, engine.keys);
  if (workers.length === 0) {
    warn("no worker of this fleet is alive: the files wait until one is started (drover worker)");
    return;
  }
  let serving = workers;
  for (const root of rootsWritten(spec)) {
    serving = serving.filter(({ roots }) => roots.some((each) => isBelow(root, each)));
    if (serving.length > 0) continue;
    const roots = [...new Set(workers.flatMap((worker) => worker.roots))].join(", ");
    const [flag, where] =
      root === spec.root ? ["an --artifact-root", root] : ["a --backup-dir", `${spec.root} and to ${root}`];
    throw new SettingsError(`no worker writes to ${where}: choose ${flag} below ${roots}`);
  }
}

import type { Engine } from "@drover/shared/engine";
import type { Run } from "@drover/shared/run";
import { FleetRun, type FleetRunOptions } from "./fleet-run.js";
import { LocalRun, type LocalRunOptions } from "./local-run.js";
import type { RunHandle } from "./run-handle.js";

/** Makes the handle of a run. Nothing else depends on who carries the run's files. */
export function openRun(engine: Engine, run: Run, options: LocalRunOptions & FleetRunOptions): RunHandle {
  return run.spec.fleet ? new FleetRun(engine, run, options) : new LocalRun(engine, run, options);
}

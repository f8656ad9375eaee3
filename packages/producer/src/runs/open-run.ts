import type { Engine } from "@drover/shared/engine";
import type { Run } from "@drover/shared/run";
import { FleetRun, type FleetRunOptions } from "./fleet-run.js";
import { LocalRun, type LocalRunOptions } from "./local-run.js";
import type { RunHandle } from "./run-handle.js";

/** The handle of a run, by who carries its files: the one place that asks. */
export function openRun(engine: Engine, run: Run, options: LocalRunOptions & FleetRunOptions): RunHandle {
  return run.spec.fleet ? new FleetRun(engine, run, options) : new LocalRun(engine, run, options);
}

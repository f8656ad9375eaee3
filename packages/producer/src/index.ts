/** API for Node programs that submit and follow runs: see docs/library.md. */
export { type Engine, type EngineOptions, openEngine } from "@drover/shared/engine";
export { Leader } from "./dispatch/leader.js";
export { cancelRun } from "./runs/cancel.js";
export { prepareDestination } from "./runs/destination.js";
export { dryRun } from "./runs/dry-run.js";
export { type PlannedRun, planRun } from "./runs/plan.js";
export type { RunRequest, RunRequestInput } from "./runs/request.js";
export { followRun, resumeRun } from "./runs/resume.js";
export { type RunEnd, type RunEvents, type RunHandle, type RunResult, SILENT } from "./runs/run-handle.js";
export { submit, submitDetached } from "./runs/submit.js";
export { listRuns, type RunSummary, summaryOf } from "./runs/summary.js";

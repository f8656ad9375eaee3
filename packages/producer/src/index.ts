/** API for Node programs that submit and follow runs: see docs/library.md. */
export { type Engine, type EngineOptions, openEngine } from "@drover/shared/engine";
export { SettingsError, UnavailableError } from "@drover/shared/errors";
export type { Outcome, RunCounts } from "@drover/shared/outcome";
export { ForgottenError, RunLostError } from "@drover/shared/protocol/backlog";
export { parseHostLimit } from "@drover/shared/protocol/host-limits";
export type { Run } from "@drover/shared/run";
export { ListingError } from "@drover/shared/storage/listing-error";
export {
  type CheckedPath,
  type CheckResult,
  check,
  isEqual,
  type PathState,
} from "./check/check.js";
export { checkCatalog } from "./check/check-catalog.js";
export {
  type CheckRequest,
  type CheckTerms,
  type Comparing,
  type DestinationRequest,
  type PlannedCheck,
  type PlannedDestination,
  planCheck,
  planDestinationCheck,
} from "./check/plan-check.js";
export { type LeaderOptions, startLeader } from "./dispatch/leader.js";
export { PairGuardError } from "./pair/guards.js";
export type { ReceiptFile, ReceiptHead } from "./receipt/receipt-format.js";
export { parsePublicKey, receiptKey, type SigningKey, type VerifyingKey } from "./receipt/receipt-key.js";
export { ReceiptError, type VerifiedReceipt, verifyReceipt } from "./receipt/verify-receipt.js";
export { type Receipt, writeReceipt } from "./receipt/write-receipt.js";
export { type Cancelled, cancelRun } from "./runs/cancel.js";
export { followRun, type Resumed, type ResumeOptions, resumeRun } from "./runs/carry/resume.js";
export {
  type RunEnd,
  type RunEvents,
  type RunHandle,
  type RunResult,
  SILENT,
} from "./runs/carry/run-handle.js";
export { type SubmitOptions, submit, submitDetached } from "./runs/carry/submit.js";
export { type DryRunOptions, type DryRunResult, dryRun, type PlannedFile } from "./runs/foresee/dry-run.js";
export { checkBackup, prepareDestination } from "./runs/plan/destination.js";
export { type PlannedRun, planRun } from "./runs/plan/plan.js";
export type { RunRequest, RunRequestInput } from "./runs/plan/request.js";
export { planServices } from "./runs/plan/services.js";
export { listRuns, type RunSummary, summaryOf } from "./runs/summary.js";
export {
  CacheSyncResult,
  ManualResolutionRequired,
  SettingsSyncResult,
  type SyncConflict,
  type SyncIssue,
  SyncResult,
  TemplateSyncResult,
} from "./sync-action/results.js";
export { ConflictStrategy, SyncDirection, type SyncStrategy } from "./sync-action/strategy.js";

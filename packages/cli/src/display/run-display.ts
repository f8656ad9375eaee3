import type { RunEvents } from "@drover/producer/runs/run-handle";
import type { TransferJob } from "@drover/shared/job";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import { detail, warn } from "../output.js";
import type { Progress } from "./progress.js";
import type { Report } from "./report.js";

/** Shows a run: one line per settled file and, on a terminal, the files in progress. */
export class RunDisplay implements RunEvents {
  constructor(
    private readonly report: Report,
    private readonly progress: Progress | undefined,
  ) {}

  queued(files: number): void {
    this.progress?.queued(files);
  }

  sealed(): void {
    this.progress?.sealed();
  }

  started(job: TransferJob, attempt: number): void {
    this.progress?.started(job, attempt);
  }

  receiving(index: number, transfer: { receivedBytes: number; sizeBytes: number | undefined }): void {
    this.progress?.receiving(index, transfer);
  }

  waiting(job: TransferJob): void {
    this.progress?.waiting(job);
  }

  retrying(job: TransferJob, attempt: number, error: BriefError, delayMs: number): void {
    detail(`${job.d}: ${error.message}; try ${attempt + 1} in ${(delayMs / 1000).toFixed(1)} s`);
  }

  settled(outcome: Outcome): void {
    this.progress?.settled(outcome);
    this.report.outcome(outcome);
  }

  readonly warn = warn;
}

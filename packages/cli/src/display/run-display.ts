import type { RunEvents } from "@drover/producer/runs/carry/run-handle";
import type { TransferJob } from "@drover/shared/job";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import { commandLog } from "../log/log.js";
import { logOutcome } from "../log/log-outcome.js";
import { detail, warn } from "../output.js";
import type { Meter } from "./meter.js";
import type { Report } from "./report.js";

/** Shows a run: one line per settled file, and what the meter is read for; and logs it. */
export class RunDisplay implements RunEvents {
  constructor(
    private readonly report: Report,
    private readonly meter: Meter,
    private readonly runId: string,
  ) {}

  queued(files: number): void {
    this.meter.queued(files);
  }

  endedBefore(files: number): void {
    this.meter.endedBefore(files);
  }

  sealed(): void {
    this.meter.sealed();
  }

  started(job: TransferJob, attempt: number): void {
    this.meter.started(job, attempt);
    commandLog()?.debug({ run: this.runId, source: job.s, attempt }, "started");
  }

  receiving(index: number, transfer: { receivedBytes: number; sizeBytes: number | undefined }): void {
    this.meter.receiving(index, transfer);
  }

  waiting(job: TransferJob): void {
    this.meter.waiting(job);
  }

  retrying(job: TransferJob, attempt: number, error: BriefError, delayMs: number): void {
    detail(`${job.d}: ${error.message}; try ${attempt + 1} in ${(delayMs / 1000).toFixed(1)} s`);
    commandLog()?.info(
      {
        run: this.runId,
        source: job.s,
        attempt,
        class: error.class,
        error: error.message,
        delay_ms: delayMs,
      },
      "will be tried again",
    );
  }

  settled(outcome: Outcome): void {
    this.meter.settled(outcome);
    this.report.outcome(outcome);
    logOutcome(outcome, { run: this.runId });
  }

  readonly warn = warn;
}

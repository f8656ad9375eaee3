import type { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { Admission, BreakerRules } from "@drover/shared/protocol/admission";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { S3Spec } from "@drover/shared/storage/s3/spec";
import type { Source } from "@drover/shared/storage/source";
import type { Tree } from "@drover/shared/storage/tree";
import type { RateLimiter } from "../bytes/rate-limiter.js";
import type { StallWatchdog } from "../bytes/stall-watchdog.js";
import type { Destination } from "../destinations/destination.js";
import type { Leases } from "./leases.js";
import type { ResumeRecord } from "./resume-record.js";

/** What a run asks of every transfer. */
export interface Terms {
  /** Tries in all. */
  retries: number;
  /** Delay before try n+1: `backoffBaseMs` × `backoffFactor`^(n−1). */
  backoffFactor: number;
  /** `full`: anything from 0 to the delay. `near`: within a quarter of it. */
  jitter: "full" | "near";
  timeoutMs: number;
  rules: BreakerRules;
  /** How long an open breaker is waited for, in milliseconds. */
  breakerWaitMs: number;
  /** Open the breaker when a file's tries are spent, whatever its threshold. */
  openWhenSpent: boolean;
  /** What to do while somebody else carries the same destination. */
  whenBusy: "wait" | "skip-same-source";
  maxFileSizeBytes: number | undefined;
  /** Go on where an earlier try stopped. */
  resume: boolean;
  /** fsync file and directory before a file counts as copied. */
  durable: boolean;
}

/** Everything that a file needs on its way: made once per process. */
export interface RunContext {
  runId: string;
  /** Other runs may wait for the same files. */
  fleet: boolean;
  admission: Admission;
  leases: Leases;
  watchdog: StallWatchdog;
  limiter: RateLimiter;
  tree: Tree;
  destination: Destination;
  /** The run's. */
  root: string;
  /** How s3:// sources are reached, and the destination where that is another service. */
  s3?: S3Spec | undefined;
  s3Destination?: S3Spec | undefined;
  terms: Terms;
  breakers: HostBreakers;
  flight(job: TransferJob, lease: string): string;
  /** Why no file of this run may be carried here; undefined where they may. */
  refused?: TransferError;
  /** Told where the bytes of a file are counted as they come, for show. */
  receiving?(job: TransferJob, record: ResumeRecord): void;
  /** @throws TransferError class `credentials` when the run's secrets have expired. */
  source(job: TransferJob): Promise<Source> | Source;
}

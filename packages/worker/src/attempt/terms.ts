import type { BreakerRules } from "@drover/shared/protocol/admission";

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

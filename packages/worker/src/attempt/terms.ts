import type { Leave } from "@drover/shared/leave";
import type { BreakerRules } from "@drover/shared/protocol/admission";

/** A run's terms for every transfer. */
export interface Terms {
  /** Attempts per file, including the first. */
  retries: number;
  /** Delay before attempt n+1: `backoffBaseMs` × `backoffFactor`^(n−1). */
  backoffFactor: number;
  /** In milliseconds. Default 1,000. */
  backoffBaseMs?: number | undefined;
  /** `full`: anything from 0 to the delay. `near`: within a quarter of it. */
  jitter: "full" | "near";
  timeoutMs: number;
  rules: BreakerRules;
  /** Time in ms that an open breaker is waited for. */
  breakerWaitMs: number;
  /** Whether to open the breaker when a file has used up its attempts, regardless of its threshold. */
  openWhenSpent: boolean;
  /** What to do while another worker carries the same destination. */
  whenBusy: "wait" | "skip-same-source";
  maxFileSizeBytes: number | undefined;
  /** Whether to read the file although it is known to be unchanged. Default false. */
  ignoreTimes?: true | undefined;
  /** Which files are left as they are although they may be others. Default: none. */
  leave?: Leave | undefined;
  /** Whether to continue where an earlier attempt stopped. */
  resume: boolean;
  /** What becomes of the copy of a source that is gone, where that is no failure. Default: it is one. */
  whenGone?: "leave" | "remove" | undefined;
  /** `acl`: the access list of a source gives the permissions of a copy that has no others. Default: it is not read. */
  permissions?: "acl" | undefined;
  /** Most streams that one large file is fetched by. */
  streams: number;
  /** Whether to fsync file and directory before a file counts as copied. */
  durable: boolean;
}

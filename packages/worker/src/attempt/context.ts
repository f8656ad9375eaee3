import type { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { Admission } from "@drover/shared/protocol/admission";
import type { Flights } from "@drover/shared/protocol/flights";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { hostOf, sourceId } from "@drover/shared/storage/registry";
import type { Source } from "@drover/shared/storage/source";
import type { Services } from "@drover/shared/storage/storage";
import type { TreeNames } from "@drover/shared/storage/tree";
import type { RateLimiter } from "../bytes/rate-limiter.js";
import type { StallWatchdog } from "../bytes/stall-watchdog.js";
import type { Destination } from "../destinations/destination.js";
import type { PairContext } from "../pair/pair-context.js";
import type { WorkFile } from "./delivery.js";
import type { Leases } from "./leases.js";
import type { ResumeRecord } from "./resume-record.js";
import type { Terms } from "./terms.js";

/** Everything that the files of a run share; created once per run and process. */
export interface RunContext {
  runId: string;
  /** Trace that the run belongs to; undefined for none. */
  traceparent?: string | undefined;
  flights: Flights;
  admission: Admission;
  leases: Leases;
  watchdog: StallWatchdog;
  limiter: RateLimiter;
  tree: TreeNames;
  destination: Destination;
  /** Both sides, where the run syncs a pair. */
  pair?: PairContext;
  /** How the run's storages are reached. */
  services: Services;
  terms: Terms;
  /** Whether the run's outcomes are kept for those who ask later. */
  keepsOutcomes: boolean;
  breakers: HostBreakers;
  /** Why this worker must not carry the run's files; undefined if it may. */
  refused?: TransferError;
  /** Files with this suffix are former versions that the run keeps: no others may have it. Default: there are none. */
  keptSuffix?: string;
  /** Called with the record in which the bytes of a file are counted, for the display of progress. */
  receiving?(job: TransferJob, record: ResumeRecord): void;
  /** @throws TransferError class `credentials` when the run's secrets have expired. */
  source(job: TransferJob): Promise<Source> | Source;
}

/** Derives the keys of a job's file. */
export function workFile(job: TransferJob, context: RunContext): WorkFile {
  const lease = context.tree.leaseOf(job.d);
  return {
    runId: context.runId,
    flight: context.flights.of(job, lease),
    lease,
    tree: context.pair?.store.id ?? context.tree.id,
    name: job.d,
    host: hostOf(job.s, context.services),
    path: context.tree.path(job.d),
    sourceHash: sourceId(job.s, context.services),
  };
}

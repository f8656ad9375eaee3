import type { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import type { Admission } from "@drover/shared/protocol/admission";
import type { Flights } from "@drover/shared/protocol/flights";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { hostOf, sourceId } from "@drover/shared/storage/registry";
import type { Source } from "@drover/shared/storage/source";
import type { Services } from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";
import type { RateLimiter } from "../bytes/rate-limiter.js";
import type { StallWatchdog } from "../bytes/stall-watchdog.js";
import type { Destination } from "../destinations/destination.js";
import type { WorkFile } from "./delivery.js";
import type { Leases } from "./leases.js";
import type { ResumeRecord } from "./resume-record.js";
import type { Terms } from "./terms.js";

/** Everything that a file needs on its way: made once per process. */
export interface RunContext {
  runId: string;
  flights: Flights;
  admission: Admission;
  leases: Leases;
  watchdog: StallWatchdog;
  limiter: RateLimiter;
  tree: Tree;
  destination: Destination;
  /** How its storages are reached. */
  services: Services;
  terms: Terms;
  breakers: HostBreakers;
  /** Why no file of this run may be carried here; undefined where they may. */
  refused?: TransferError;
  /** Told where the bytes of a file are counted as they come, for show. */
  receiving?(job: TransferJob, record: ResumeRecord): void;
  /** @throws TransferError class `credentials` when the run's secrets have expired. */
  source(job: TransferJob): Promise<Source> | Source;
}

/** The file of a job of this run. */
export function workFile(job: TransferJob, context: RunContext): WorkFile {
  const lease = context.tree.leaseOf(job.d);
  return {
    runId: context.runId,
    flight: context.flights.of(job, lease),
    lease,
    tree: context.tree.id,
    name: job.d,
    host: hostOf(job.s, context.services),
    path: context.tree.path(job.d),
    sourceHash: sourceId(job.s, context.services),
  };
}

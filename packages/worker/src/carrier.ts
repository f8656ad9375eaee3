import { TransferError } from "@drover/shared/errors";
import { Gates } from "@drover/shared/gates";
import { hostOf, type TransferJob } from "@drover/shared/job";
import { Ledger } from "@drover/shared/ledger";
import type { Outcome } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { flightHash, Protocol } from "@drover/shared/protocol";
import type { Keys } from "@drover/shared/redis/keys";
import type { RunSpec } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http";
import { HttpSource } from "@drover/shared/storage/http-source";
import { LocalSource } from "@drover/shared/storage/local-source";
import { LocalTree } from "@drover/shared/storage/local-tree";
import type { Redis } from "ioredis";
import { Leases } from "./leases.js";
import { Pace } from "./pace.js";
import type { Part } from "./part.js";
import type { Place } from "./place.js";
import { type FileEvents, Processor } from "./processor.js";
import { settleFailed } from "./settle.js";
import { workFile } from "./work-file.js";

/** A probe of a half-open breaker is given up after so long, however patient the run is. */
const MOST_PROBE_MS = 60_000;

/** What a carrier works on; plain data, so that it can be handed to a thread. */
export interface CarrierWork {
  runId: string;
  /** BullMQ queue. */
  queue: string;
  spec: RunSpec;
  /** The person's request headers. */
  headers: Record<string, string>;
  /** Files at once, in this carrier. */
  concurrency: number;
  /** This carrier's share of the run's limit. */
  bytesPerSecond: number | undefined;
}

export interface CarrierEvents extends FileEvents {
  receiving(job: TransferJob, part: Part): void;
}

/** How long a probe of a half-open breaker may take in a run. */
export function probeMsOf(spec: RunSpec): number {
  return Math.min(spec.timeoutMs * 2, MOST_PROBE_MS);
}

export function gatesOf(spec: RunSpec): Gates {
  return new Gates(spec.breakerWaitMs, probeMsOf(spec));
}

/** Everything that carries files of one run in one thread: the composition of this package. */
export class Carrier {
  readonly #place: Place;
  readonly #processor: Processor;
  readonly #client: HttpClient;

  constructor(
    redis: Redis,
    keys: Keys,
    work: CarrierWork,
    private readonly gates: Gates,
    events: CarrierEvents,
    onError: (error: Error) => void,
  ) {
    const { runId, spec, headers } = work;
    const probeMs = probeMsOf(spec);
    const protocol = new Protocol(redis, keys, PROCESS_NAME, probeMs);
    const ledger = new Ledger(redis, keys, PROCESS_NAME);
    const client = new HttpClient({ timeoutMs: spec.timeoutMs, connections: work.concurrency * 4 });
    const secretSource = async (job: TransferJob) => {
      const url = await ledger.secretSource(runId, flightHash(runId, job.s, job.d, 0));
      if (url !== undefined) return new HttpSource(client, url, headers);
      const why = "the credentials of this run have expired: start a new sync";
      throw new TransferError("credentials", why, { permanent: true });
    };
    this.#client = client;
    this.#place = {
      runId,
      protocol,
      leases: new Leases(protocol),
      pace: new Pace(spec.timeoutMs, work.bytesPerSecond),
      tree: new LocalTree(spec.root),
      terms: {
        ...spec,
        rules: { threshold: spec.circuitThreshold, ttlMs: spec.circuitTtlMs, probeMs },
        maxFileSizeBytes: spec.maxFileSizeBytes,
      },
      receiving: (job, part) => events.receiving(job, part),
      source: (job) => {
        if (hostOf(job.s) === "") return new LocalSource(job.s);
        return job.k === 1 ? secretSource(job) : new HttpSource(client, job.s, headers);
      },
      arrived: (job) => {
        if (job.k !== 1) return;
        const flight = flightHash(runId, job.s, job.d, 0);
        ledger.forgetSecretSource(runId, flight).catch(onError); // else it expires with the run's
      },
    };
    this.#processor = new Processor({
      queue: work.queue,
      prefix: keys.queuePrefix(),
      redis,
      concurrency: work.concurrency,
      place: this.#place,
      gates,
      events,
      onError,
    });
  }

  /** Ends a file whose host was given up, without carrying it. */
  async endBlocked(job: TransferJob): Promise<Outcome | undefined> {
    const error = new TransferError("breaker", this.gates.describe(hostOf(job.s)), { permanent: true });
    const delivery = { job, attempt: 0, sinceMs: Date.now() };
    const keys = workFile(job, this.#place);
    const carried = await settleFailed(delivery, keys, undefined, error, this.#place, "blocked");
    return carried.is === "settled" ? carried.outcome : undefined;
  }

  /** Changes this carrier's share of the run: files at once, and bytes per second. */
  limit(concurrency: number, bytesPerSecond: number | undefined): void {
    this.#place.pace.bytesPerSecond = bytesPerSecond;
    this.#processor.limit(concurrency);
  }

  /** The run was cancelled: gives up the files that are on their way. */
  cancel(): void {
    this.#place.leases.cancelHeld();
  }

  /** Stops in order: what is staged is kept, what is unfinished goes back to the queue. */
  async stop(): Promise<void> {
    await this.#processor.stop();
    this.#place.leases.close();
    this.#place.pace.close();
    await this.#client.close();
    this.#place.tree.close();
  }
}

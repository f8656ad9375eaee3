import { SettingsError, TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Admission } from "@drover/shared/protocol/admission";
import { fileCancellations } from "@drover/shared/protocol/file-cancellations";
import { OtherFormatError } from "@drover/shared/protocol/format";
import { hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import { SecretStore } from "@drover/shared/protocol/secret-store";
import type { RunSecrets } from "@drover/shared/run";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import { destinationOf } from "@drover/shared/storage/registry";
import type { AllowedRoots, Services } from "@drover/shared/storage/storage";
import type { Redis } from "ioredis";
import type { RunContext } from "../attempt/context.js";
import { Leases } from "../attempt/leases.js";
import type { ResumeRecord } from "../attempt/resume-record.js";
import { BufferPool, UPLOAD_BYTES } from "../bytes/buffer-pool.js";
import { type FileEvents, Processor } from "../queue/processor.js";
import { openRunContext } from "./open-context.js";

const CANCEL_POLL_MS = 1_000;
/** Time in ms without files after which a run's context is closed. */
const IDLE_MS = 60_000;

/** Callbacks for the progress of a fleet's files. */
export type FleetEvents = Omit<FileEvents, "blocked">;

export interface FleetWorkerOptions {
  redis: Redis;
  keys: Keys;
  concurrency: number;
  /** Roots of allowed destinations: absolute directories or `s3://bucket/prefix`. */
  roots: string[];
  /** How the roots are reached. */
  services?: Services;
  /** Where the URLs of guarded runs may lead. By default to public addresses alone. */
  guard?: AddressGuard;
  events: FleetEvents;
  onError(error: Error): void;
}

/** A file in progress, for display. */
export interface FileInProgress {
  run: string;
  source: string;
  destination: string;
  sinceMs: number;
  receivedBytes: number;
  sizeBytes: number | undefined;
}

interface OpenRun {
  opened: Promise<{ context: RunContext; close(): Promise<void> }>;
  active: number;
  usedMs: number;
}

/** Carries files of all runs of a fleet. */
export class FleetWorker {
  readonly #leases: Leases;
  readonly #ledger: Ledger;
  readonly #bufferPool = new BufferPool(UPLOAD_BYTES);
  readonly #runs = new Map<string, OpenRun>();
  readonly #inProgress = new Map<string, { job: TransferJob; sinceMs: number; record?: ResumeRecord }>();
  readonly #processor: Processor;
  readonly #timer: NodeJS.Timeout;
  readonly #allowed: AllowedRoots;

  /** @throws SettingsError for a root that cannot be written below. */
  constructor(private readonly options: FleetWorkerOptions) {
    const { redis, keys, events } = options;
    const roots = options.roots.map((root) => destinationOf(root).workerRoot(root, process.cwd()));
    this.#allowed = { roots, services: options.services ?? {} };
    this.#leases = new Leases(new Admission(redis, keys, PROCESS_NAME, 0));
    this.#ledger = new Ledger(redis, keys, PROCESS_NAME);
    this.#processor = new Processor({
      queue: keys.fleetQueue(),
      prefix: keys.queuePrefix(),
      redis,
      concurrency: options.concurrency,
      leases: this.#leases,
      context: (job) => this.#context(job.r as string),
      queueEvents: "published",
      events: {
        started: (job, attempt) => {
          this.#inProgress.set(keyOf(job), { job, sinceMs: Date.now() });
          this.#count(job, 1);
          events.started(job, attempt);
        },
        waiting: (job) => {
          this.#ended(job);
          events.waiting(job);
        },
        retrying: events.retrying,
        settled: (outcome, job) => {
          this.#ended(job);
          events.settled(outcome, job);
        },
        dropped: events.dropped,
      },
      onError: options.onError,
    });
    this.#timer = setInterval(() => void this.#look().catch(options.onError), CANCEL_POLL_MS);
  }

  /** Whether jobs are being taken. */
  get running(): boolean {
    return this.#processor.running;
  }

  get carrying(): FileInProgress[] {
    return [...this.#inProgress.values()].map(({ job, sinceMs, record }) => ({
      run: job.r as string,
      source: job.s,
      destination: job.d,
      sinceMs,
      receivedBytes: record?.receivedBytes ?? 0,
      sizeBytes: record?.sizeBytes,
    }));
  }

  /** @param drainMs time for files in progress to finish; then they return to the queue. */
  async stop(drainMs: number): Promise<void> {
    await this.#processor.stop(drainMs);
    clearInterval(this.#timer);
    this.#leases.close();
    const places = await Promise.allSettled([...this.#runs.values()].map((run) => run.opened));
    for (const context of places) if (context.status === "fulfilled") await context.value.close();
  }

  #ended(job: TransferJob): void {
    if (this.#inProgress.delete(keyOf(job))) this.#count(job, -1);
  }

  #count(job: TransferJob, by: number): void {
    const run = this.#runs.get(job.r as string);
    if (!run) return;
    run.active += by;
    run.usedMs = Date.now();
  }

  async #context(id: string): Promise<RunContext | undefined> {
    let run = this.#runs.get(id);
    if (!run) {
      run = { opened: this.#open(id), active: 0, usedMs: Date.now() };
      run.opened.catch(() => this.#runs.delete(id));
      this.#runs.set(id, run);
    }
    run.usedMs = Date.now();
    try {
      return (await run.opened).context;
    } catch (error) {
      if (error instanceof OtherFormatError) throw error; // a worker of a later version can carry it
      if (error instanceof SettingsError) return undefined; // no such run
      throw error;
    }
  }

  async #open(id: string): Promise<{ context: RunContext; close(): Promise<void> }> {
    const { redis, keys, concurrency, guard, onError } = this.options;
    const { spec } = await this.#ledger.get(id);
    const secrets: Pick<RunSecrets, "headers" | "customerKeys"> | undefined = spec.ownFlights
      ? await new SecretStore(redis, keys).get(id).catch((error) => {
          if (!(error instanceof SettingsError)) throw error; // otherwise they have expired
          return undefined;
        })
      : { headers: {} };
    const expired = "the credentials of this run have expired: start a new sync";
    return openRunContext({
      redis,
      keys,
      runId: id,
      spec,
      headers: secrets?.headers ?? {},
      customerKeys: secrets?.customerKeys,
      filesAtOnce: concurrency,
      bytesPerSecond: spec.bytesPerSecond,
      leases: this.#leases,
      breakers: hostBreakersOf(spec),
      refused: secrets ? undefined : new TransferError("credentials", expired, { permanent: true }),
      refuse: (root) => {
        const why = destinationOf(root).refuse(root, spec, this.#allowed);
        return why === undefined ? undefined : new TransferError("path", why, { permanent: true });
      },
      bufferPool: this.#bufferPool,
      ...(guard ? { guard } : {}),
      receiving: (job, record) => {
        const carrying = this.#inProgress.get(keyOf(job));
        if (carrying) carrying.record = record;
      },
      onError,
    });
  }

  /** Cancels files of cancelled runs, and single ones that are to be, and closes unused contexts. */
  async #look(): Promise<void> {
    const { redis, keys } = this.options;
    if (this.#inProgress.size > 0)
      for (const { run, lease } of await fileCancellations(redis, keys)) this.#leases.cancelHeld(run, lease);
    for (const [id, run] of this.#runs) {
      if (run.active > 0) {
        if (await this.#ledger.isCancelled(id)) this.#leases.cancelHeld(id);
      } else if (run.usedMs < Date.now() - IDLE_MS) {
        this.#runs.delete(id);
        await (await run.opened).close();
      }
    }
  }
}

function keyOf(job: TransferJob): string {
  return `${job.r}:${job.i}`;
}

import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { type TransferJob, transferJobSchema } from "@drover/shared/job";
import type { BriefError, Outcome } from "@drover/shared/outcome";
import { LEASE_MS } from "@drover/shared/protocol/admission";
import { batchingBackend, type Events, giveBackJob } from "@drover/shared/queue/bullmq";
import { isLockLost } from "@drover/shared/redis/errors";
import { hostOf } from "@drover/shared/storage/registry";
import { count, observe } from "@drover/shared/telemetry";
import { trace } from "@drover/shared/tracing";
import { DelayedError, type Job, UnrecoverableError, WaitingError, Worker } from "bullmq";
import type { Redis } from "ioredis";
import type { RunContext } from "../attempt/context.js";
import type { AttemptResult, Delivery } from "../attempt/delivery.js";
import type { Leases } from "../attempt/leases.js";
import { settleUnadmitted } from "../attempt/settle.js";
import { StoppingError } from "../attempt/stopping.js";
import { perform } from "../operations/index.js";
import { Semaphore } from "./semaphore.js";
import { StartTimes } from "./start-times.js";

const DEFAULT_BACKOFF_BASE_MS = 1_000;
const BACKOFF_CAP_MS = 60_000;
/** Delay in ms before a destination that another worker holds is tried again. */
const BUSY_MS = 300;
/** Delay in ms after an error that is not the file's own, such as a command that Redis refused. */
const ODD_MS = 1_000;
/** Time in ms after which a worker that has not connected is recreated. */
const READY_MS = 5_000;
/** Limit for stalls and attempts. BullMQ would fail such a job for good, but our leases handle lost workers. */
const NEVER = 1_000_000_000;

/** Time in ms after which the job of a silent worker goes to another. */
const LOCK_MS = 20_000;
const STALLED_MS = 5_000;

/** Callbacks for the progress of files. */
export interface FileEvents {
  started(job: TransferJob, attempt: number): void;
  /** The file is not settled and will be tried again. */
  waiting(job: TransferJob): void;
  retrying(job: TransferJob, attempt: number, error: TransferError, delayMs: number): void;
  settled(outcome: Outcome, job: TransferJob): void;
  /**
   * The host is blocked until the Unix time in ms. For callers that do not share breakers with this
   * processor.
   */
  blocked?(host: string, untilMs: number): void;
  /** The file was settled before: this delivery had nothing to do. */
  dropped(job: TransferJob): void;
}

export interface ProcessorOptions {
  queue: string;
  prefix: string;
  redis: Redis;
  concurrency: number;
  leases: Leases;
  /** The context of a job's run; undefined if there is no such run. */
  context(job: TransferJob): RunContext | Promise<RunContext | undefined>;
  events: FileEvents;
  /** Whether the queue publishes events of its jobs for others. */
  queueEvents: Events;
  /** Called with errors of the queue itself, such as Redis being away. */
  onError(error: Error): void;
}

/** Thrown to BullMQ to retry a job. BullMQ stores the message in the job, so it has no secret and no stack. */
class TryAgain extends Error {
  constructor(
    message: string,
    readonly delayMs: number,
  ) {
    super(message);
    this.stack = "";
  }
}

/**
 * Jobs fetched beyond those being carried, to hide the latency of the next fetch, the longest call to Redis
 * of a file. None are fetched ahead while files take long: a job waiting here could be carried by another
 * worker, so it waits for {@link PATIENCE_MS} at most.
 */
const AHEAD = 64;
const QUICK_MS = 500;
const PATIENCE_MS = 1_000;

/**
 * BullMQ's worker fetches up to its concurrency one by one before it starts the first job. So the concurrency
 * starts low and grows with each job that begins.
 */
const FIRST_FETCHED = 4;
const MORE_FETCHED = 2;

/** What to do with a job after its delivery. */
type NextStep =
  | Exclude<AttemptResult, { is: "busy" | "blocked" | "wait" }>
  /** Deliver it again after `delayMs`; this was no attempt. */
  | { is: "later"; delayMs: number };

/** A delivery and its BullMQ job. */
interface QueuedDelivery extends Delivery {
  queued: Job<unknown>;
  /** Token of the job's lock. */
  token: string;
  context: RunContext;
}

/** Takes jobs from BullMQ and performs them. No other code of this package knows the queue. */
export class Processor {
  #worker: Worker<unknown>;
  readonly #semaphore: Semaphore;
  #concurrency: number;
  #stopping = false;
  /** Limit of fetched jobs while it grows. */
  #most = FIRST_FETCHED;
  /** Moving average, in ms, of the time that files took. */
  #carryingMs = QUICK_MS;
  /** When a file was first started, if that was before its last delivery. */
  readonly #since = new StartTimes();
  /** Since when a destination has been found held by another worker. */
  readonly #busySince = new StartTimes();

  constructor(private readonly options: ProcessorOptions) {
    this.#concurrency = options.concurrency;
    this.#semaphore = new Semaphore(options.concurrency);
    this.#worker = this.#make();
    void this.#run();
  }

  #make(): Worker<unknown> {
    const { options } = this;
    const worker = new Worker<unknown>(
      options.queue,
      (job, token) => this.#process(job, token as string),
      {
        connection: options.redis,
        prefix: options.prefix,
        concurrency: this.#fetched(),
        autorun: false,
        lockDuration: LOCK_MS,
        stalledInterval: STALLED_MS,
        maxStalledCount: NEVER,
        removeOnComplete: { count: 0 },
        removeOnFail: { count: 0 },
        settings: {
          backoffStrategy: (_made, _type, error) => (error instanceof TryAgain ? error.delayMs : ODD_MS),
        },
      },
      batchingBackend(options.redis, options.queueEvents, options.concurrency),
    );
    worker.on("stalled", () => count("queue.jobs_stalled"));
    worker.on("error", (error) => isLockLost(error) || options.onError(error));
    worker.on("failed", (_job, error) => isPlanned(error) || options.onError(error));
    return worker;
  }

  /**
   * Runs the BullMQ worker. One whose connections break while they are made never starts, so it is recreated.
   */
  async #run(): Promise<void> {
    while (!this.#stopping) {
      const worker = this.#worker;
      try {
        await Promise.race([
          worker.waitUntilReady(),
          sleep(READY_MS, undefined, { ref: false }).then(() => Promise.reject(new Error("no answer"))),
        ]);
        await worker.run();
        return;
      } catch (error) {
        if (this.#stopping) return;
        this.options.onError(error as Error);
        this.#worker = this.#make();
        worker.close(true).catch(this.options.onError);
        await sleep(ODD_MS);
      }
    }
  }

  /** Changes the number of files carried at once. */
  limit(concurrency: number): void {
    this.#concurrency = concurrency;
    this.#semaphore.limit(concurrency);
    this.#worker.concurrency = this.#fetched();
  }

  #fetched(): number {
    const ahead = this.#carryingMs < QUICK_MS ? Math.min(this.#concurrency, AHEAD) : 0;
    return Math.min(this.#concurrency + ahead, this.#most);
  }

  #begun(): void {
    if (this.#most >= this.#concurrency + AHEAD) return;
    this.#most += MORE_FETCHED;
    this.#worker.concurrency = this.#fetched();
  }

  #took(carryingMs: number): void {
    const quick = this.#carryingMs < QUICK_MS;
    this.#carryingMs += (carryingMs - this.#carryingMs) / 16;
    if (quick !== this.#carryingMs < QUICK_MS) this.#worker.concurrency = this.#fetched();
  }

  /** Whether jobs are being taken. */
  get running(): boolean {
    return !this.#stopping && this.#worker.isRunning();
  }

  /**
   * Stops in an orderly way: staged bytes are kept, unfinished files return to the queue.
   *
   * @param drainMs time for files in progress to finish. Default 0.
   */
  async stop(drainMs = 0): Promise<void> {
    this.#stopping = true;
    const closed = this.#worker.close();
    if (drainMs > 0) await Promise.race([closed, sleep(drainMs, undefined, { ref: false })]);
    this.options.leases.abortAll(new StoppingError("stopping"));
    await closed;
  }

  async #process(queued: Job<unknown>, token: string): Promise<void> {
    this.#begun();
    const job = read(queued);
    const context = await this.options.context(job);
    if (!context) throw new UnrecoverableError(`job ${queued.id} is of a run that is forgotten`);
    if (!(await this.#semaphore.take(PATIENCE_MS))) {
      this.#took(2 * QUICK_MS * 16); // a slow file occupies the slots: nothing is fetched ahead for a while
      await giveBack(this.options.redis, queued, token);
    }
    const delivery = this.#deliver(queued, token, job, context);
    let result: AttemptResult;
    try {
      if (this.#stopping) await giveBack(this.options.redis, queued, token);
      this.options.events.started(job, delivery.attempt);
      result = await perform(delivery, context);
    } finally {
      delivery.releaseSlot();
    }
    await this.#finish(ours(await this.#nextStep(result, delivery), context), delivery);
  }

  /** Makes the delivery of a job that has its slot. */
  #deliver(queued: Job<unknown>, token: string, job: TransferJob, context: RunContext): QueuedDelivery {
    const takenMs = performance.now();
    let released = false;
    return {
      queued,
      token,
      job,
      context,
      attempt: queued.attemptsMade + 1,
      trace: trace(job.op ?? "copy", context.traceparent),
      sinceMs: this.#since.get(queued.id as string),
      releaseSlot: () => {
        if (released) return;
        released = true;
        this.#took(performance.now() - takenMs);
        this.#semaphore.give();
      },
    };
  }

  /** Decides what to do with the job. A wait that has lasted too long settles the file. */
  #nextStep(result: AttemptResult, delivery: QueuedDelivery): NextStep | Promise<NextStep> {
    switch (result.is) {
      case "blocked":
        return this.#onBlocked(result.waitMs, delivery);
      case "busy":
        return this.#onBusy(result.sameSource, delivery);
      case "wait":
        return { is: "later", delayMs: result.waitMs };
      case "retry":
        return result.error.class === "locked" ? { is: "later", delayMs: BUSY_MS } : result;
      default:
        return result;
    }
  }

  /** The breaker of its host is open. */
  #onBlocked(waitMs: number, delivery: QueuedDelivery): NextStep | Promise<NextStep> {
    const { job, context } = delivery;
    const { breakers } = context;
    const host = hostOf(job.s, context.services);
    this.options.events.blocked?.(host, Date.now() + waitMs);
    if (breakers.mayWait(host, waitMs))
      return { is: "later", delayMs: Math.max(waitMs, 0) + Math.random() * 250 };
    const error = new TransferError("breaker", breakers.describe(host), { permanent: true });
    return settleUnadmitted(delivery, context, "blocked", error);
  }

  /** Another worker holds its destination. */
  #onBusy(sameSource: boolean, delivery: QueuedDelivery): NextStep | Promise<NextStep> {
    const { context } = delivery;
    const { terms, flights } = context;
    const id = delivery.queued.id as string;
    const sinceMs = this.#busySince.get(id);
    this.#busySince.set(id, sinceMs, 0);
    const skip = terms.whenBusy === "skip-same-source" && sameSource;
    // A dead holder's lease expires only after LEASE_MS, so the wait must outlast it.
    const patienceMs = Math.max(terms.timeoutMs, flights.shared ? LEASE_MS + 5_000 : 0);
    const waited = Date.now() - sinceMs > patienceMs && terms.whenBusy === "wait";
    if (!skip && !waited) return { is: "later", delayMs: BUSY_MS * (0.5 + Math.random()) };
    const why = "another process is writing this destination";
    const error = new TransferError("locked", why, { permanent: true });
    return settleUnadmitted(delivery, context, "locked", error);
  }

  /** Reports the result of a delivery to the events and to BullMQ. */
  async #finish(step: NextStep, delivery: QueuedDelivery): Promise<void> {
    const { events } = this.options;
    const { queued, token, job, context, attempt } = delivery;
    switch (step.is) {
      case "settled":
        this.#forget(delivery);
        this.#report(context, job, step.blockedUntilMs, step.outcome.outcome !== "blocked");
        tellEnd(delivery, step.outcome);
        events.settled(step.outcome, job);
        return;
      case "done":
        this.#forget(delivery);
        events.waiting(job);
        events.dropped(job);
        return;
      case "returned":
        this.#comesAgain(delivery, 0);
        return await giveBack(this.options.redis, queued, token);
      case "later":
        this.#comesAgain(delivery, step.delayMs);
        await queued.moveToDelayed(Date.now() + step.delayMs, token);
        throw new DelayedError();
      case "retry": {
        const delayMs = backoff(context, attempt, step.error);
        this.#comesAgain(delivery, delayMs);
        this.#report(context, job, step.blockedUntilMs, false);
        tellAttempt(delivery, "retried", step.error);
        events.retrying(job, attempt, step.error, delayMs);
        throw new TryAgain(step.error.message, delayMs);
      }
    }
  }

  #forget({ queued }: QueuedDelivery): void {
    this.#since.delete(queued.id as string);
    this.#busySince.delete(queued.id as string);
  }

  #comesAgain({ queued, job, sinceMs }: QueuedDelivery, delayMs: number): void {
    this.options.events.waiting(job);
    this.#since.set(queued.id as string, sinceMs, delayMs);
  }

  /** Reports what a delivery learnt of its host. */
  #report(context: RunContext, job: TransferJob, blockedUntilMs: number, passed: boolean): void {
    const host = hostOf(job.s, context.services);
    context.breakers.report(host, blockedUntilMs, passed);
    if (blockedUntilMs > 0) this.options.events.blocked?.(host, blockedUntilMs);
  }
}

/** Tells telemetry how a file ended. */
function tellEnd(delivery: QueuedDelivery, { outcome, bytes, durationMs, error }: Outcome): void {
  const { job } = delivery;
  tellAttempt(delivery, outcome, error, bytes);
  observe("files.seconds", durationMs / 1_000, () => ({ operation: job.op ?? "copy", outcome }));
  if (outcome === "copied") count("files.copied_bytes", bytes);
}

function tellAttempt(
  { job, attempt, context, trace }: QueuedDelivery,
  outcome: string,
  error: BriefError | undefined,
  bytes = 0,
): void {
  const operation = job.op ?? "copy";
  count("attempts.ended", 1, () => ({ operation, outcome, class: error?.class ?? "none" }));
  const attributes = () => ({
    "drover.run": context.runId,
    "drover.source": job.s,
    "drover.destination": job.d,
    "drover.attempt": attempt,
    "drover.outcome": outcome,
    "drover.bytes": bytes,
    ...(error ? { "error.type": error.class } : {}),
  });
  trace?.end(attributes, error?.message);
}

/** @throws UnrecoverableError if it is not a transfer job. */
function read(queued: Job<unknown>): TransferJob {
  const parsed = transferJobSchema.safeParse(queued.data);
  if (!parsed.success) throw new UnrecoverableError(`job ${queued.id} is not a transfer job`);
  // Drover counts the attempts: whatever is thrown, the job must return.
  queued.opts.attempts = NEVER;
  queued.opts.backoff = { type: "drover" };
  queued.opts.stackTraceLimit = 1; // BullMQ would keep those of all attempts in the job
  return parsed.data;
}

/** Whether a delivery was ended by ourselves, rather than by an error that is not the file's own. */
function isPlanned(error: Error): boolean {
  return error instanceof TryAgain || error instanceof UnrecoverableError;
}

/** Returns the job to the queue, for any worker. */
async function giveBack(redis: Redis, queued: Job<unknown>, token: string): Promise<never> {
  await giveBackJob(redis, queued, token);
  throw new WaitingError();
}

function backoff(context: RunContext, attempt: number, error: TransferError): number {
  const { backoffFactor, backoffBaseMs = DEFAULT_BACKOFF_BASE_MS, jitter } = context.terms;
  const delay = Math.min(backoffBaseMs * backoffFactor ** (attempt - 1), BACKOFF_CAP_MS);
  const jittered = jitter === "full" ? Math.random() * delay : delay * (0.75 + Math.random() * 0.5);
  return Math.max(Math.round(jittered), error.retryAfterMs ?? 0, 1);
}

/**
 * Converts "done" to "settled" without a fleet, where no one else settles files of this run. A file that was
 * open and is already settled was settled by us: the answer was lost with the connection and the command
 * repeated.
 */
function ours(step: NextStep, context: RunContext): NextStep {
  if (step.is !== "done" || !step.outcome || context.flights.shared || context.refused) return step;
  return { is: "settled", outcome: step.outcome, blockedUntilMs: 0 };
}

import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { type TransferJob, transferJobSchema } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import { LEASE_MS } from "@drover/shared/protocol/admission";
import { batchingBackend, type Events } from "@drover/shared/queue/bullmq";
import { isLockLost } from "@drover/shared/redis/errors";
import { hostOf } from "@drover/shared/storage/registry";
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

const BACKOFF_BASE_MS = 1_000;
const BACKOFF_CAP_MS = 60_000;
/** A destination that somebody else holds is asked for again after so long. */
const BUSY_MS = 300;
/** After an error that is none of a file's own, such as a command that Redis refused. */
const ODD_MS = 1_000;
/** A worker that has not connected after so long is made anew. */
const READY_MS = 5_000;
/** BullMQ fails a job for good that stalled too often, without asking: our leases deal with lost workers. */
const NEVER = 1_000_000_000;

/** A job whose worker says nothing for so long is given to another. */
const LOCK_MS = 20_000;
const STALLED_MS = 5_000;

/** What happens to files, for whoever shows or follows it. */
export interface FileEvents {
  started(job: TransferJob, attempt: number): void;
  /** Not settled; will be taken up again. */
  waiting(job: TransferJob): void;
  retrying(job: TransferJob, attempt: number, error: TransferError, delayMs: number): void;
  settled(outcome: Outcome, job: TransferJob): void;
  /** The host is blocked until then (Unix ms). For who shares no breakers with this processor. */
  blocked?(host: string, untilMs: number): void;
  /** Was settled before: this delivery found nothing to do. */
  dropped(job: TransferJob): void;
}

export interface ProcessorOptions {
  queue: string;
  prefix: string;
  redis: Redis;
  concurrency: number;
  leases: Leases;
  /** The place of a job's run; undefined where there is no such run any more. */
  context(job: TransferJob): RunContext | Promise<RunContext | undefined>;
  events: FileEvents;
  /** Whether others may listen to what the queue itself tells of its jobs. */
  queueEvents: Events;
  /** Errors of the queue itself, such as Redis being away. */
  onError(error: Error): void;
}

/** Thrown at BullMQ to have a job tried again: its message is kept in the job, so it holds no secret and no stack. */
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
 * Jobs that are fetched beyond those that are carried, so that finishing one and fetching the next (the longest call
 * to Redis of a file) is no gap in the carrying. None while files take so long that it is no matter: a file that waits
 * behind others here could be carried by another worker, so it waits for {@link PATIENCE_MS} at most.
 */
const AHEAD = 64;
const QUICK_MS = 500;
const PATIENCE_MS = 1_000;

/**
 * BullMQ's worker fetches all that it may have, one after the other, before it begins with the first of them. So it may
 * have a few at first, and with each that has begun so many more.
 */
const FIRST_FETCHED = 4;
const MORE_FETCHED = 2;

/** What is to be done with a job after its delivery. */
type NextStep =
  | Exclude<AttemptResult, { is: "busy" | "blocked" | "wait" }>
  /** It comes again after so long; this was no try. */
  | { is: "later"; delayMs: number };

/** A delivery, and what BullMQ knows of it. */
interface QueuedDelivery extends Delivery {
  queued: Job<unknown>;
  /** Of the job's lock. */
  token: string;
  context: RunContext;
}

/** Takes jobs from BullMQ and has them performed: the only place that knows the queue. */
export class Processor {
  #worker: Worker<unknown>;
  readonly #semaphore: Semaphore;
  #concurrency: number;
  #stopping = false;
  /** Jobs that may be fetched, while that still grows. */
  #most = FIRST_FETCHED;
  /** How long files were carried of late, the newest counting most. */
  #carryingMs = QUICK_MS;
  /** When a file was first taken up, where that was not in its last delivery. */
  readonly #since = new StartTimes();
  /** Since when a destination was found held by somebody else. */
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
    worker.on("error", (error) => isLockLost(error) || options.onError(error));
    return worker;
  }

  /** A worker whose connections break while they are being made never starts: then another one is made. */
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

  /** Changes how many files are carried at once. */
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
   * Stops in order: what is staged is kept, what is unfinished goes back to the queue.
   *
   * @param drainMs files that are on their way may finish for so long.
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
      this.#took(2 * QUICK_MS * 16); // something large has come: no more are fetched ahead for a while
      await giveBack(queued, token);
    }
    const delivery = this.#deliver(queued, token, job, context);
    let result: AttemptResult;
    try {
      if (this.#stopping) await giveBack(queued, token);
      this.options.events.started(job, delivery.attempt);
      result = context.refused
        ? await settleUnadmitted(delivery, context, "failed", context.refused)
        : await perform(delivery, context);
    } finally {
      delivery.releaseSlot();
    }
    await this.#finish(ours(await this.#nextStep(result, delivery), context), delivery);
  }

  /** A delivery that has its slot. */
  #deliver(queued: Job<unknown>, token: string, job: TransferJob, context: RunContext): QueuedDelivery {
    const takenMs = performance.now();
    let released = false;
    return {
      queued,
      token,
      job,
      context,
      attempt: queued.attemptsMade + 1,
      sinceMs: this.#since.get(queued.id as string),
      releaseSlot: () => {
        if (released) return;
        released = true;
        this.#took(performance.now() - takenMs);
        this.#semaphore.give();
      },
    };
  }

  /** What is to be done with the job; waiting that has lasted too long ends the file. */
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

  /** Somebody else holds its destination. */
  #onBusy(sameSource: boolean, delivery: QueuedDelivery): NextStep | Promise<NextStep> {
    const { context } = delivery;
    const { terms, flights } = context;
    const id = delivery.queued.id as string;
    const sinceMs = this.#busySince.get(id);
    this.#busySince.set(id, sinceMs, 0);
    const skip = terms.whenBusy === "skip-same-source" && sameSource;
    // A lease that nobody renews is over after LEASE_MS: until then nobody can tell that it is left.
    const patienceMs = Math.max(terms.timeoutMs, flights.shared ? LEASE_MS + 5_000 : 0);
    const waited = Date.now() - sinceMs > patienceMs && terms.whenBusy === "wait";
    if (!skip && !waited) return { is: "later", delayMs: BUSY_MS * (0.5 + Math.random()) };
    const why = "another process is writing this destination";
    const error = new TransferError("locked", why, { permanent: true });
    return settleUnadmitted(delivery, context, "locked", error);
  }

  /** Tells what became of a delivery, to whoever listens and to BullMQ. */
  async #finish(step: NextStep, delivery: QueuedDelivery): Promise<void> {
    const { events } = this.options;
    const { queued, token, job, context, attempt } = delivery;
    switch (step.is) {
      case "settled":
        this.#forget(delivery);
        this.#report(context, job, step.blockedUntilMs, step.outcome.outcome !== "blocked");
        events.settled(step.outcome, job);
        return;
      case "done":
        this.#forget(delivery);
        events.waiting(job);
        events.dropped(job);
        return;
      case "returned":
        this.#comesAgain(delivery, 0);
        return await giveBack(queued, token);
      case "later":
        this.#comesAgain(delivery, step.delayMs);
        await queued.moveToDelayed(Date.now() + step.delayMs, token);
        throw new DelayedError();
      case "retry": {
        const delayMs = backoff(context, attempt, step.error);
        this.#comesAgain(delivery, delayMs);
        this.#report(context, job, step.blockedUntilMs, false);
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

  /** What a delivery says of its host. */
  #report(context: RunContext, job: TransferJob, blockedUntilMs: number, passed: boolean): void {
    const host = hostOf(job.s, context.services);
    context.breakers.report(host, blockedUntilMs, passed);
    if (blockedUntilMs > 0) this.options.events.blocked?.(host, blockedUntilMs);
  }
}

/** @throws UnrecoverableError where it is none of ours. */
function read(queued: Job<unknown>): TransferJob {
  const parsed = transferJobSchema.safeParse(queued.data);
  if (!parsed.success) throw new UnrecoverableError(`job ${queued.id} is not a transfer job`);
  // We count the tries: whatever is thrown, the job comes back.
  queued.opts.attempts = NEVER;
  queued.opts.backoff = { type: "drover" };
  return parsed.data;
}

/** Another worker, or this one later, takes it up. */
async function giveBack(queued: Job<unknown>, token: string): Promise<never> {
  await queued.moveToWait(token);
  throw new WaitingError();
}

function backoff(context: RunContext, attempt: number, error: TransferError): number {
  const { backoffFactor, jitter } = context.terms;
  const delay = Math.min(BACKOFF_BASE_MS * backoffFactor ** (attempt - 1), BACKOFF_CAP_MS);
  const jittered = jitter === "full" ? Math.random() * delay : delay * (0.75 + Math.random() * 0.5);
  return Math.max(Math.round(jittered), error.retryAfterMs ?? 0, 1);
}

/**
 * Without a fleet nobody else settles a file of this run. One that was open and then settled already was settled by us:
 * the answer was lost with the connection, and the command sent again.
 */
function ours(step: NextStep, context: RunContext): NextStep {
  if (step.is !== "done" || !step.outcome || context.flights.shared || context.refused) return step;
  return { is: "settled", outcome: step.outcome, blockedUntilMs: 0 };
}

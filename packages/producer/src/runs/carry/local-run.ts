import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "@drover/shared/engine";
import type { TransferJob } from "@drover/shared/job";
import { isSuccess, type Outcome } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Backlog, RunLostError } from "@drover/shared/protocol/backlog";
import { type HostBreakers, hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import { stopIfDue } from "@drover/shared/protocol/run-limits";
import type { Run, RunSecrets } from "@drover/shared/run";
import { spentBudget } from "@drover/shared/run-budget";
import { ListingError } from "@drover/shared/storage/listing-error";
import { hostOf, openTree } from "@drover/shared/storage/registry";
import { withCustomerKeys } from "@drover/shared/storage/s3/object/customer-key";
import type { Tree } from "@drover/shared/storage/tree";
import { Queue } from "bullmq";
import { openCheck } from "../../compare/open-check.js";
import { Revalidator } from "../../compare/revalidator.js";
import { RunDispatcher } from "../../dispatch/run-dispatcher.js";
import type { FailureFilter } from "../../enqueue/failure-filter.js";
import { requeueFailed, requeueLeft } from "../../enqueue/requeue.js";
import { type GivenFiles, RunExpansion } from "./expand-run.js";
import { IndexSet } from "./index-set.js";
import { dropKept } from "./piped-list.js";
import type { RunEnd, RunEvents, RunHandle, RunResult } from "./run-handle.js";
import type { StartWorkerPool, WorkerPool } from "./worker-pool.js";

const CANCEL_POLL_MS = 1_000;
const LEDGER_POLL_MS = 2_000;
/** Consecutive looks that find no file in any queue, after which the run counts as stuck. */
const MOST_IDLE_LOOKS = 2;
/** How often a run that is stuck is taken up anew. */
const MOST_RESTARTS = 3;

/** The run has files that have not ended and are in no queue: Redis has lost something. */
class StuckError extends Error {
  override name = "StuckError";
}

export interface LocalRunOptions {
  secrets: RunSecrets;
  startPool: StartWorkerPool;
  /** The run's list if it comes through a pipe; a copy is kept in the state directory as it is read. */
  stdin?: NodeJS.ReadableStream | undefined;
  /** Its files, if they were found before it was submitted. */
  given?: GivenFiles | undefined;
  /** Whether to retry failed files. Default false. */
  retry?: boolean;
  /** Which of them. Default: all. */
  only?: FailureFilter | undefined;
  /** Whether to report the progress of each file. Default false. */
  live?: boolean;
}

/** A run that this process carries itself: expansion, dispatcher and workers around a queue of its own. */
export class LocalRun implements RunHandle {
  readonly breakers: HostBreakers;
  readonly stopping = "stopping: unfinished files stay resumable (once more stops at once)";

  constructor(
    private readonly engine: Engine,
    readonly run: Run,
    private readonly options: LocalRunOptions,
  ) {
    this.breakers = hostBreakersOf(run.spec);
  }

  async follow(events: RunEvents, stop: AbortSignal): Promise<RunResult> {
    const { engine, options, breakers } = this;
    const told = new IndexSet();
    for (let run = this.run, restarts = 0; ; restarts++) {
      const isFirst = restarts === 0;
      const carriage = new LocalCarriage({ engine, run, options, breakers, events, told, isFirst });
      try {
        return await carriage.carry(stop);
      } catch (error) {
        if (!(error instanceof StuckError) || restarts === MOST_RESTARTS) throw error;
        const { sealed } = await engine.ledger.get(run.id);
        if (options.stdin && !sealed) throw error; // what was read of a pipe is not there again
      }
      events.warn("files were in no queue, for Redis has lost something: they are taken up again");
      await engine.ledger.take(await engine.ledger.get(run.id));
      run = await engine.ledger.get(run.id);
    }
  }
}

interface CarriageOptions {
  engine: Engine;
  run: Run;
  options: LocalRunOptions;
  breakers: HostBreakers;
  events: RunEvents;
  /**
   * Indexes of reported files: a worker that lost its lease and the one that took over may both report a
   * file.
   */
  told: IndexSet;
  /** This process has not worked on the run before, so nobody was told of its files. */
  isFirst: boolean;
}

/** One process's work on a run, from the run's current state to its end. */
class LocalCarriage {
  readonly #tree: Tree;
  readonly #backlog: Backlog;
  readonly #queue: Queue;
  readonly #dispatcher: RunDispatcher;
  #pool!: WorkerPool;
  readonly #failure = Promise.withResolvers<never>();
  readonly #stopExpanding = new AbortController();
  /** Number of unsettled files known to this process. */
  #open = 0;
  #quiet = Promise.withResolvers<void>();
  #idleLooks = 0;
  #looking = false;
  /** Nothing is left to do here, and files have not ended. */
  #waitsForLedger = false;
  #cancelled = false;
  /** What the run has carried by its budgets, as far as this process knows. */
  readonly #carried = { files: 0, bytes: 0 };
  /** Whether Redis has been asked about budgets that seem used up: from then on the poll asks. */
  #askedAboutBudgets = false;
  #listing: ListingError | undefined;

  private readonly engine: Engine;
  private readonly run: Run;
  private readonly options: LocalRunOptions;
  private readonly breakers: HostBreakers;
  private readonly events: RunEvents;
  readonly #told: IndexSet;
  readonly #isFirst: boolean;

  constructor({ engine, run, options, breakers, events, told, isFirst }: CarriageOptions) {
    this.#told = told;
    this.engine = engine;
    this.run = run;
    this.options = options;
    this.breakers = breakers;
    this.events = events;
    this.#isFirst = isFirst;
    const { redis, keys } = engine;
    this.#failure.promise.catch(() => {}); // raced in carry()
    this.#tree = openTree(run.spec);
    this.#backlog = new Backlog(redis, keys, PROCESS_NAME);
    this.#queue = this.#openQueue(run.generation);
    this.#dispatcher = new RunDispatcher({
      runId: run.id,
      redis,
      queue: this.#queue,
      backlog: this.#backlog,
      breakers,
      windowFiles: Math.max(run.spec.maxWorkers * 8, 1000),
      endBlocked: (job) => this.#endBlocked(job),
      onError: (error) => this.#failure.reject(error),
    });
  }

  #openQueue(generation: number): Queue {
    const { redis, keys } = this.engine;
    const queue = new Queue(this.#queueName(generation), { connection: redis, prefix: keys.queuePrefix() });
    queue.on("error", () => {}); // the connection reports once that Redis is away
    return queue;
  }

  #queueName(generation: number): string {
    return `${this.engine.keys.queue(this.run.id)}-${generation}`;
  }

  async carry(stop: AbortSignal): Promise<RunResult> {
    const { run, engine } = this;
    const { ledger } = engine;
    await this.#start();
    const poll = setInterval(() => this.#lookForCancel(), CANCEL_POLL_MS);
    const look = setInterval(() => void this.#lookForLost(), LEDGER_POLL_MS);
    try {
      const end = await Promise.race([this.#toItsEnd(), aborted(stop), this.#failure.promise]);
      await this.#stop();
      if (end === "done" || end === "cancelled") {
        await this.#queue.obliterate({ force: true });
        if (run.spec.listIsStdin && run.spec.list !== undefined) dropKept(run.spec.list);
      } else {
        if (end === "incomplete") await this.#queue.obliterate({ force: true });
        await ledger.leave(run.id);
      }
      const { deletionRefused, stoppedBecause } = await ledger.get(run.id);
      const listing = this.#listing ? { listing: this.#listing } : {};
      return { counts: await ledger.counts(run.id), end, deletionRefused, stoppedBecause, ...listing };
    } catch (error) {
      await this.#stop();
      if (!(error instanceof RunLostError)) await ledger.leave(run.id);
      throw error;
    } finally {
      clearInterval(poll);
      clearInterval(look);
      this.#tree.close();
      await this.#queue.close();
    }
  }

  /** Requeues what earlier processes left, then starts the workers and offers them those files. */
  async #start(): Promise<void> {
    const { run, engine, events, breakers, options } = this;
    const left = run.generation > 0 ? await this.#putBackLeftOver() : [];
    const before = await engine.ledger.counts(run.id);
    this.#carried.files = before.copied + before.failed;
    this.#carried.bytes = run.copiedBytes;
    if (this.#isFirst) events.endedBefore(before.settled);
    this.#pool = options.startPool({
      run,
      queue: this.#queueName(run.generation),
      headers: options.secrets.headers,
      customerKeys: options.secrets.customerKeys,
      redis: engine.redis,
      address: engine.address,
      keys: engine.keys,
      breakers,
      live: options.live ?? false,
      events: {
        started: (job, attempt) => events.started(job, attempt),
        receiving: (index, progress) => events.receiving(index, progress),
        waiting: (job) => events.waiting(job),
        retrying: (job, attempt, error, delayMs) => events.retrying(job, attempt, error, delayMs),
        warn: (message) => events.warn(message),
        settled: (outcome) => this.#onCarried(outcome),
        dropped: (job) => this.#onDropped(job),
        failed: (error) => this.#failure.reject(error),
      },
    });
    for (const { chunk, files } of left) {
      if (this.#isFirst) events.queued(files);
      this.#offer(chunk, files);
    }
  }

  async #stop(): Promise<void> {
    this.#stopExpanding.abort();
    this.#dispatcher.stop();
    await this.#pool.stop();
  }

  /** @returns the chunks of the backlog. */
  async #putBackLeftOver(): Promise<{ chunk: string; files: number }[]> {
    const { run, engine } = this;
    const former = this.#openQueue(run.generation - 1);
    await requeueLeft(run, this.#backlog);
    await former.obliterate({ force: true });
    await former.close();
    const { retry, only } = this.options;
    if (retry && this.#isFirst) await requeueFailed(run, engine, this.#backlog, only);
    const left = [];
    for (const chunk of await this.#backlog.chunkIds(run.id))
      left.push({ chunk, files: (await this.#backlog.chunk(run.id, chunk)).length });
    return left;
  }

  /** Offers a chunk of the backlog to the dispatcher. */
  #offer(chunk: string, files: number): void {
    if (this.#open <= 0) this.#quiet = Promise.withResolvers<void>();
    this.#open += files;
    this.#dispatcher.offer(chunk, chunk.slice(chunk.indexOf("|") + 1), files);
    this.#pool.expect(this.#open);
  }

  #onCarried(outcome: Outcome): void {
    const host = hostOf(outcome.source, this.run.spec);
    if (isSuccess(outcome.outcome)) this.breakers.report(host, 0, true);
    this.#dispatcher.settled(host, outcome.index);
    this.#onSettled(outcome);
  }

  #onSettled(outcome: Outcome): void {
    if (this.#told.add(outcome.index)) this.events.settled(outcome); // the first outcome is the right one
    const hasFailed = !isSuccess(outcome.outcome);
    if (this.#isSpentBy(outcome) || (hasFailed && this.run.spec.stopAfterFailures !== undefined))
      this.#lookForCancel();
    this.#leave();
  }

  /** Counts what ended. @returns true once, when a budget seems used up: the ledger, which decides, is to be asked. */
  #isSpentBy({ outcome, bytes }: Outcome): boolean {
    const { budgets } = this.run.spec;
    if (budgets === undefined || this.#askedAboutBudgets) return false;
    if (outcome === "copied" || outcome === "failed") this.#carried.files++;
    if (outcome === "copied") this.#carried.bytes += bytes;
    this.#askedAboutBudgets = spentBudget(budgets, this.#carried) !== undefined;
    return this.#askedAboutBudgets;
  }

  #onDropped(job: TransferJob): void {
    this.events.waiting(job);
    this.#dispatcher.settled(hostOf(job.s, this.run.spec), job.i);
    this.#leave();
  }

  async #endBlocked(job: TransferJob): Promise<void> {
    const outcome = await this.#pool.endBlocked(job);
    if (outcome) this.#onSettled(outcome);
    else this.#leave();
  }

  /** A file is no longer open. */
  #leave(): void {
    if (--this.#open <= 0) this.#quiet.resolve();
  }

  #lookForCancel(): void {
    this.#isCancelled().then(
      (is) => is && this.#cancel(),
      () => {},
    ); // Redis is away: the next poll asks again
  }

  async #isCancelled(): Promise<boolean> {
    const { engine, run } = this;
    const { deadlineMs, stopAfterFailures, budgets } = run.spec;
    const hasLimits = deadlineMs !== undefined || stopAfterFailures !== undefined || budgets !== undefined;
    if (hasLimits && (await stopIfDue(engine, run.id)) !== undefined) return true;
    return await engine.ledger.isCancelled(run.id);
  }

  #cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#stopExpanding.abort();
    this.#pool.cancel();
    this.#dispatcher.drain();
    this.#queue.promoteJobs().catch((error: Error) => this.events.warn(`queue: ${error.message}`));
  }

  async #toItsEnd(): Promise<RunEnd> {
    if (!this.run.sealed) await this.#expand();
    if (this.#listing && !this.#cancelled) {
      await this.#settledSoFar();
      return this.#cancelled ? "cancelled" : "incomplete";
    }
    this.events.sealed();
    await this.#settledAll();
    return this.#cancelled ? "cancelled" : "done";
  }

  async #expand(): Promise<void> {
    const { run, engine, events, breakers, options } = this;
    const { spec } = run;
    const { signal } = this.#stopExpanding;
    const revalidator = new Revalidator(spec, options.secrets.headers, spec.maxWorkers, breakers);
    const { customerKeys } = options.secrets;
    const check = await openCheck(withCustomerKeys(spec, customerKeys), this.#tree, signal, events.warn);
    const expansion = new RunExpansion({
      engine,
      run,
      secrets: options.secrets,
      tree: this.#tree,
      stdin: options.stdin,
      given: options.given,
      revalidator,
      check,
      signal,
      host: {
        onQueued: (batch, filesByHost) => {
          for (const [host, files] of filesByHost) {
            events.queued(files);
            this.#offer(`${batch}|${host}`, files);
          }
        },
        onSettled: (outcome) => {
          events.queued(1);
          events.settled(outcome);
        },
        room: (files) => this.#dispatcher.room(spec.backlogHighWater - files + 1),
        calm: () => this.#calm(),
        warn: (message) => events.warn(message),
      },
    });
    try {
      await expansion.run();
    } catch (error) {
      if (error instanceof RunLostError && this.#cancelled) return;
      if (!(error instanceof ListingError)) throw error;
      this.#listing = error;
    } finally {
      await Promise.all([revalidator.close(), check?.close()]);
    }
  }

  /** Resolves when all files known to this process are settled, or after a moment. */
  async #calm(): Promise<void> {
    const pause = sleep(LEDGER_POLL_MS, undefined, { ref: false });
    if (this.#open > 0) {
      await Promise.race([this.#quiet.promise, pause]);
      return;
    }
    this.#waitsForLedger = true;
    await pause;
    this.#waitsForLedger = false;
  }

  /**
   * Looks whether files that have not ended are in any queue. What Redis knows nothing of any more is settled; where
   * it knows of files that are in no queue, the run is stuck.
   */
  async #lookForLost(): Promise<void> {
    if (this.#looking) return; // Redis is away
    this.#looking = true;
    try {
      const isWaiting = (this.#open > 0 || this.#waitsForLedger) && !this.#dispatcher.busy;
      const isIdle = isWaiting && !Object.values(await this.#queue.getJobCounts()).some((count) => count > 0);
      this.#idleLooks = isIdle ? this.#idleLooks + 1 : 0;
      if (this.#idleLooks <= MOST_IDLE_LOOKS) return;
      this.#idleLooks = 0;
      const { id } = this.run;
      if ((await this.engine.ledger.settleLost(id)) === 0)
        this.#failure.reject(
          new StuckError(`run ${id} has files in no queue: drover resume ${id} goes on with it`),
        );
    } catch (error) {
      this.#failure.reject(error);
    } finally {
      this.#looking = false;
    }
  }

  // The local count is quick; the ledger is authoritative. It decides, and is also polled at intervals.

  /** Waits until the registered files of an unsealed run are settled. */
  async #settledSoFar(): Promise<void> {
    for (;;) {
      const counts = await this.engine.ledger.counts(this.run.id);
      if (counts.settled >= counts.files) return;
      await this.#calm();
    }
  }

  async #settledAll(): Promise<void> {
    for (;;) {
      if (this.#open > 0) await this.#calm();
      const end = await this.engine.ledger.finish(this.run.id);
      if (end === "done") return;
      if (end === "lost") throw RunLostError.takenOver(this.run.id);
      await this.#calm();
    }
  }
}

function aborted(signal: AbortSignal): Promise<"interrupted"> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("interrupted");
    signal.addEventListener("abort", () => resolve("interrupted"), { once: true });
  });
}

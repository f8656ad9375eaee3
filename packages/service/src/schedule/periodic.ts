import { setTimeout as sleep } from "node:timers/promises";
import { summaryOf } from "@drover/producer/runs/summary";
import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import { Queue, Worker } from "bullmq";
import { planSync } from "../bucket/sync.js";
import type { Schedule } from "../config.js";
import type { ServiceContext } from "../context.js";
import { isOver } from "../runs/shown.js";
import { keepRepairs, repairsOf } from "./repairs.js";

/** BullMQ's queue of what the servers do by the clock, and the scheduler's name in it. */
const QUEUE = "schedule";
const SCHEDULER = "periodic-sync";
/** Interval in milliseconds at which a run is looked at. */
const LOOK_MS = 500;

/**
 * Copies the whole bucket by the clock, where it is an interval first at the start: once for all servers of a Redis, however many there are.
 * BullMQ's job scheduler makes the job, and one of the servers takes it.
 */
export class PeriodicSync {
  readonly #queue: Queue;
  readonly #worker: Worker;

  private constructor(private readonly context: ServiceContext) {
    const { engine, log } = context;
    const connection = { connection: engine.redis, prefix: engine.keys.queuePrefix() };
    this.#queue = new Queue(QUEUE, connection);
    this.#worker = new Worker(QUEUE, async () => await this.#sync(), { ...connection, concurrency: 1 });
    const tell = (error: Error) => {
      if (!isRedisAway(error)) log.warn({ error: redactText(error.message) }, "periodic sync");
    };
    this.#queue.on("error", tell);
    this.#worker.on("error", tell);
  }

  /**
   * Starts it, or takes the schedule away where there is no interval. A schedule that is there already stays, unless its
   * times are others.
   */
  static async start(context: ServiceContext): Promise<PeriodicSync> {
    const { schedule, bucket } = context.config;
    const periodic = new PeriodicSync(context);
    const known = await periodic.#queue.getJobScheduler(SCHEDULER);
    if (schedule === undefined || bucket === undefined) {
      if (known) await periodic.#queue.removeJobScheduler(SCHEDULER);
    } else if (!known || !isSame(known, schedule))
      await periodic.#queue.upsertJobScheduler(
        SCHEDULER,
        "everyMs" in schedule
          ? { every: schedule.everyMs }
          : { pattern: schedule.cron, tz: schedule.timeZone },
        { name: SCHEDULER, opts: { removeOnComplete: true, removeOnFail: true } },
      );
    return periodic;
  }

  async #sync(): Promise<void> {
    const { config, keeper, log } = this.context;
    if (config.schedule === undefined || config.bucket === undefined) return;
    try {
      const planned = await planSync("", config);
      planned.spec.label = SCHEDULER;
      const { id } = await keeper.submit(planned, (message) => log.warn(message));
      log.info({ run: id }, "periodic sync begun");
      await this.#report(id);
    } catch (error) {
      log.error({ error: redactText(messageOf(error)) }, "periodic sync failed");
    }
  }

  /** Waits for the end of a run, so that the next one does not overlap it, and tells what it had to repair. */
  async #report(id: string): Promise<void> {
    const { engine, log, stopping } = this.context;
    while (!stopping.aborted) {
      const summary = await summaryOf(engine, id);
      if (isOver(summary.run)) {
        const repairs = await repairsOf(engine, summary);
        await keepRepairs(engine, repairs);
        const lag = repairs.lagMs === undefined ? {} : { convergence_lag_s: repairs.lagMs / 1000 };
        log.info({ run: id, repaired: repairs.files, ...lag }, "periodic sync ended");
        return;
      }
      await sleep(LOOK_MS, undefined, { signal: stopping }).catch(() => {});
    }
  }

  /** When the next one is due (Unix ms), in the past if it is overdue, and the interval in ms; undefined if there is none. */
  async due(): Promise<{ atMs: number; everyMs: number | undefined } | undefined> {
    const known = await this.#queue.getJobScheduler(SCHEDULER);
    return known?.next === undefined ? undefined : { atMs: known.next, everyMs: known.every };
  }

  async stop(): Promise<void> {
    await this.#worker.close();
    await this.#queue.close();
  }
}

/** Whether a scheduler that is there has these times. */
function isSame(known: { every?: number; pattern?: string; tz?: string }, schedule: Schedule): boolean {
  if ("everyMs" in schedule) return known.every === schedule.everyMs;
  return known.pattern === schedule.cron && known.tz === schedule.timeZone;
}

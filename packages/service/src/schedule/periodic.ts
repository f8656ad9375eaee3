import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import { Queue, Worker } from "bullmq";
import type { Schedule } from "../config.js";
import type { ServiceContext } from "../context.js";
import { keepRepairs, type Repairs } from "./repairs.js";
import { PERIODIC, routesOf, syncRoute } from "./route-sync.js";

/** BullMQ's queue of what the servers do by the clock, and the scheduler's name in it. */
const QUEUE = "schedule";
const SCHEDULER = PERIODIC;

/**
 * Keeps the destinations like their buckets by the clock, where it is an interval first at the start: once for all servers of a Redis, however many there are.
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
    const { config } = context;
    const { schedule } = config;
    const periodic = new PeriodicSync(context);
    const known = await periodic.#queue.getJobScheduler(SCHEDULER);
    if (schedule === undefined || routesOf(config).length === 0) {
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
    const { engine, config, log } = this.context;
    if (config.schedule === undefined) return;
    let all: Repairs | undefined;
    for (const route of routesOf(config)) {
      const { bucket, destination } = route;
      try {
        const repairs = await syncRoute(this.context, route);
        if (repairs === undefined) return;
        const { run, copied, removed, lagMs } = repairs;
        const lag = lagMs === undefined ? {} : { convergence_lag_s: lagMs / 1000 };
        log.info(
          { run, bucket, destination, repaired: copied + removed, removed, ...lag },
          "periodic sync ended",
        );
        all = all === undefined ? repairs : together(all, repairs);
      } catch (error) {
        log.error({ bucket, destination, error: redactText(messageOf(error)) }, "periodic sync failed");
      }
    }
    if (all !== undefined) await keepRepairs(engine, all);
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

/** What was to do for two routes, one after the other. */
function together(before: Repairs, after: Repairs): Repairs {
  const lags = [before.lagMs, after.lagMs].filter((lag) => lag !== undefined);
  return {
    run: after.run,
    endedMs: after.endedMs,
    copied: before.copied + after.copied,
    removed: before.removed + after.removed,
    lagMs: lags.length === 0 ? undefined : Math.max(...lags),
    notRemoved: [before.notRemoved, after.notRemoved].filter((why) => why !== "").join("; "),
  };
}

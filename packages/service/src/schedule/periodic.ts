import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import { Queue, Worker } from "bullmq";
import { planSync } from "../bucket/sync.js";
import type { Schedule } from "../config.js";
import type { ServiceContext } from "../context.js";

/** BullMQ's queue of what the servers do by the clock, and the scheduler's name in it. */
const QUEUE = "schedule";
const SCHEDULER = "periodic-sync";

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
    } catch (error) {
      log.error({ error: redactText(messageOf(error)) }, "periodic sync cannot begin");
    }
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

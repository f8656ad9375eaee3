import { messageOf } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { Webhooks } from "@drover/shared/protocol/webhooks";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import type { WebhookTarget } from "@drover/shared/run";
import { type Job, Queue, Worker } from "bullmq";
import type { ServiceContext } from "../context.js";
import { postJson } from "./post.js";
import { signatureOf } from "./signature.js";

/** BullMQ's queue of what is to be delivered. */
const QUEUE = "webhooks";
/** Deliveries that one server tries at once: each takes ten seconds at most. */
const MOST_AT_ONCE = 16;
/** Waits between tries in milliseconds: the first, from which they double, and the longest. */
const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 3_600_000;
/** Another server takes over a delivery of one that died within the sum of these times, in milliseconds. */
const LOCK_MS = 15_000;
const LOOK_FOR_DEAD_MS = 5_000;
/** It ends by time, not by tries, nor by how often the server that tries it dies. */
const NO_LIMIT = 1_000_000;

/** One message, the same at each try. */
interface Message {
  run: string;
  /** How often the run had been taken up again after an end. Default 0. */
  round?: number;
  /** JSON. */
  body: string;
}

/** The name of a message: its run, and which end of it. */
function nameOf({ run, round = 0 }: Message, separator: string): string {
  return round === 0 ? run : `${run}${separator}${round}`;
}

/** The try failed, and another follows. */
class AnotherTryError extends Error {
  override name = "AnotherTryError";
}

/**
 * Delivers what is told of runs that have ended, at least once each: by BullMQ's queue, from which any server takes it. A
 * delivery that fails is tried again, at growing intervals.
 */
export class Deliveries {
  readonly #queue: Queue<Message>;
  readonly #worker: Worker<Message>;
  readonly #webhooks: Webhooks;

  constructor(private readonly context: ServiceContext) {
    const { engine, log } = context;
    this.#webhooks = new Webhooks(engine.redis, engine.keys);
    const connection = { connection: engine.redis, prefix: engine.keys.queuePrefix() };
    this.#queue = new Queue(QUEUE, connection);
    this.#worker = new Worker(QUEUE, async (job) => await this.#deliver(job), {
      ...connection,
      concurrency: MOST_AT_ONCE,
      lockDuration: LOCK_MS,
      stalledInterval: LOOK_FOR_DEAD_MS,
      maxStalledCount: NO_LIMIT,
      settings: { backoffStrategy: waitMs },
    });
    const tell = (error: Error) => {
      if (!isRedisAway(error)) log.warn({ error: redactText(error.message) }, "webhooks");
    };
    this.#queue.on("error", tell);
    this.#worker.on("error", tell);
  }

  /** Schedules a delivery. Nothing happens where it is scheduled already. */
  async schedule(message: Message): Promise<void> {
    await this.#queue.add(QUEUE, message, {
      jobId: nameOf(message, "-"),
      attempts: NO_LIMIT,
      backoff: { type: "growing" },
      removeOnComplete: true,
      removeOnFail: true,
    });
  }

  async #deliver(job: Job<Message>): Promise<void> {
    const { config, log } = this.context;
    const { run, round = 0 } = job.data;
    const standing = await this.#webhooks.get(run);
    // Delivered before, or its run is forgotten or was taken up again: its next end is told of.
    if (standing?.target === undefined || standing.round !== round) return;
    const attempts = standing.attempts + 1;
    const { status, error } = await this.#post(standing.target, job.data);
    failpoint("posted");
    const isDelivered = status !== undefined && status >= 200 && status < 300;
    const lastError = isDelivered ? undefined : (error ?? `answered ${status}`);
    const noted = { round, attempts, lastStatus: status, lastError };
    const about = { run, attempts, url: standing.url, ...(isDelivered ? {} : { error: lastError }) };
    if (isDelivered) {
      await this.#webhooks.note(run, { ...noted, state: "delivered" });
      log.info(about, "webhook delivered");
    } else if (status === 410) {
      await this.#webhooks.note(run, { ...noted, state: "failed" });
      log.warn(about, "webhook is not wanted any more");
    } else if (Date.now() >= job.timestamp + config.webhookRetryMs) {
      await this.#webhooks.note(run, { ...noted, state: "given-up" });
      log.error(about, "webhook given up");
    } else {
      await this.#webhooks.note(run, { ...noted, state: "waiting" });
      log.warn(about, "webhook not delivered");
      throw new AnotherTryError(lastError);
    }
  }

  async #post(
    { url, secret }: WebhookTarget,
    message: Message,
  ): Promise<{ status?: number; error?: string }> {
    const { body } = message;
    const id = `msg_${nameOf(message, "_")}`;
    const timestamp = Math.floor(Date.now() / 1000);
    const headers = {
      "webhook-id": id,
      "webhook-timestamp": String(timestamp),
      ...(secret === undefined ? {} : { "webhook-signature": signatureOf(secret, id, timestamp, body) }),
    };
    try {
      return { status: await postJson(url, body, headers, this.context.guard) };
    } catch (error) {
      return { error: redactText(messageOf(error)) };
    }
  }

  /** Stops once the tries that are under way have ended. */
  async stop(): Promise<void> {
    await this.#worker.close();
    await this.#queue.close();
  }
}

/**
 * How long to wait before the next try, in milliseconds: doubling, up to an hour, of which between half and all is
 * waited, by chance, so that what failed together does not come back together.
 *
 * @param attempts that were made.
 */
export function waitMs(attempts: number): number {
  const longest = Math.min(FIRST_WAIT_MS * 2 ** (attempts - 1), LONGEST_WAIT_MS);
  return Math.round(longest * (0.5 + Math.random() / 2));
}

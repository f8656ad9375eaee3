import { wantedBy } from "@drover/producer/expand/wanted";
import type { Engine } from "@drover/shared/engine";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import type { Logger } from "pino";
import { typeFilters } from "../bucket/sync.js";
import type { ServiceConfig } from "../config.js";
import { DurableWrites } from "../durable-writes.js";
import { RunKeeper } from "../runs/keeper.js";
import { EventDispatcher } from "./dispatcher.js";
import { EventQueue } from "./queue.js";
import { Reception } from "./reception.js";
import { SnsEndpoint } from "./sns-endpoint.js";
import { SqsConsumer } from "./sqs-consumer.js";
import { SqsQueue } from "./sqs-queue.js";

export interface SqsIntakeOptions {
  engine: Engine;
  config: ServiceConfig;
  /** URL of the queue. */
  url: string;
  /** Time in seconds for which a message that is being worked on is hidden from others, again and again. */
  hiddenS: number;
  /** Decides where Amazon SNS may be asked for certificates. */
  guard: AddressGuard;
  log: Logger;
}

/**
 * Takes the notifications of a queue of Amazon SQS, and makes runs of them: beside servers and others like it, one of them
 * all makes the runs.
 *
 * @returns what stops it, once what has begun is ended.
 * @throws SettingsError if there is no such queue, or it may not be read.
 */
export async function startSqsIntake(options: SqsIntakeOptions): Promise<{ stop(): Promise<void> }> {
  const { engine, config, log, hiddenS } = options;
  const source = await SqsQueue.open(options.url, config.s3);
  const durable = await DurableWrites.open(engine);
  const { stateDir, keepRuns } = config;
  const keeper = new RunKeeper({ engine, durable, stateDir, keepRuns, log });
  const queue = new EventQueue(engine, durable);
  const sns = new SnsEndpoint(options.guard);
  const reception = new Reception({
    queue,
    settings: config.events,
    wanted: wantedBy({ patterns: ["*"], filters: typeFilters(config), patternSyntax: "rclone" }),
    get: (url) => sns.get(url),
    log,
  });
  const { routes } = config.events;
  // Whoever may write to the queue is trusted by its policy.
  const sender = { id: "sqs", routes, vouchesForSns: true };
  const keep = (body: Buffer) => reception.receiveQueued(body, sender);
  const consumer = new SqsConsumer({ queue: source, hiddenS, keep, log });
  const dispatcher = new EventDispatcher({ engine, config, keeper, log }, queue);
  const close = async () => {
    durable.close();
    await Promise.all([source.close(), sns.close()]);
  };
  try {
    await consumer.start();
  } catch (error) {
    await close();
    throw error;
  }
  keeper.start();
  dispatcher.start();
  return {
    async stop() {
      await Promise.all([consumer.stop(), dispatcher.stop()]);
      await keeper.stop();
      await close();
    },
  };
}

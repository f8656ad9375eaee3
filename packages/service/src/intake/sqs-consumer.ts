import { setTimeout as sleep } from "node:timers/promises";
import { atBoundedRate } from "@drover/shared/bounded-rate";
import { messageOf, UnavailableError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import type { Logger } from "pino";
import { type QueuedMessage, QueueRefusedError, type SqsQueue } from "./sqs-queue.js";

/** Batches of up to ten messages that are worked on at once; more are not received. */
const MOST_BATCHES = 20;
/** Waits in milliseconds after an error: the first, and the longest. */
const RETRY_MS = 1_000;
const MOST_RETRY_MS = 30_000;
/** Ids of messages that were told to be no notifications, the latest. */
const MOST_TOLD = 10_000;

export interface SqsConsumerOptions {
  queue: SqsQueue;
  /** Time in seconds for which a message that is being worked on is hidden from others, again and again. */
  hiddenS: number;
  /** Keeps the events of a message. @returns once they are durable: why it cannot be understood; "" if it can. */
  keep(body: Buffer): Promise<string>;
  log: Logger;
}

/**
 * Takes the messages of a queue. One is deleted once its events are durable. One that cannot be understood is left to the
 * queue, which delivers it again or puts it among its dead letters.
 */
export class SqsConsumer {
  readonly #stop = new AbortController();
  readonly #working = new Set<Promise<void>>();
  /** Batches whose events cannot be kept for now: nothing more is received meanwhile. */
  #stuck = 0;
  readonly #told = new Set<string>();
  readonly #warn: (message: string) => void;
  #receiving: Promise<void> = Promise.resolve();

  constructor(private readonly options: SqsConsumerOptions) {
    this.#warn = atBoundedRate((message) => options.log.warn(message));
  }

  /**
   * Begins to receive.
   *
   * @returns when the queue has answered, or cannot be reached for now.
   * @throws QueueRefusedError if that answer is a refusal.
   */
  async start(): Promise<void> {
    const answered = Promise.withResolvers<void>();
    this.#receiving = this.#receiveAll(answered);
    await answered.promise;
  }

  /** Receives no more, and ends what has begun, unless its events cannot be kept: they stay in the queue. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#receiving;
    await Promise.all(this.#working);
  }

  async #receiveAll(answered: PromiseWithResolvers<void>): Promise<void> {
    const { queue, hiddenS } = this.options;
    const { signal } = this.#stop;
    let isFirst = true;
    let waitMs = RETRY_MS;
    while (!signal.aborted) {
      if (this.#stuck > 0 || this.#working.size >= MOST_BATCHES) {
        await Promise.race(this.#working);
        continue;
      }
      try {
        // The first answer says whether there is a queue: it is not waited for.
        const messages = await queue.receive(hiddenS, { waits: !isFirst, stop: signal });
        isFirst = false;
        answered.resolve();
        waitMs = RETRY_MS;
        if (messages.length > 0) this.#begin(messages);
      } catch (error) {
        if (signal.aborted) break;
        if (isFirst && error instanceof QueueRefusedError) return answered.reject(error);
        isFirst = false;
        answered.resolve();
        this.#warn(`cannot receive from the queue: ${redactText(messageOf(error))}`);
        await this.#pause(waitMs);
        waitMs = Math.min(waitMs * 2, MOST_RETRY_MS);
      }
    }
    answered.resolve();
  }

  #begin(messages: QueuedMessage[]): void {
    const work = this.#take(messages).finally(() => this.#working.delete(work));
    this.#working.add(work);
  }

  async #take(messages: QueuedMessage[]): Promise<void> {
    failpoint("received");
    const held = new Set(messages);
    const timer = setInterval(() => void this.#hide([...held]), (this.options.hiddenS * 1000) / 3);
    try {
      const kept = await Promise.all(
        messages.map(async (message) => {
          const isDone = await this.#keep(message);
          if (!isDone) held.delete(message); // its time runs out
          return isDone;
        }),
      );
      failpoint("accepted");
      await this.#delete(messages.filter((_, at) => kept[at]));
    } finally {
      clearInterval(timer);
    }
  }

  /** Keeps the events of a message, however long Redis is away. @returns whether the message may be deleted. */
  async #keep({ id, body }: QueuedMessage): Promise<boolean> {
    const bytes = Buffer.from(body);
    for (let tries = 0; ; tries++) {
      try {
        const why = await this.options.keep(bytes);
        if (tries > 0) this.#stuck--;
        if (why !== "") this.#tell(id, why);
        return why === "";
      } catch (error) {
        const mayPass = isRedisAway(error) || error instanceof UnavailableError;
        if (mayPass && tries === 0) this.#stuck++;
        if (!isRedisAway(error)) this.#warn(`events are not kept: ${redactText(messageOf(error))}`);
        if (mayPass) await this.#pause(RETRY_MS);
        if (mayPass && !this.#stop.signal.aborted) continue;
        if (mayPass || tries > 0) this.#stuck--;
        return false;
      }
    }
  }

  /** Logs once that a message is left to the queue. */
  #tell(id: string, why: string): void {
    if (this.#told.has(id)) return;
    const [oldest] = this.#told;
    if (this.#told.size >= MOST_TOLD && oldest !== undefined) this.#told.delete(oldest);
    this.#told.add(id);
    this.#warn(`message ${id} is left to the queue: ${redactText(why)}`);
  }

  async #hide(messages: QueuedMessage[]): Promise<void> {
    if (messages.length === 0) return;
    try {
      const failed = await this.options.queue.hide(messages, this.options.hiddenS);
      if (failed > 0) this.#warn(`${failed} messages cannot be hidden any longer: they come again`);
    } catch (error) {
      this.#warn(`messages cannot be hidden any longer: ${redactText(messageOf(error))}`);
    }
  }

  /** Deletes messages. One that is not comes again, which does no harm. */
  async #delete(messages: QueuedMessage[]): Promise<void> {
    if (messages.length === 0) return;
    try {
      const failed = await this.options.queue.delete(messages);
      if (failed > 0) this.#warn(`${failed} messages are not deleted: they come again`);
    } catch (error) {
      this.#warn(`messages are not deleted, and come again: ${redactText(messageOf(error))}`);
    }
  }

  /** Waits, but not while this stops. */
  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }
}

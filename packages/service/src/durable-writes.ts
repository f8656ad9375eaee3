import type { Engine } from "@drover/shared/engine";
import { connect } from "@drover/shared/redis/connect";
import { pipelined } from "@drover/shared/redis/script";
import type { ChainableCommander, Redis } from "ioredis";

/** Time limit of Redis in milliseconds to say that writes are on its disk: it writes there every second. */
const WAITAOF_MS = 2_500;

interface Write {
  add(pipeline: ChainableCommander): void;
  resolve(isDurable: boolean): void;
  reject(error: unknown): void;
}

/**
 * Writes to Redis that are on its disk when they are answered. What comes while others wait for the disk is written
 * together with the next ones. The connection is its own, since one that waits answers nothing else.
 */
export class DurableWrites {
  #waiting: Write[] = [];
  #isWriting = false;
  /** Whether Redis is set to leave it to the system when anything comes to the disk. */
  #leavesToSystem = false;

  private constructor(private readonly redis: Redis) {}

  static async open({ address }: Engine): Promise<DurableWrites> {
    return new DurableWrites(await connect(address));
  }

  /**
   * Writes.
   *
   * @param add adds the commands, which must be harmless when they are sent twice. All keys are of the fleet.
   * @returns false if Redis does not say in time that they are on its disk. Where it cannot tell (before 7.2, or where
   *   its settings keep nothing on disk) they count as durable.
   */
  async write(add: Write["add"]): Promise<boolean> {
    return await new Promise<boolean>((resolve, reject) => {
      this.#waiting.push({ add, resolve, reject });
      if (!this.#isWriting) void this.#writeAll();
    });
  }

  async #writeAll(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const writes = this.#waiting;
      this.#waiting = [];
      try {
        await pipelined(this.redis, (redis) => {
          const pipeline = redis.pipeline();
          for (const { add } of writes) add(pipeline);
          return pipeline;
        });
        const isDurable = await this.#untilOnDisk();
        for (const { resolve } of writes) resolve(isDurable);
      } catch (error) {
        for (const { reject } of writes) reject(error);
      }
    }
    this.#isWriting = false;
  }

  async #untilOnDisk(): Promise<boolean> {
    if (this.#leavesToSystem) return true;
    const answer = await this.redis.call("WAITAOF", 1, 0, WAITAOF_MS).catch(() => undefined);
    if (!Array.isArray(answer) || Number(answer[0]) >= 1) return true;
    const [, policy] = (await this.redis.config("GET", "appendfsync").catch(() => [])) as string[];
    this.#leavesToSystem = policy === "no";
    return this.#leavesToSystem;
  }

  close(): void {
    this.redis.disconnect();
  }
}

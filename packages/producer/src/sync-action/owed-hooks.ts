import { randomBytes } from "node:crypto";
import type { Redis } from "ioredis";

/** Members per call to Redis. */
const BATCH = 1_000;

/**
 * What is still to be done after a sync of a pair, kept in Redis until it has worked: a process that dies after it has
 * changed files leaves it to the next sync. Members of the set are `KIND TOKEN NAME`, with a token of each sync.
 */
export class OwedHooks {
  readonly #token = randomBytes(9).toString("base64url");
  /** Members that this sync sees to: those that earlier syncs left, and its own. */
  readonly #members = new Set<string>();

  /**
   * @param key of the pair's set.
   * @param kind of the hook, a single character.
   */
  constructor(
    private readonly redis: Redis,
    private readonly key: string,
    private readonly kind: string,
  ) {}

  /** Takes over what earlier syncs left. To be called while the pair's lease is held: they have ended, or died. */
  async takeOver(): Promise<void> {
    let cursor = "0";
    do {
      const [next, members] = await this.redis.sscan(
        this.key,
        cursor,
        "MATCH",
        `${this.kind} *`,
        "COUNT",
        BATCH,
      );
      cursor = next;
      for (const member of members) this.#members.add(member);
    } while (cursor !== "0");
  }

  /** Notes what will be owed, before anything is changed. */
  async owe(names: AsyncIterable<string>): Promise<void> {
    let batch: string[] = [];
    const flush = async () => {
      if (batch.length > 0) await this.redis.sadd(this.key, ...batch);
      batch = [];
    };
    for await (const name of names) {
      const member = `${this.kind} ${this.#token} ${name}`;
      this.#members.add(member);
      if (batch.push(member) >= BATCH) await flush();
    }
    await flush();
  }

  /** Names that are owed. */
  get names(): Set<string> {
    return new Set([...this.#members].map((member) => member.split(" ").slice(2).join(" ")));
  }

  /** Forgets what this sync owed, since it changed nothing. */
  async dropOwn(): Promise<void> {
    await this.#remove(
      [...this.#members].filter((member) => member.startsWith(`${this.kind} ${this.#token} `)),
    );
  }

  /** Forgets all that is owed: it has worked. */
  async paid(): Promise<void> {
    await this.#remove([...this.#members]);
  }

  async #remove(members: string[]): Promise<void> {
    for (let from = 0; from < members.length; from += BATCH)
      await this.redis.srem(this.key, ...members.slice(from, from + BATCH));
    for (const member of members) this.#members.delete(member);
  }
}

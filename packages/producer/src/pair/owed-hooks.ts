import { randomBytes } from "node:crypto";
import type { PairRecord } from "@drover/shared/pair/store";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Redis } from "ioredis";

export type Hook = NonNullable<PairRecord["hook"]>;
/** How members of the set begin. */
const KINDS: Record<Hook, string> = { templates: "c", settings: "r" };

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

  readonly #key: string;
  readonly #kind: string;

  constructor(
    private readonly redis: Redis,
    keys: Keys,
    pairId: string,
    readonly hook: Hook,
  ) {
    this.#key = keys.pair(pairId, "owed");
    this.#kind = KINDS[hook];
  }

  /** Takes over what earlier syncs left. To be called while the pair's lease is held: they have ended, or died. */
  async takeOver(): Promise<void> {
    let cursor = "0";
    do {
      const [next, members] = await this.redis.sscan(
        this.#key,
        cursor,
        "MATCH",
        `${this.#kind} *`,
        "COUNT",
        BATCH,
      );
      cursor = next;
      for (const member of members) this.#members.add(member);
    } while (cursor !== "0");
  }

  /** Notes what will be owed, before anything is changed: the names of templates, or that settings were changed at all. */
  async owe(steps: AsyncIterable<{ name: string }>): Promise<void> {
    let batch: string[] = [];
    const flush = async () => {
      if (batch.length > 0) await this.redis.sadd(this.#key, ...batch);
      batch = [];
    };
    for await (const { name } of steps) {
      const member = `${this.#kind} ${this.#token} ${this.hook === "templates" ? name : "reload"}`;
      if (this.#members.has(member)) continue;
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
      [...this.#members].filter((member) => member.startsWith(`${this.#kind} ${this.#token} `)),
    );
  }

  /** Forgets all that is owed: it has worked. */
  async paid(): Promise<void> {
    await this.#remove([...this.#members]);
  }

  async #remove(members: string[]): Promise<void> {
    for (let from = 0; from < members.length; from += BATCH)
      await this.redis.srem(this.#key, ...members.slice(from, from + BATCH));
    for (const member of members) this.#members.delete(member);
  }
}

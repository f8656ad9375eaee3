import { createHash, randomBytes } from "node:crypto";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Redis } from "ioredis";
import { z } from "zod";

/** A session that nobody uses ends after this time, in milliseconds. */
export const SESSION_IDLE_MS = 12 * 3_600_000;
/** Every session ends after this time, in milliseconds. */
export const SESSION_MOST_MS = 7 * 86_400_000;
/** Its end is put off no more often than this, in milliseconds. */
const PUT_OFF_EVERY_MS = 60_000;
const ID_BYTES = 32;

const sessionSchema = z.object({
  /** Id of the token that opened it. */
  token: z.string(),
  /** SHA-256 of that token, hexadecimal. */
  sha256: z.string(),
  createdMs: z.number(),
});
/** A login of a browser. What it may do is what its token may do at that time. */
export type Session = z.infer<typeof sessionSchema>;

/** The logins of browsers, in Redis: under hashes of their ids, which only the browsers have. */
export class SessionStore {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /**
   * Opens a session.
   *
   * @param sha256 of the token.
   * @returns its id, which is nowhere kept.
   */
  async open(token: string, sha256: Buffer): Promise<string> {
    const id = randomBytes(ID_BYTES).toString("base64url");
    const session: Session = { token, sha256: sha256.toString("hex"), createdMs: Date.now() };
    await this.redis.set(this.#key(id), JSON.stringify(session), "PX", SESSION_IDLE_MS);
    return id;
  }

  /** Finds a session and puts its end off; undefined for one that has ended. */
  async find(id: string): Promise<Session | undefined> {
    const key = this.#key(id);
    const [text, leftMs] = await Promise.all([this.redis.get(key), this.redis.pttl(key)]);
    if (text === null) return undefined;
    const session = sessionSchema.parse(JSON.parse(text));
    const mostMs = Math.min(SESSION_IDLE_MS, session.createdMs + SESSION_MOST_MS - Date.now());
    if (mostMs <= 0) {
      await this.close(id);
      return undefined;
    }
    if (leftMs < mostMs - PUT_OFF_EVERY_MS) await this.redis.pexpire(key, mostMs);
    return session;
  }

  async close(id: string): Promise<void> {
    await this.redis.del(this.#key(id));
  }

  #key(id: string): string {
    return this.keys.session(createHash("sha256").update(id).digest("hex"));
  }
}

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { SettingsError } from "@drover/shared/errors";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Redis } from "ioredis";
import { z } from "zod";
import type { Caller, Scope } from "./scopes.js";

/** When a token was last used is written no more often than this, in milliseconds. */
const USED_EVERY_MS = 60_000;
const PREFIX = "drv";

const storedSchema = z.object({
  name: z.string(),
  scopes: z.array(z.enum(["read", "enqueue", "operate", "notify"])),
  /** SHA-256 of the token, hexadecimal. */
  sha256: z.string(),
  createdMs: z.number(),
  expiresMs: z.number().optional(),
});

/** A token as it is listed: never the token itself. */
export interface Token {
  id: string;
  name: string;
  scopes: Scope[];
  createdMs: number;
  /** When it ends (Unix ms); undefined for never. */
  expiresMs: number | undefined;
  /** When it was last used (Unix ms), within a minute; undefined for never. */
  usedMs: number | undefined;
}

/** The tokens that open the service, in Redis, as hashes. */
export class TokenStore {
  readonly #usedMs = new Map<string, number>();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** Whether there is any token, expired ones too. */
  async exist(): Promise<boolean> {
    return (await this.redis.exists(this.keys.tokens())) === 1;
  }

  /**
   * Makes a token.
   *
   * @param lifeMs after which it ends. Default: never.
   * @returns the token itself, which is nowhere kept, and its id.
   */
  async create(name: string, scopes: Scope[], lifeMs?: number): Promise<{ id: string; token: string }> {
    if (scopes.length === 0) throw new SettingsError("a token needs a scope");
    const id = randomBytes(6).toString("hex");
    const token = `${PREFIX}_${id}_${randomBytes(24).toString("base64url")}`;
    const createdMs = Date.now();
    const stored: z.infer<typeof storedSchema> = {
      name,
      scopes,
      sha256: hashOf(token).toString("hex"),
      createdMs,
      ...(lifeMs === undefined ? {} : { expiresMs: createdMs + lifeMs }),
    };
    await this.redis.hset(this.keys.tokens(), id, JSON.stringify(stored));
    return { id, token };
  }

  /** All tokens, the oldest first. */
  async list(): Promise<Token[]> {
    const [all, used] = await Promise.all([
      this.redis.hgetall(this.keys.tokens()),
      this.redis.hgetall(this.keys.tokensUsed()),
    ]);
    return Object.entries(all)
      .map(([id, text]) => {
        const { name, scopes, createdMs, expiresMs } = storedSchema.parse(JSON.parse(text));
        const usedMs = used[id] === undefined ? undefined : Number(used[id]);
        return { id, name, scopes, createdMs, expiresMs, usedMs };
      })
      .sort((one, other) => one.createdMs - other.createdMs);
  }

  /** Ends a token at once. @throws SettingsError if there is no such token. */
  async revoke(id: string): Promise<void> {
    const [removed] = await Promise.all([
      this.redis.hdel(this.keys.tokens(), id),
      this.redis.hdel(this.keys.tokensUsed(), id),
    ]);
    if (removed !== 1) throw new SettingsError(`no such token: ${id} (drover token list lists them)`);
  }

  /** Whose token it is; undefined for one that is not known or has expired. */
  async verify(given: string): Promise<Caller | undefined> {
    const [prefix, id = ""] = given.split("_");
    if (prefix !== PREFIX || !/^[0-9a-f]{12}$/.test(id)) return undefined;
    return await this.callerOf(id, hashOf(given));
  }

  /**
   * Whose token it is that somebody has shown before.
   *
   * @param sha256 of the token.
   * @returns undefined for one that is not known any more or has expired.
   */
  async callerOf(id: string, sha256: Buffer): Promise<Caller | undefined> {
    const text = await this.redis.hget(this.keys.tokens(), id);
    if (text === null) return undefined;
    const stored = storedSchema.parse(JSON.parse(text));
    const wanted = Buffer.from(stored.sha256, "hex");
    if (sha256.length !== wanted.length || !timingSafeEqual(sha256, wanted)) return undefined;
    const nowMs = Date.now();
    if (stored.expiresMs !== undefined && stored.expiresMs <= nowMs) return undefined;
    if (nowMs >= (this.#usedMs.get(id) ?? 0) + USED_EVERY_MS) {
      this.#usedMs.set(id, nowMs);
      await this.redis.hset(this.keys.tokensUsed(), id, nowMs);
    }
    return { id, scopes: stored.scopes };
  }
}

/** The SHA-256 of a token. */
export function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

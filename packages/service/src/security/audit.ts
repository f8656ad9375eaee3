import type { Keys } from "@drover/shared/protocol/keys";
import type { Redis } from "ioredis";
import { z } from "zod";

/** Entries that are kept, the newest. */
const MOST_ENTRIES = 100_000;
/** Name of the only field of an entry in the stream. */
const FIELD = "e";

const entrySchema = z.object({
  /** Id of the token, or what a caller without one is called. */
  who: z.string(),
  /** The operation: method and path as in the API's document, or the command. */
  what: z.string(),
  /** What it was done to, without secrets: a path, or the id of a token. */
  on: z.string(),
  /** As in the log; undefined for a command. */
  requestId: z.string().optional(),
  /** Of the answer; undefined for a command. */
  status: z.number().optional(),
  /** How many things it changed. */
  changed: z.number(),
});
/** One change, or the try of one. */
export type AuditEntry = z.infer<typeof entrySchema>;

/** An entry as it is kept. */
export interface KeptEntry extends AuditEntry {
  id: string;
  /** Unix ms, by the clock of Redis. */
  atMs: number;
}

/** Who changed what: a stream in Redis, of which the newest 100,000 entries or somewhat more are kept. */
export class AuditLog {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** @returns the id of the entry. */
  async record(entry: AuditEntry): Promise<string> {
    const text = JSON.stringify(entry);
    return (await this.redis.xadd(
      this.keys.audit(),
      "MAXLEN",
      "~",
      MOST_ENTRIES,
      "*",
      FIELD,
      text,
    )) as string;
  }

  /** An entry; undefined for one that is not kept. */
  async find(id: string): Promise<KeptEntry | undefined> {
    const entries = await this.redis.xrange(this.keys.audit(), id, id);
    return entries.map(keptOf)[0];
  }

  /**
   * The newest entries, newest first.
   *
   * @param before id of an entry: those older than it. Default: all.
   */
  async list(most: number, before?: string): Promise<KeptEntry[]> {
    const from = before === undefined ? "+" : `(${before}`;
    const entries = await this.redis.xrevrange(this.keys.audit(), from, "-", "COUNT", most);
    return entries.map(keptOf);
  }
}

function keptOf([id, [, text = ""]]: [string, string[]]): KeptEntry {
  return { ...entrySchema.parse(JSON.parse(text)), id, atMs: Number.parseInt(id, 10) };
}

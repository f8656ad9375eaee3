import type { Redis } from "ioredis";
import { bucketOf, CATALOG_BUCKETS, type Keys } from "../protocol/keys.js";
import { Batcher } from "../redis/batcher.js";
import { pipelined, resent } from "../redis/script.js";
import type { S3ObjectOptions } from "../storage/s3/object/object-options.js";
import { type Ancestor, decodeAncestor, encodeAncestor } from "./ancestor.js";
import type { ConflictReason, PairTerms, Side } from "./decide.js";
import type { FileLook } from "./side.js";

/** Entries per call to Redis. */
const BATCH = 1_000;
/** Hashes per call to Redis. */
const BUCKETS_AT_ONCE = 64;

/** A pair as it is recorded. */
export interface PairRecord {
  id: string;
  /** Absolute path. */
  local: string;
  /** `s3://bucket/prefix`, or an absolute path. */
  remote: string;
  /** Endpoint of the service that `remote` is at; "" for a directory. */
  endpoint: string;
  createdMs: number;
  /** Number of syncs that changed something. Both sides' markers have it too. */
  generation: number;
  /** The generation of each side's marker: that of the last sync that could write to that side. */
  marked?: Partial<Record<Side, number>>;
  /** By what it was synced last. */
  terms?: PairTerms;
  /** What the last sync asked of the objects that it wrote: what is done to the pair later asks for the same. */
  s3Objects?: S3ObjectOptions | undefined;
  /** Whether names of conflict copies end in what was added, since a sync wanted that. */
  suffixed?: true;
  /** What is owed to the program that reads the local side, whoever changes it: its templates or its settings. */
  hook?: "templates" | "settings";
  /** Where what was replaced is kept, as far as somebody has said: what is done to the pair later keeps it there too. */
  backupDirs?: Partial<Record<Side, string>>;
  /** Its last run, which may have broken off. */
  lastRun?: string;
  /** When that ended (Unix ms); absent while it has not. */
  lastEndedMs?: number;
  /** Whether files of it failed: some of them may have been written all the same. */
  lastFailed?: true;
}

/** A version that is one side of a conflict. */
export interface ConflictVersion extends Pick<FileLook, "stamp" | "sizeBytes" | "mtimeMs"> {
  /** Hexadecimal, where it is known. */
  sha256?: string;
}

/** A conflict that a person resolves. */
export interface PairConflict {
  path: string;
  reason: ConflictReason;
  /** Absent for a side that has deleted it. */
  local?: ConflictVersion;
  remote?: ConflictVersion;
  listedMs: number;
}

/** What a run did, or was about to do, with one path of one side: enough to take it back. */
export interface UndoEntry {
  /** Relative to the sides. */
  name: string;
  /** The side that is written. */
  side: Side;
  /** SHA-256 of what is there then, hexadecimal; "" where it is deleted. */
  sha256: string;
  /** The encoded ancestor before, in base64; "" for none. */
  before: string;
  /** Stamp of the version that was replaced or deleted; "" for none. */
  former: string;
  /** Where that version is kept; "" if it is not. */
  backup: string;
  /** Its id, where it is kept by its own bucket, which keeps versions. */
  version?: string;
  /** 1 for a conflict copy, which is no version that both sides held. */
  copy?: 1;
  /** Where the run has kept other versions of the path: more than one of its attempts has replaced something. */
  more?: string[];
}

interface Intent {
  runId: string;
  entry: UndoEntry;
}

/** What Redis knows of one pair. */
export class PairStore {
  readonly #intents = new Batcher<Intent, undefined>("note-pair", (intents) => this.#noteAll(intents));

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    readonly id: string,
  ) {}

  /** Every ancestor, in pages and in no order. */
  async *ancestors(): AsyncGenerator<[name: string, ancestor: Ancestor][]> {
    for (let from = 0; from < CATALOG_BUCKETS; from += BUCKETS_AT_ONCE) {
      const all = Array.from({ length: BUCKETS_AT_ONCE }, (_, at) => this.keys.catalog(this.id, from + at));
      const lengths = await pipelined(this.redis, () => {
        const pipeline = this.redis.pipeline();
        for (const key of all) pipeline.hlen(key);
        return pipeline;
      });
      const filled = all.filter((_, at) => (lengths[at] as number) > 0);
      const pages = await Promise.all(filled.map((key) => this.#page(key)));
      for (const page of pages) if (page.length > 0) yield page;
    }
  }

  async #page(key: string): Promise<[string, Ancestor][]> {
    const found: [string, Ancestor][] = [];
    let cursor = "0";
    do {
      const [next, page] = await resent(this.redis, () =>
        this.redis.hscanBuffer(key, cursor, "COUNT", BATCH),
      );
      cursor = String(next);
      for (let at = 0; at + 1 < page.length; at += 2) {
        const ancestor = decodeAncestor(page[at + 1] as Buffer);
        if (ancestor) found.push([(page[at] as Buffer).toString(), ancestor]);
      }
    } while (cursor !== "0");
    return found;
  }

  /** Ancestors of some paths, in their order. */
  async ancestorsOf(names: readonly string[]): Promise<(Ancestor | undefined)[]> {
    const found = await pipelined(this.redis, () => {
      const pipeline = this.redis.pipeline();
      for (const name of names) pipeline.hgetBuffer(this.#ancestorsWith(name), name);
      return pipeline;
    });
    return found.map((bytes) => (bytes === null ? undefined : decodeAncestor(bytes as Buffer)));
  }

  /** Sets the ancestor of a path that has none. */
  async setNewAncestor(name: string, ancestor: Ancestor): Promise<void> {
    await this.redis.hsetnx(this.#ancestorsWith(name), name, encodeAncestor(ancestor));
  }

  #ancestorsWith(name: string): string {
    return this.keys.catalog(this.id, bucketOf(name, CATALOG_BUCKETS));
  }

  /** Sets or, for undefined, drops ancestors of paths that no worker carries now. */
  async setAncestors(entries: readonly [name: string, ancestor: Ancestor | undefined][]): Promise<void> {
    for (let from = 0; from < entries.length; from += BATCH) {
      await pipelined(this.redis, () => {
        const pipeline = this.redis.pipeline();
        for (const [name, ancestor] of entries.slice(from, from + BATCH)) {
          const key = this.#ancestorsWith(name);
          if (ancestor) pipeline.hset(key, name, encodeAncestor(ancestor));
          else pipeline.hdel(key, name);
        }
        return pipeline;
      });
    }
  }

  async record(): Promise<PairRecord | undefined> {
    const found = await this.redis.hget(this.keys.pairs(), this.id);
    return found === null ? undefined : (JSON.parse(found) as PairRecord);
  }

  async setRecord(record: PairRecord): Promise<void> {
    await this.redis.hset(this.keys.pairs(), this.id, JSON.stringify(record));
  }

  /** Conflicts that wait for a person, sorted by path. */
  async conflicts(): Promise<PairConflict[]> {
    const all = Object.values(await this.redis.hgetall(this.keys.pair(this.id, "conflicts")));
    return all.map((each) => JSON.parse(each) as PairConflict).sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async listConflict(conflict: PairConflict): Promise<void> {
    await this.redis.hset(this.keys.pair(this.id, "conflicts"), conflict.path, JSON.stringify(conflict));
  }

  /** Forgets conflicts. */
  async dropConflicts(paths: string[]): Promise<void> {
    if (paths.length > 0) await this.redis.hdel(this.keys.pair(this.id, "conflicts"), ...paths);
  }

  /** Notes what is about to be written, before it is. Many files at once share a call. */
  intend(runId: string, entry: UndoEntry): Promise<void> {
    return this.#intents.ask({ runId, entry });
  }

  async #noteAll(intents: Intent[]): Promise<undefined[]> {
    const byRun = Map.groupBy(intents, ({ runId }) => runId);
    for (const [runId, ofRun] of byRun) {
      const fields = ofRun.flatMap(({ entry }) => [`${entry.side}/${entry.name}`, JSON.stringify(entry)]);
      await this.redis.hset(this.#undo(runId), ...fields);
    }
    return intents.map(() => undefined);
  }

  /** What a run has noted last of one path of a side; undefined for nothing. */
  async intended(runId: string, side: Side, name: string): Promise<UndoEntry | undefined> {
    const found = await resent(this.redis, () => this.redis.hget(this.#undo(runId), `${side}/${name}`));
    return found === null ? undefined : (JSON.parse(found) as UndoEntry);
  }

  /** Undo entries of a run, in pages and in no order. */
  async *undo(runId: string): AsyncGenerator<UndoEntry[]> {
    let cursor = "0";
    do {
      const [next, page] = await this.redis.hscan(this.#undo(runId), cursor, "COUNT", BATCH);
      cursor = next;
      const found = page.filter((_, at) => at % 2 === 1).map((each) => JSON.parse(each) as UndoEntry);
      if (found.length > 0) yield found;
    } while (cursor !== "0");
  }

  /** Runs that can be taken back, newest first, with when they began (Unix ms). */
  async undoable(): Promise<{ runId: string; startedMs: number }[]> {
    const found = await this.redis.zrange(
      this.keys.pair(this.id, "undos"),
      "+inf",
      "-inf",
      "BYSCORE",
      "REV",
      "WITHSCORES",
    );
    const runs = [];
    for (let at = 0; at + 1 < found.length; at += 2)
      runs.push({ runId: found[at] as string, startedMs: Number(found[at + 1]) });
    return runs;
  }

  /** Notes that a run begins whose steps can be taken back. */
  async beginUndo(runId: string): Promise<void> {
    await this.redis.zadd(this.keys.pair(this.id, "undos"), Date.now(), runId);
  }

  /** Forgets what a run did. */
  async dropUndo(runId: string): Promise<void> {
    await this.redis
      .pipeline()
      .unlink(this.#undo(runId))
      .zrem(this.keys.pair(this.id, "undos"), runId)
      .exec();
  }

  #undo(runId: string): string {
    return this.keys.pair(this.id, `undo:${runId}`);
  }

  /** Forgets the pair with all that is known of it. */
  async forget(): Promise<void> {
    for (const { runId } of await this.undoable()) await this.dropUndo(runId);
    const pipeline = this.redis.pipeline();
    for (let bucket = 0; bucket < CATALOG_BUCKETS; bucket++)
      pipeline.unlink(this.keys.catalog(this.id, bucket));
    for (const part of ["conflicts", "undos", "owed", "lease"])
      pipeline.unlink(this.keys.pair(this.id, part));
    pipeline.hdel(this.keys.pairs(), this.id);
    await pipeline.exec();
  }
}

/** All pairs, by local root. */
export async function allPairs(redis: Redis, keys: Keys): Promise<PairRecord[]> {
  const all = Object.values(await redis.hgetall(keys.pairs())).map((each) => JSON.parse(each) as PairRecord);
  return all.sort((a, b) => (a.local < b.local ? -1 : 1));
}

import type { Redis } from "ioredis";
import { pipelined, resent } from "../redis/script.js";
import { type CatalogEntry, decodeCatalog, encodeCatalog } from "./catalog-entry.js";
import { bucketOf, CATALOG_BUCKETS, type Keys } from "./keys.js";
import { lookUpCatalogScript } from "./lua/look-up-catalog.lua.js";

/** A destination tree that the catalog knows. */
export interface CatalogTree {
  id: string;
  /** Absolute path, or `s3://bucket/prefix`. */
  root: string;
}

/** An entry of the catalog, and where it belongs. */
export interface NamedEntry {
  /** Relative to the tree's root. */
  name: string;
  entry: CatalogEntry;
}

/** How large the catalog of a tree is. */
export interface CatalogSize {
  entries: number;
  /** Sum of the files' sizes. */
  fileBytes: number;
  /** What Redis needs for it, as MEMORY USAGE says. */
  memoryBytes: number;
}

/** Files per call to Redis. */
const BATCH = 1_000;
/** Hashes per call to Redis. */
const BUCKETS_AT_ONCE = 64;

/** The hash that holds the entry of a file. */
export function catalogKey(keys: Keys, tree: string, name: string): string {
  return keys.catalog(tree, bucketOf(name, CATALOG_BUCKETS));
}

/**
 * The catalog in Redis: per destination tree and file the last committed version, spread over {@link CATALOG_BUCKETS}
 * hashes. Entries are written by the settle script (lua/settle.lua.ts) under the fence of the file's lease. This
 * class reads them, and changes them where no file is being copied.
 */
export class Catalog {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** Entries of many files of a tree, in the order of the names: one call. */
  async lookUp(tree: string, names: string[]): Promise<(CatalogEntry | undefined)[]> {
    if (names.length === 0) return [];
    const found = await resent(this.redis, () =>
      lookUpCatalogScript.runForBytes(
        this.redis,
        names.map((name) => catalogKey(this.keys, tree, name)),
        names,
      ),
    );
    return (found as (Buffer | null)[]).map((value) => (value ? decodeCatalog(value) : undefined));
  }

  /** Records where a tree is, so that it can be found again. */
  async register(tree: CatalogTree): Promise<void> {
    await this.redis.hset(this.keys.catalogTrees(), tree.id, tree.root);
  }

  /** Every tree that is known, sorted by root. */
  async trees(): Promise<CatalogTree[]> {
    const all = await this.redis.hgetall(this.keys.catalogTrees());
    return Object.entries(all)
      .map(([id, root]) => ({ id, root }))
      .sort((a, b) => (a.root < b.root ? -1 : a.root > b.root ? 1 : a.id < b.id ? -1 : 1));
  }

  /**
   * Every entry of a tree, in pages and in no order. It comes at least once; one that is written meanwhile as it was
   * or as it is.
   */
  async *entries(tree: string): AsyncGenerator<NamedEntry[]> {
    for (const keys of this.#buckets(tree)) {
      for (const key of await this.#filled(keys)) {
        let cursor = "0";
        do {
          const [next, page] = await resent(this.redis, () =>
            this.redis.hscanBuffer(key, cursor, "COUNT", BATCH),
          );
          cursor = String(next);
          const named: NamedEntry[] = [];
          for (let at = 0; at + 1 < page.length; at += 2) {
            const entry = decodeCatalog(page[at + 1] as Buffer);
            if (entry) named.push({ name: (page[at] as Buffer).toString(), entry });
          }
          if (named.length > 0) yield named;
        } while (cursor !== "0");
      }
    }
  }

  /**
   * Writes entries of files that have none. What is there already stays: whoever settled the file knew better.
   *
   * @returns how many were written.
   */
  async addMissing(tree: string, entries: NamedEntry[]): Promise<number> {
    let added = 0;
    for (let from = 0; from < entries.length; from += BATCH) {
      const answers = await pipelined(this.redis, () => {
        const pipeline = this.redis.pipeline();
        for (const { name, entry } of entries.slice(from, from + BATCH))
          pipeline.hsetnx(catalogKey(this.keys, tree, name), name, encodeCatalog(entry));
        return pipeline;
      });
      added += answers.filter((each) => each === 1).length;
    }
    return added;
  }

  /**
   * Forgets a tree with all its entries.
   *
   * @returns how many entries there were.
   */
  async drop(tree: string): Promise<number> {
    let entries = 0;
    for (const keys of this.#buckets(tree)) {
      const filled = await this.#filled(keys);
      const lengths = await pipelined(this.redis, () => {
        const pipeline = this.redis.pipeline();
        for (const key of filled) pipeline.hlen(key).unlink(key);
        return pipeline;
      });
      for (let at = 0; at < lengths.length; at += 2) entries += lengths[at] as number;
    }
    await this.redis.hdel(this.keys.catalogTrees(), tree);
    return entries;
  }

  /** How many files the catalog of a tree has. */
  async count(tree: string): Promise<number> {
    let entries = 0;
    for (const keys of this.#buckets(tree)) {
      const lengths = await pipelined(this.redis, () => {
        const pipeline = this.redis.pipeline();
        for (const key of keys) pipeline.hlen(key);
        return pipeline;
      });
      for (const length of lengths) entries += length as number;
    }
    return entries;
  }

  /** Measures the catalog of a tree, for which it reads all of it. */
  async size(tree: string): Promise<CatalogSize> {
    const size: CatalogSize = { entries: 0, fileBytes: 0, memoryBytes: 0 };
    for (const keys of this.#buckets(tree)) {
      const answers = await pipelined(this.redis, () => {
        const pipeline = this.redis.pipeline();
        for (const key of keys) pipeline.hlen(key).call("MEMORY", "USAGE", key);
        return pipeline;
      });
      answers.forEach((answer, at) => {
        if (at % 2 === 0) size.entries += answer as number;
        else size.memoryBytes += (answer as number | null) ?? 0;
      });
    }
    if (size.entries > 0) {
      for await (const page of this.entries(tree))
        for (const { entry } of page) size.fileBytes += entry.sizeBytes;
    }
    return size;
  }

  *#buckets(tree: string): Generator<string[]> {
    for (let from = 0; from < CATALOG_BUCKETS; from += BUCKETS_AT_ONCE)
      yield Array.from({ length: BUCKETS_AT_ONCE }, (_, at) => this.keys.catalog(tree, from + at));
  }

  /** Those of the hashes that exist. */
  async #filled(keys: string[]): Promise<string[]> {
    const there = await pipelined(this.redis, () => {
      const pipeline = this.redis.pipeline();
      for (const key of keys) pipeline.exists(key);
      return pipeline;
    });
    return keys.filter((_, at) => there[at] === 1);
  }
}

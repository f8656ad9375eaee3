import type { Redis } from "ioredis";
import { bucketOf, CATALOG_BUCKETS, type Keys } from "./redis/keys.js";
import { pipelined } from "./redis/script.js";

/** The last committed version of one file of a destination tree. */
export interface CatalogEntry {
  /** Hash of the source it came from. */
  source: string;
  /** Version at the source: for HTTP its validators, for a local file its size, times and inode. */
  version: string;
  /** SHA-256 of the bytes, hexadecimal. */
  sha256: string;
  /** What the destination's stat said right after the commit; see {@link statStamp}. */
  stamp: string;
  sizeBytes: number;
}

/** `size:mtime in ns:inode` of a file: changes when somebody else touches it. */
export function statStamp(stat: { size: bigint; mtimeNs: bigint; ino: bigint }): string {
  return `${stat.size}:${stat.mtimeNs}:${stat.ino}`;
}

export function encodeCatalog(entry: CatalogEntry): string {
  return JSON.stringify([entry.source, entry.version, entry.sha256, entry.stamp, entry.sizeBytes]);
}

export function decodeCatalog(text: string): CatalogEntry | undefined {
  if (text === "") return undefined;
  const [source, version, sha256, stamp, sizeBytes] = JSON.parse(text) as [
    string,
    string,
    string,
    string,
    number,
  ];
  return { source, version, sha256, stamp, sizeBytes };
}

/** Looks up many files of a tree at once: one pipelined call. `lease` is the hash of the destination. */
export async function lookUp(
  redis: Redis,
  keys: Keys,
  tree: string,
  files: { lease: string; name: string }[],
): Promise<(CatalogEntry | undefined)[]> {
  const answers = await pipelined(redis, () => {
    const pipeline = redis.pipeline();
    for (const file of files)
      pipeline.hget(keys.catalog(tree, bucketOf(file.lease, CATALOG_BUCKETS)), file.name);
    return pipeline;
  });
  return answers.map((value) => decodeCatalog((value as string | null) ?? ""));
}

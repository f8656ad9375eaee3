import type { Redis } from "ioredis";

/** How Redis stands by its data. */
export interface RedisMemory {
  usedBytes: number;
  /** 0 for no limit. */
  limitBytes: number;
  /** Whether it throws keys away when its memory is full. */
  evicts: boolean;
  /** Whether it could not write its data to its disk the last time. */
  persistenceFails: boolean;
}

/** Asks Redis for what INFO says of memory and persistence. On a Cluster, one node answers. */
export async function memoryOf(redis: Redis): Promise<RedisMemory> {
  const text = await redis.info();
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  const isBad = (name: string) => (fields.get(name) ?? "ok") !== "ok";
  return {
    usedBytes: Number(fields.get("used_memory") ?? 0),
    limitBytes: Number(fields.get("maxmemory") ?? 0),
    evicts: (fields.get("maxmemory_policy") ?? "noeviction") !== "noeviction",
    persistenceFails:
      isBad("aof_last_write_status") || isBad("aof_last_bgrewrite_status") || isBad("rdb_last_bgsave_status"),
  };
}

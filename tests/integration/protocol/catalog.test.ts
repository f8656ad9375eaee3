import { Catalog, catalogKey, type NamedEntry } from "@drover/shared/protocol/catalog";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";

const it = base.extend<{ catalog: Catalog }>({
  catalog: async ({ redis, keys }, use) => use(new Catalog(redis, keys)),
});

function entry(at: number): CatalogEntry {
  return {
    source: `source-${String(at % 10_000).padStart(5, "0")}`,
    version: `e"${at}"`,
    sha256: at.toString(16).padStart(64, "0"),
    stamp: `${at}:1790000000123456789:${at}`,
    sizeBytes: at,
  };
}

function named(count: number): NamedEntry[] {
  return Array.from({ length: count }, (_, at) => ({ name: `d/${at % 7}/ü-${at}`, entry: entry(at) }));
}

async function all(catalog: Catalog, tree: string): Promise<Map<string, CatalogEntry>> {
  const found = new Map<string, CatalogEntry>();
  for await (const page of catalog.entries(tree)) for (const { name, entry } of page) found.set(name, entry);
  return found;
}

describe("the catalog of a tree", () => {
  it("returns entries as they were written, singly and as a whole", async ({ catalog }) => {
    const entries = named(2_500);
    expect(await catalog.addMissing("t", entries)).toBe(2_500);
    expect(await all(catalog, "t")).toEqual(new Map(entries.map(({ name, entry }) => [name, entry])));
    const names = [...entries.slice(0, 3).map(({ name }) => name), "none", "d/0/ü-0"];
    expect(await catalog.lookUp("t", names)).toEqual([entry(0), entry(1), entry(2), undefined, entry(0)]);
    expect(await catalog.lookUp("t", [])).toEqual([]);
    expect(await catalog.lookUp("other", names.slice(0, 1))).toEqual([undefined]);
  });

  it("is listed completely when a hash outgrows the compact encoding", async ({ catalog, redis, keys }) => {
    const [first] = named(1) as [NamedEntry];
    const key = catalogKey(keys, "t", first.name);
    await catalog.addMissing("t", [first]);
    const value = (await redis.hgetBuffer(key, first.name)) as Buffer;
    const pipeline = redis.pipeline();
    for (let at = 0; at < 3_000; at++) pipeline.hset(key, `more-${at}`, value);
    await pipeline.exec();
    expect(await redis.object("ENCODING", key)).toBe("hashtable");
    expect((await all(catalog, "t")).size).toBe(3_001);
  });

  it("keeps existing entries when missing ones are added", async ({ catalog }) => {
    const [first, second] = named(2) as [NamedEntry, NamedEntry];
    await catalog.addMissing("t", [first]);
    expect(await catalog.addMissing("t", [{ ...first, entry: entry(9) }, second])).toBe(1);
    expect(await catalog.lookUp("t", [first.name, second.name])).toEqual([first.entry, second.entry]);
  });

  it("ignores an entry of another format", async ({ catalog, redis, keys }) => {
    await redis.hset(catalogKey(keys, "t", "a"), "a", '["source","version","sha","stamp",5]');
    expect(await catalog.lookUp("t", ["a"])).toEqual([undefined]);
    expect(await all(catalog, "t")).toEqual(new Map());
  });

  it("is dropped completely, and no other tree is", async ({ catalog, redis, keys }) => {
    const entries = named(1_200);
    await catalog.register({ id: "t", root: "/somewhere" });
    await catalog.register({ id: "u", root: "/elsewhere" });
    await catalog.addMissing("t", entries);
    await catalog.addMissing("u", entries.slice(0, 1));
    expect(await catalog.drop("t")).toBe(1_200);
    expect((await all(catalog, "t")).size).toBe(0);
    expect(await catalog.trees()).toEqual([{ id: "u", root: "/elsewhere" }]);
    expect((await all(catalog, "u")).size).toBe(1);
    expect(await redis.keys(`${keys.namespace}:c:t:*`)).toEqual([]);
  });

  it("reports its size", async ({ catalog }) => {
    expect(await catalog.size("t")).toEqual({ entries: 0, fileBytes: 0, memoryBytes: 0 });
    await catalog.addMissing("t", named(100));
    const size = await catalog.size("t");
    expect(size).toMatchObject({ entries: 100, fileBytes: 4_950 });
    expect(size.memoryBytes).toBeGreaterThan(5_000);
  });
});

it("a catalog entry with a name of 60 characters takes at most 200 bytes of Redis", async ({
  catalog,
  redis,
}) => {
  const used = async () => Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1]);
  await redis.config("SET", "hash-max-listpack-value", "1024"); // as in the embedded Redis
  const files = 20_000;
  const before = await used();
  await catalog.addMissing(
    "0123456789abcdef",
    Array.from({ length: files }, (_, at) => ({
      name: `archive/2026/${at % 12}/`.padEnd(48, "x") + String(at).padStart(12, "0"),
      entry: {
        source: `source-${String(at % 100_000).padStart(5, "0")}`,
        version: `s"${at.toString(16).padStart(32, "0")}";${at + 10_000};${1_790_000_000 + at}`,
        sha256: at.toString(16).padStart(64, "0"),
        stamp: `${at + 10_000}:${1_790_000_000 + at}000000000:${at + 12_000_000}`,
        sizeBytes: at + 10_000,
        mode: 0o644,
      },
    })),
  );
  expect(((await used()) - before) / files).toBeLessThanOrEqual(200);
});

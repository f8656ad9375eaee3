import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { sync } from "@drover/cli/library-sync";
import { SettingsError, UnavailableError } from "@drover/producer";
import { connect } from "@drover/shared/redis/connect";
import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import { Server, TestCluster } from "../../harness/redis-kinds.js";
import { it } from "../../harness/sync-action.js";

const KEYS = {
  templates: ["template:a.html", "template:de:b.html", "templates:index"],
  bccache: ["bccache:a.html", "bccache:v3:b.html"],
  responses: ["response:/", "responses:/about"],
  gather: ["gather:routes"],
};
const OTHERS = ["session:1", "xtemplate:a", "template", "bccachex:a"];

async function fill(redis: Redis): Promise<void> {
  for (const key of [...Object.values(KEYS).flat(), ...OTHERS]) await redis.set(key, "x");
}

const left = async (redis: Redis) => (await redis.keys("*")).filter((key) => !key.startsWith("{")).sort();

describe("sync.cache()", () => {
  it("refreshes templates, bytecode and responses", async ({ ground, redis }) => {
    await fill(redis);
    const result = await sync.cache({ ...ground.options, operation: "refresh" });
    const gone = [...KEYS.templates, ...KEYS.bccache, ...KEYS.responses];
    expect(result.invalidatedKeys.sort()).toEqual(gone.sort());
    expect(result).toMatchObject({ operation: "refresh", warmedKeys: [], clearedNamespaces: [], errors: [] });
    expect(result.skipped.map(({ path }) => path)).toEqual(["templates", "responses"]);
    expect(await left(redis)).toEqual([...KEYS.gather, ...OTHERS].sort());
    expect((await sync.cache(ground.options)).operation).toBe("refresh");
  });

  it("invalidates namespaces, or keys alone", async ({ ground, redis }) => {
    await fill(redis);
    const result = await sync.cache({
      ...ground.options,
      operation: "invalidate",
      namespaces: ["bccache", "gather"],
    });
    expect(result.invalidatedKeys.sort()).toEqual([...KEYS.bccache, ...KEYS.gather].sort());
    const keys = await sync.cache({
      ...ground.options,
      operation: "invalidate",
      keys: ["session:1", "nothing"],
    });
    expect(keys).toMatchObject({ invalidatedKeys: ["session:1"], skipped: [] });
    expect(await redis.exists(...KEYS.templates)).toBe(3);
  });

  it("clears namespaces", async ({ ground, redis }) => {
    await fill(redis);
    const result = await sync.cache({ ...ground.options, operation: "clear", namespaces: ["templates"] });
    expect(result).toMatchObject({ clearedNamespaces: ["templates"], warmedKeys: [] });
    expect(await redis.exists(...KEYS.templates)).toBe(0);
    expect(await redis.exists(...KEYS.bccache)).toBe(2);
  });

  it("removes many keys in bounded batches, with SCAN and UNLINK alone", async ({ ground, redis }) => {
    const pipeline = redis.pipeline();
    for (let at = 0; at < 20_000; at++) pipeline.set(`template:t${at}.html`, "x");
    await pipeline.exec();
    await redis.config("RESETSTAT");
    const result = await sync.cache({ ...ground.options, operation: "invalidate", warmTemplates: false });
    expect(result.invalidatedKeys).toHaveLength(20_000);
    const stats = await redis.info("commandstats");
    expect(stats).toMatch(/cmdstat_scan:/);
    expect(stats).toMatch(/cmdstat_unlink:/);
    expect(stats).not.toMatch(/cmdstat_(keys|del|flushdb|flushall|eval)/);
  });

  it("puts templates into the cache as they are where that is wanted", async ({ ground, redis }) => {
    ground.write("templates/a.html", "from the first");
    ground.write("templates/deep/b.j2", Buffer.from([0xff, 0x00]));
    ground.write("custom/a.html", "hidden");
    const templatePaths = [ground.path("templates"), ground.path("custom")];
    const result = await sync.cache({ ...ground.options, operation: "warm", warmRaw: true, templatePaths });
    expect(result.warmedKeys.sort()).toEqual(["template:a.html", "template:deep/b.j2"]);
    expect(await redis.get("template:a.html")).toBe("from the first");
    expect(await redis.getBuffer("template:deep/b.j2")).toEqual(Buffer.from([0xff, 0x00]));
    expect(result.skipped.map(({ path }) => path)).toEqual(["bccache", "responses"]);
  });

  it("asks for URLs through the guard, and tells what failed", async ({ ground }) => {
    const asked: string[] = [];
    const server = createServer((request, answer) => {
      asked.push(request.url as string);
      answer.writeHead(request.url === "/broken" ? 500 : 200).end("page");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const warm = {
      ...ground.options,
      operation: "warm",
      namespaces: ["templates", "responses", "gather"],
      warmUrls: [`http://${host}/`, `http://user:s3cr3t@${host}/broken`],
      strategy: { retryAttempts: 1, retryDelay: 0.01 },
    } as const;
    const refused = await sync.cache({
      ...warm,
      namespaces: [...warm.namespaces],
      warmUrls: [...warm.warmUrls],
    });
    expect(refused.errors).toHaveLength(2);
    expect(refused.errors[0]?.why).toMatch(/private address/);
    expect(asked).toEqual([]);
    const allowed = await sync.cache({
      ...{ ...warm, namespaces: [...warm.namespaces], warmUrls: [...warm.warmUrls] },
      allowAddresses: [host],
    });
    expect(allowed.warmedKeys).toEqual([`http://${host}/`]);
    expect(allowed.errors).toMatchObject([{ why: "HTTP 500" }]);
    expect(JSON.stringify(allowed)).not.toContain("s3cr3t");
    expect(allowed.skipped).toEqual([]);
    expect(asked.sort()).toEqual(["/", "/broken", "/broken"]);
    server.close();
  });

  it("does not warm after an invalidation where that is not wanted", async ({ ground }) => {
    ground.write("templates/a.html", "a");
    const templatePaths = [ground.path("templates")];
    const options = { ...ground.options, operation: "invalidate", warmRaw: true, templatePaths } as const;
    expect((await sync.cache({ ...options, warmTemplates: false })).warmedKeys).toEqual([]);
    expect((await sync.cache(options)).warmedKeys).toEqual(["template:a.html"]);
  });

  it("says what it would do, and changes nothing", async ({ ground, redis }) => {
    await fill(redis);
    const before = await left(redis);
    const result = await sync.cache({ ...ground.options, strategy: { dryRun: true } });
    expect(result.invalidatedKeys).toHaveLength(7);
    expect(await left(redis)).toEqual(before);
  });

  it("never touches a key of Drover's own", async ({ ground, redis, keys }) => {
    await redis.set(keys.format(), "1");
    await redis.set("{drover}:format", "1");
    const options = {
      ...ground.options,
      operation: "invalidate",
      keys: ["template:a", keys.format()],
    } as const;
    await redis.set("template:a", "x");
    await expect(sync.cache({ ...options, keys: [...options.keys] })).rejects.toThrow(SettingsError);
    expect(await redis.exists("template:a", keys.format())).toBe(2);
    const { engine: _, ...others } = ground.options;
    await expect(sync.cache({ ...others, operation: "clear", keys: ["{drover}:format"] })).rejects.toThrow(
      SettingsError,
    );
  });

  it("refuses what it cannot do", async ({ ground }) => {
    const { cache: _, ...without } = ground.options;
    await expect(sync.cache(without)).rejects.toThrow(SettingsError);
    await expect(sync.cache({ ...ground.options, cache: "redis://127.0.0.1:1" })).rejects.toThrow(
      UnavailableError,
    );
    await expect(sync.cache({ ...ground.options, namespaces: ["{drover}" as "gather"] })).rejects.toThrow(
      SettingsError,
    );
    await expect(sync.cache({ ...ground.options, operation: "flush" as "clear" })).rejects.toThrow(
      SettingsError,
    );
  });

  it("works with a Cluster, and with a Redis that may evict keys", async ({ ground }) => {
    const cluster = await TestCluster.start(3, []);
    const single = await Server.start(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    try {
      ground.write("templates/warm.html", "warm");
      for (const url of [`redis+cluster://${cluster.addresses}`, `redis://${single.address}`]) {
        const redis = url.includes("cluster") ? await connect({ url }) : single.direct();
        const names = Array.from({ length: 300 }, (_, at) => `template:t${at}`);
        await Promise.all([...names, "session:1"].map((key) => redis.set(key, "x")));
        const templatePaths = [ground.path("templates")];
        const result = await sync.cache({ ...ground.options, cache: url, warmRaw: true, templatePaths });
        expect(result.invalidatedKeys.sort()).toEqual(names.sort());
        expect(result.warmedKeys).toEqual(["template:warm.html"]);
        expect(await redis.get("template:warm.html")).toBe("warm");
        expect(await redis.get("session:1")).toBe("x");
        redis.disconnect();
      }
    } finally {
      await Promise.all([cluster.stop(), single.stop()]);
    }
  });
});

import { UnavailableError } from "@drover/shared/errors";
import { connect } from "@drover/shared/redis/connect";
import { Script } from "@drover/shared/redis/script";
import { describe, expect } from "vitest";
import { it } from "../../harness/redis.js";

describe("a connection", () => {
  it("survives a kill -9 of the server: commands wait, and nothing acknowledged is lost", async ({
    server,
    redis,
    keys,
  }) => {
    const key = `${keys.namespace}:value`;
    await redis.set(key, "before");
    await server.kill();
    const waiting = redis.append(key, " and after");
    await server.start();
    await waiting;
    expect(await redis.get(key)).toBe("before and after");
  });

  it("sends text and bytes unchanged, empty ones included", async ({ redis, keys }) => {
    const key = `${keys.namespace}:list`;
    const bytes = Buffer.from([0, 13, 10, 36, 255, 128]);
    const args = ["", "plain", bytes, "é€😀", Buffer.alloc(0), Buffer.from("*1\r\n"), "\r\n", bytes];
    const wanted = args.map((arg) => Buffer.from(arg as string));
    await redis.rpush(key, ...args);
    expect(await redis.lrangeBuffer(key, 0, -1)).toEqual(wanted);
    const script = "redis.call('DEL', KEYS[1]) return redis.call('RPUSH', KEYS[1], unpack(ARGV))";
    for (let time = 0; time < 2; time++) {
      expect(await redis.eval(script, 1, key, ...args)).toBe(args.length);
      expect(await redis.lrangeBuffer(key, 0, -1)).toEqual(wanted);
    }
    for (const several of [redis.pipeline(), redis.multi()]) {
      const answers = await several
        .del(key)
        .rpush(key, ...args)
        .lrangeBuffer(key, 0, -1)
        .exec();
      expect(answers?.at(-1)).toEqual([null, wanted]);
    }
  });

  it("waits for a server that hangs", async ({ server, redis, keys }) => {
    await server.pause();
    let answered = false;
    const waiting = redis.set(`${keys.namespace}:value`, "1").then(() => {
      answered = true;
    });
    // A stopped server cannot answer, however long this takes.
    await new Promise((resolve) => setImmediate(resolve));
    expect(answered).toBe(false);
    await server.resume();
    await waiting;
    expect(answered).toBe(true);
  });

  it("is refused with one line within the timeout when nobody answers", async ({ server }) => {
    await server.pause();
    try {
      await expect(connect(server.address, 300)).rejects.toThrow(UnavailableError);
      await expect(connect(server.address, 300)).rejects.toThrow(/^cannot reach Redis at [^\n]+$/);
    } finally {
      await server.resume();
    }
    await expect(connect({ socketPath: "/tmp/drover-no-such.sock" }, 300)).rejects.toThrow(UnavailableError);
  });

  it("never shows the password of the address", async () => {
    const error = await connect({ url: "redis://user:CANARY@127.0.0.1:1/0" }, 300).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(String(error)).not.toContain("CANARY");
  });

  it("is refused to a Redis that may evict keys", async ({ server, redis }) => {
    await redis.config("SET", "maxmemory-policy", "allkeys-lru");
    try {
      // Whether or not there is a limit at the moment.
      for (const limit of ["100mb", "0"]) {
        await redis.config("SET", "maxmemory", limit);
        await expect(connect(server.address)).rejects.toThrow(UnavailableError);
        await expect(connect(server.address)).rejects.toThrow(
          /^[^\n]+ \(maxmemory-policy allkeys-lru\): CONFIG SET maxmemory-policy noeviction[^\n]*$/,
        );
      }
    } finally {
      await redis.config("SET", "maxmemory-policy", "noeviction");
    }
    (await connect(server.address)).disconnect();
  });
});

describe("a script", () => {
  it("is sent in full again after SCRIPT FLUSH and after a restart", async ({ server, redis, keys }) => {
    const script = new Script("increment", "return redis.call('INCR', KEYS[1])");
    const key = `${keys.namespace}:count`;
    expect(await script.run(redis, [key], [])).toBe(1);
    await redis.script("FLUSH");
    expect(await script.run(redis, [key], [])).toBe(2);
    await server.restart();
    expect(await script.run(redis, [key], [])).toBe(3);
  });
});

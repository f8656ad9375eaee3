import { spawn } from "node:child_process";
import { describe, expect } from "vitest";
import { CANARY, canariesIn, hasProc, keysWithCanaries, ProcessWatch, redisContents } from "./canaries.js";
import { until } from "./gate.js";
import { it } from "./redis.js";

describe("a hunt for secrets", () => {
  it.for(["", "a", "ab", "user:", "é"])("finds one in base64 behind %j", (before) => {
    const text = Buffer.from(`${before}${CANARY}x`).toString("base64");
    expect(canariesIn(`Authorization: Basic ${text}`)).toHaveLength(1);
    expect(canariesIn(`${before}${CANARY}`)).toHaveLength(1);
    expect(canariesIn(Buffer.from(`${before}canary`).toString("base64"))).toEqual([]);
  });

  it("finds the keys of commands in an append-only file", () => {
    const command = (...words: string[]) =>
      `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`;
    const file = command("SET", "one", "x") + command("HSET", "two", "a", CANARY) + command("DEL", "three");
    expect(keysWithCanaries(Buffer.from(file))).toEqual(["two"]);
  });

  it("reads every kind of key", async ({ redis }) => {
    await redis.set("string", CANARY);
    await redis.hset("hash", "field", CANARY);
    await redis.rpush("list", CANARY);
    await redis.sadd("set", CANARY);
    await redis.zadd("zset", 1, CANARY);
    await redis.xadd("stream", "*", "field", CANARY);
    const contents = await redisContents(redis);
    expect(contents.map(({ key }) => key).sort()).toEqual([
      "hash",
      "list",
      "set",
      "stream",
      "string",
      "zset",
    ]);
    expect(contents.filter(({ text }) => canariesIn(text).length === 0)).toEqual([]);
  });

  it.runIf(hasProc)(
    "sees the environment and command line of processes but those that were typed",
    async () => {
      const typed = new Set<number>();
      const watch = new ProcessWatch("/its-own-directory", typed);
      const begin = (...args: string[]) =>
        spawn("sh", ["-c", "read -r _; :", "/its-own-directory", ...args], {
          env: { PATH: process.env.PATH, SECRET: CANARY },
          stdio: ["pipe", "ignore", "ignore"],
        });
      const ours = begin("ours");
      typed.add(ours.pid as number);
      const other = begin("other", CANARY);
      try {
        await until("both secrets of it", () => watch.found.size === 2);
        expect([...watch.found].every((what) => what.startsWith(`${other.pid} `))).toBe(true);
      } finally {
        watch.stop();
        for (const each of [ours, other]) each.stdin.end();
      }
    },
  );
});

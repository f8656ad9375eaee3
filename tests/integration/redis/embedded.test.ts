import { existsSync, globSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import {
  base,
  client,
  closeAll,
  Holder,
  open,
  processes,
  runIdOf,
  servers,
  sizeOf,
  stateDir,
  supervisors,
  until,
} from "../helpers/embedded.js";

test("eight processes that open it at once share one Redis, even while it is stopping", async () => {
  const crowd = await Promise.all(Array.from({ length: 8 }, () => Holder.start()));
  const seen = new Set<string>();
  for (let round = 0; round < 10; round++) {
    const runIds = await Promise.all(crowd.map((holder) => holder.open({ idleMs: 20 })));
    expect(new Set(runIds).size).toBe(1);
    expect(servers()).toHaveLength(1);
    await Promise.all(crowd.map((holder) => holder.close()));
    seen.add(runIds[0] ?? "");
    // In every other round the next opening comes just after the supervisor has stopped listening.
    const door = globSync(join(base, "drover", "*", "k.sock"));
    while (round % 2 === 0 && door.some(existsSync)) await turn();
  }
  expect(seen.size).toBeGreaterThanOrEqual(5);
});

test("opening waits for a Redis that is shutting down", async () => {
  const redis = await open({ idleMs: 20 });
  await client(redis).set("key", "value");
  const [server] = servers();
  process.kill(server ?? 0, "SIGSTOP");
  redis.close();
  const door = join(dirname(redis.socketPath), "k.sock");
  await until(() => !existsSync(door));

  const holder = await Holder.start();
  const next = holder.open();
  await until(() => supervisors().length === 2);
  process.kill(server ?? 0, "SIGCONT");
  await next;
  expect(servers()).not.toContain(server);
  expect(servers()).toHaveLength(1);
  expect(await client(await open()).get("key")).toBe("value");
});

test("Redis outlives the process that started it", async () => {
  const first = await Holder.start();
  const runId = await first.open();
  const second = await Holder.start();
  expect(await second.open()).toBe(runId);
  first.kill();
  await first.gone;
  expect(await second.ask()).toBe(runId);
  second.kill();
  await second.gone;
  expect(await runIdOf(await open())).toBe(runId);
});

test("Redis stops when idle, removes its socket, and has its data at the next start", async () => {
  const redis = await open({ idleMs: 10 });
  await client(redis).hset("hash", { field: "x".repeat(1000) });
  expect(await client(redis).object("ENCODING", "hash")).toBe("listpack");
  redis.close();
  await until(() => processes().length === 0);
  expect(existsSync(dirname(redis.socketPath))).toBe(false);
  expect(await client(await open()).hget("hash", "field")).toBe("x".repeat(1000));
});

test("the data are compacted when nobody uses Redis", async () => {
  const redis = await open();
  const connection = client(redis);
  for (let i = 0; i < 32; i++) await connection.set("key", `${i}${"x".repeat(100_000)}`);
  const dir = join(stateDir, "redis", "appendonlydir");
  const bytes = () => readdirSync(dir).reduce((sum, name) => sum + sizeOf(join(dir, name)), 0);
  await until(() => bytes() > 3_000_000);
  closeAll();
  await until(() => bytes() < 200_000);
  expect(await client(await open()).get("key")).toBe(`31${"x".repeat(100_000)}`);
});

test("Redis does not stop while a process uses it; a killed process does not count", async () => {
  const holder = await Holder.start();
  const runId = await holder.open({ idleMs: 10 });
  // They come and go, so the supervisor counts down to one user, not to none.
  for (let i = 0; i < 5; i++) (await open({ idleMs: 10 })).close();
  expect(await holder.ask()).toBe(runId);
  holder.kill();
  await until(() => processes().length === 0);
});

test("Redis holds neither the terminal nor the pipe of the process that started it", async () => {
  const holder = await Holder.start();
  await holder.open();
  holder.kill();
  await holder.gone; // Which includes the end of its stdout: `drover | cat` ends.
  const [supervisor] = supervisors();
  expect(supervisor).toBeDefined();
  if (process.platform !== "linux") return;
  // The session is the fourth field after the name. A signal of the terminal reaches only the terminal's session.
  const sessions = processes().map(
    ({ pid }) => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3],
  );
  expect(sessions).toEqual([`${supervisor}`, `${supervisor}`]);
});

test("an open Redis does not keep a process alive", async () => {
  const holder = await Holder.start();
  await holder.open();
  holder.endInput();
  await holder.gone;
  expect(holder.exitCode).toBe(0);
});

// A server outside of PATH, where packages put it, is found all the same.

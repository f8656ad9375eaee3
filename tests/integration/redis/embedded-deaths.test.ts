import { appendFileSync, globSync, mkdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findRedisServer, openEmbedded } from "@drover/shared/redis/embedded/embedded";
import { expect, test, vi } from "vitest";
import {
  base,
  client,
  closeAll,
  failure,
  Holder,
  kill,
  open,
  processes,
  runIdOf,
  servers,
  stateDir,
  supervisors,
  until,
} from "../helpers/embedded.js";

test("the same Redis continues under the next supervisor when its supervisor is killed", async () => {
  const redis = await open({ idleMs: 50 });
  const runId = await runIdOf(redis);
  const [supervisor] = supervisors();
  kill(supervisor);
  await until(() => supervisors().length === 1 && supervisors()[0] !== supervisor);
  expect(await runIdOf(await open({ idleMs: 50 }))).toBe(runId);
  expect(await runIdOf(redis)).toBe(runId);
  expect(servers()).toHaveLength(1);
  // The new supervisor counts the old users and can stop a Redis that it has not started.
  closeAll();
  await until(() => processes().length === 0);
});

test("a Redis is found again after its supervisor and all its users were killed", async () => {
  const holder = await Holder.start();
  const runId = await holder.open();
  holder.kill();
  await holder.gone;
  kill(supervisors()[0]);
  await until(() => supervisors().length === 0);
  expect(await runIdOf(await open())).toBe(runId);
  expect(servers()).toHaveLength(1);
});

test("a Redis that was left behind and cannot be reached is stopped", async () => {
  const holder = await Holder.start();
  await holder.open();
  const [server] = servers();
  await client(await open()).set("key", "value");
  closeAll();
  holder.kill();
  await holder.gone;
  kill(supervisors()[0]);
  await until(() => supervisors().length === 0);
  for (const socket of globSync(join(base, "drover", "*", "r.sock"))) rmSync(socket);
  expect(await client(await open()).get("key")).toBe("value");
  expect(servers()).toHaveLength(1);
  expect(servers()).not.toContain(server);
});

test("a killed redis-server is restarted with its data", async () => {
  const redis = await open();
  const connection = client(redis);
  await connection.set("key", "value");
  const [supervisor] = supervisors();
  for (let round = 0; round < 3; round++) {
    const before = await runIdOf(redis);
    kill(servers()[0]);
    await until(async () => (await runIdOf(redis)) !== before);
    expect(await connection.get("key")).toBe("value");
  }
  expect(supervisors()).toEqual([supervisor]);
});

test("a redis-server that is killed while it compacts loses no data", async () => {
  const connection = client(await open());
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 20; i++) await connection.set(`${round}.${i}`, "x".repeat(100_000));
    await connection.bgrewriteaof();
    await connection.set("last", round);
    for (const pid of servers()) kill(pid);
    expect(await connection.get("last")).toBe(String(round));
    expect(await connection.dbsize()).toBe((round + 1) * 20 + 1);
  }
});

test("supervisor and redis-server are restarted with the data when both are killed at once", async () => {
  const redis = await open();
  const connection = client(redis);
  await connection.set("key", "value");
  const before = await runIdOf(redis);
  for (const { pid } of processes()) kill(pid);
  await until(async () => (await runIdOf(redis)) !== before);
  expect(await connection.get("key")).toBe("value");
  expect(servers()).toHaveLength(1);
});

test("garbage and a torn transaction at the end of the append-only file are cut off", async () => {
  for (const tail of [
    "*3\r\n$3\r\nSET\r\n$3\r\nke",
    "\0\0garbage",
    "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$4\r\ntorn\r\n",
  ]) {
    const redis = await open({ idleMs: 10 });
    await client(redis).set("key", "value");
    closeAll();
    await until(() => processes().length === 0);
    const [aof] = globSync(join(stateDir, "redis", "appendonlydir", "*.incr.aof"));
    appendFileSync(aof ?? "", tail);
    for (let start = 0; start < 2; start++) {
      expect(await client(await open({ idleMs: 10 })).get("key")).toBe("value");
      closeAll();
      await until(() => processes().length === 0);
    }
  }
});

test("data that Redis refuses to load cause an error that quotes Redis", async () => {
  await open({ idleMs: 10 });
  closeAll();
  await until(() => processes().length === 0);
  writeFileSync(join(stateDir, "redis", "appendonlydir", "appendonly.aof.manifest"), "nonsense\n");
  const error = await failure(open());
  expect(error.message).toMatch(/does not start: .*manifest/);
  expect(error.message).toContain(realpathSync(stateDir));
  expect(error.message).not.toContain("\n");
});

test("a Redis that is killed again and again is given up, and started again later", async () => {
  const deadly = join(base, "deadly");
  const bin = join(base, "bin");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "valkey-server"),
    `#!/bin/sh\n[ -e ${deadly} ] && kill -9 $$\nexec ${findRedisServer()} "$@"\n`,
    { mode: 0o755 },
  );
  vi.stubEnv("PATH", `${bin}:${process.env.PATH}`);
  const troubles: string[] = [];
  const redis = await open({ onTrouble: (message) => troubles.push(message) });
  const runId = await runIdOf(redis);
  writeFileSync(deadly, "");
  kill(servers()[0]);
  await until(() => troubles.length > 0);
  expect(troubles[0]).toMatch(/redis-server died 6 times/);
  rmSync(deadly);
  expect(await runIdOf(redis)).not.toBe(runId);
});

test("a Redis that does not respond causes an error after the timeout", async () => {
  await open();
  const [supervisor] = supervisors();
  process.kill(supervisor ?? 0, "SIGSTOP");
  const error = await failure(openEmbedded({ stateDir, startTimeoutMs: 100 }));
  process.kill(supervisor ?? 0, "SIGCONT");
  expect(error.message).toContain(`kept by process ${supervisor}`);
});

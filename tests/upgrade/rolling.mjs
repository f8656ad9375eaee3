/**
 * Has workers of two builds carry the same runs. usage: rolling.mjs FORMER NEW, the two commands.
 *
 * The runs are long enough that each worker has a part of them. Every file must arrive whole, each run must end, and say so
 * to commands of both builds.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const FILES = 300;
const WAIT_MS = 120_000;
const [former, now] = process.argv.slice(2);
const work = mkdtempSync(join(tmpdir(), "drover-upgrade-"));
const socket = join(work, "redis.sock");
const fleet = ["--redis", `unix://${socket}`];
const running = [];

function start(command, args) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: environment() });
  child.output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (child.output += data));
  running.push(child);
  return child;
}

function environment() {
  const { PATH, HOME } = process.env;
  return { PATH, HOME, XDG_STATE_HOME: join(work, "state"), XDG_CONFIG_HOME: join(work, "config") };
}

async function run(command, ...args) {
  const { stdout } = await promisify(execFile)(command, [...args, ...fleet], { env: environment() });
  return stdout;
}

async function until(what, isSo) {
  const endsMs = Date.now() + WAIT_MS;
  while (!(await isSo())) {
    ok(Date.now() < endsMs, `in vain: ${what}`);
    await sleep(100);
  }
}

async function worker(command) {
  const child = start(command, ["worker", ...fleet, "--root", work, "--concurrency", "4", "--verbose"]);
  await until("a worker", () => child.output.includes("worker ready") || child.exitCode !== null);
  ok(child.exitCode === null, child.output);
  return child;
}

/** How many files a worker has brought. */
const carried = ({ output }) => output.split('"message":"synced"').length - 1;

async function stop(child) {
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}

const contentOf = (name) => createHash("sha256").update(name).digest("hex").repeat(50);
const origin = createServer(({ url }, response) => {
  setTimeout(() => response.end(contentOf(url)), 20);
}).listen(0, "127.0.0.1");
await once(origin, "listening");

/** Submits a run and leaves it to the fleet. */
async function submit(command, name) {
  const list = join(work, `${name}.txt`);
  const urls = Array.from(
    { length: FILES },
    (_, at) => `http://127.0.0.1:${origin.address().port}/${name}-${at}`,
  );
  writeFileSync(list, `${urls.join("\n")}\n`);
  mkdirSync(join(work, name));
  const into = ["--artifact-root", join(work, name), "--script-name", "", "--detach"];
  return (await run(command, "sync", "--from-file", list, ...into)).trim();
}

/** Looks at every file of a run, and at what both builds say of it. */
async function check(id, name) {
  for (const command of [now, former]) await run(command, "wait", id);
  const names = readdirSync(join(work, name)).sort();
  deepEqual(names, Array.from({ length: FILES }, (_, at) => `${name}-${at}`).sort());
  for (const each of names) equal(readFileSync(join(work, name, each), "utf8"), contentOf(`/${each}`));
  for (const command of [now, former]) {
    const status = JSON.parse(await run(command, "status", id, "--json"));
    equal(status.state, "done");
    equal(status.copied, FILES);
  }
}

try {
  start("redis-server", ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", work]);
  await until("redis", () => readdirSync(work).includes("redis.sock"));

  const before = await worker(former);
  const old = await submit(former, "of-the-former");
  await until("a part by the former", () => carried(before) > FILES / 6);
  const after = await worker(now);
  const young = await submit(now, "of-this-one");
  await until("a part by both", () => carried(before) > FILES / 3 && carried(after) > FILES / 6);
  await stop(before); // in the middle: what it has goes back
  await check(old, "of-the-former");
  await check(young, "of-this-one");
  console.log(`upgrade: ${carried(before)} files by the former, ${carried(after)} by this one`);

  // The other way: whoever goes back finds what the newer one left.
  const again = await worker(former);
  const sofar = carried(after);
  const back = await submit(now, "of-a-way-back");
  await until("a part by both", () => carried(again) > FILES / 10 && carried(after) > sofar + FILES / 10);
  await stop(after);
  await check(back, "of-a-way-back");
  console.log(`way back: ${carried(again)} files by the former`);
  await stop(again);
} finally {
  for (const child of running) child.kill("SIGKILL");
  origin.closeAllConnections();
  origin.close();
  rmSync(work, { recursive: true, force: true });
}

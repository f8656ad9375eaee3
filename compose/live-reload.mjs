/**
 * Runs the command of its arguments, and ends and starts it anew after each build that live-build.mjs has made, unless
 * LIVE_RELOAD is false. Passes signals on, and ends as the command ends.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const EVERY_MS = 500;
const [command, ...args] = process.argv.slice(2);
const isLive = process.env.LIVE_RELOAD !== "false";
const stampOf = () => readFileSync("/built/stamp", "utf8");

let child;
let stopping = false;
for (const signal of ["SIGTERM", "SIGINT"])
  process.on(signal, () => {
    stopping = true;
    child.kill(signal);
  });

for (;;) {
  const stamp = stampOf();
  child = spawn(command, args, { stdio: "inherit" });
  const ended = once(child, "exit");
  let isRunning = true;
  void ended.then(() => {
    isRunning = false;
  });
  while (isRunning && !(isLive && !stopping && stampOf() !== stamp))
    await Promise.race([ended, sleep(EVERY_MS)]);
  if (isRunning) {
    console.log("the sources have changed: starting anew");
    child.kill("SIGTERM");
    await ended;
    if (!stopping) continue;
  }
  const [code] = await ended;
  process.exit(code ?? 1);
}

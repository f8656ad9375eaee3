import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { isProcessDead, PROCESS_NAME } from "@drover/shared/process-name";
import { afterEach, describe, expect, test } from "vitest";
import { until } from "../../harness/gate.js";

const MODULE = pathToFileURL(createRequire(import.meta.url).resolve("@drover/shared/process-name")).href;
const SAY_NAME = `
  const { PROCESS_NAME } = await import(${JSON.stringify(MODULE)});
  console.log(PROCESS_NAME);
  setInterval(() => {}, 1_000);
`;
const NODE = [process.execPath, "--input-type=module", "--eval", SAY_NAME];

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** Starts a process and returns its first line of output. */
async function start(command: string[]): Promise<{ child: ChildProcess; line: string }> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return { child, line };
}

const withPart = (at: number, value: string) => PROCESS_NAME.split(".").with(at, value).join(".");

describe("a process", () => {
  test("is named by machine, boot, pid and start time", () => {
    const [machine, boot, pid, started, ...rest] = PROCESS_NAME.split(".");
    expect(rest).toEqual([]);
    expect(machine).toMatch(/^[0-9a-f]{8}$/);
    expect(boot).toMatch(/^([0-9a-f]{8}|0)$/);
    expect(pid).toBe(String(process.pid));
    expect(started).toMatch(/^\d+$/);
  });

  test("that runs is not dead, whether it is this one or another", async () => {
    expect(isProcessDead(PROCESS_NAME)).toBe(false);
    const { line } = await start(NODE);
    expect(line).not.toBe(PROCESS_NAME);
    expect(isProcessDead(line)).toBe(false);
  });

  test("that is suspended is not dead, as it may continue", async () => {
    const { child, line } = await start(NODE);
    child.kill("SIGSTOP");
    expect(isProcessDead(line)).toBe(false);
    child.kill("SIGCONT");
  });

  test("that ended is dead", async () => {
    const { child, line } = await start(NODE);
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
    expect(isProcessDead(line)).toBe(true);
  });

  test.skipIf(process.platform !== "linux")(
    "that ended and was not reaped by its parent is dead",
    async () => {
      // The shell starts the process and then becomes a program that reaps no children.
      const { line } = await start(["sh", "-c", '"$@" & exec sleep 600', "sh", ...NODE]);
      const pid = Number(line.split(".")[2]);
      expect(isProcessDead(line)).toBe(false);
      process.kill(pid, "SIGKILL");
      await until("a zombie", () => /\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8")));
      expect(isProcessDead(line)).toBe(true);
    },
  );

  test.skipIf(process.platform !== "linux")("whose pid belongs to another process is dead", () => {
    expect(isProcessDead(withPart(3, "1"))).toBe(true);
  });

  test.skipIf(process.platform !== "linux")("from before the last boot is dead", () => {
    expect(isProcessDead(withPart(1, "00000000"))).toBe(true);
  });

  test("of another machine is not known to be dead", () => {
    expect(isProcessDead(withPart(0, "00000000"))).toBe(false);
    expect(isProcessDead(withPart(0, "00000000").split(".").with(2, "4194305").join("."))).toBe(false);
  });

  test.for(["", "nonsense", "a.b", "....", `${PROCESS_NAME.split(".")[0]}`])(
    "with an invalid name (%j) is not known to be dead",
    (name) => {
      expect(isProcessDead(name)).toBe(false);
    },
  );
});

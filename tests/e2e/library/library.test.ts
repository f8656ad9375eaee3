import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect } from "vitest";
import { filesBelow, REPOSITORY } from "../../harness/drover.js";
import { it, type TestRedis } from "../../harness/redis.js";

const DOCUMENT = readFileSync(join(REPOSITORY, "docs/library.md"), "utf8");

/** The programs of docs/library.md: a code block that is headed `js file=NAME` is a whole file. */
const PROGRAMS = new Map(
  [...DOCUMENT.matchAll(/^```js file=(\S+)\n(.*?)^```$/gms)].map(([, name = "", text = ""]) => [name, text]),
);

const COUNTS = { unchanged: 0, deleted: 0, failed: 0, blocked: 0, locked: 0, cancelled: 0 };

/** Where a program of somebody else's lives, with Drover's packages linked as npm would, and one that is called drover. */
let directory = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "drover-library-"));
  const linked = join(directory, "node_modules/@drover");
  mkdirSync(linked, { recursive: true });
  for (const name of ["shared", "producer", "worker", "service"])
    symlinkSync(join(REPOSITORY, "packages", name), join(linked, name));
  const drover = join(directory, "node_modules/drover");
  mkdirSync(drover);
  writeFileSync(join(drover, "package.json"), JSON.stringify({ type: "module", exports: "./index.js" }));
  writeFileSync(
    join(drover, "index.js"),
    'export * from "@drover/producer"; export * from "@drover/worker"; export * from "@drover/service/client/client";',
  );
  mkdirSync(join(directory, "in/2026"), { recursive: true });
  writeFileSync(join(directory, "in/a.csv"), "first");
  writeFileSync(join(directory, "in/2026/b.csv"), "second");
});

afterEach(() => rmSync(directory, { recursive: true }));

/** @returns what the program printed, line by line. */
async function run(program: string, server: TestRedis): Promise<string[]> {
  writeFileSync(join(directory, program), PROGRAMS.get(program) ?? "");
  const url = "url" in server.address ? server.address.url : `unix://${server.address.socketPath}`;
  const { stdout } = await promisify(execFile)(process.execPath, [program, "in", "out", "state"], {
    cwd: directory,
    env: { PATH: process.env.PATH, REDIS_URL: url },
    timeout: 50_000,
  });
  return stdout.trimEnd().split("\n");
}

function arrived(): Record<string, string> {
  const out = join(directory, "out");
  return Object.fromEntries(
    filesBelow(out).map((path) => [path.slice(out.length + 1), readFileSync(path, "utf8")]),
  );
}

describe("a program with the packages", () => {
  it("carries a run by itself, follows it, and asks for its summary", async ({ server }) => {
    writeFileSync(join(directory, "in/notes.txt"), "not asked for");
    const lines = await run("sync.mjs", server);
    expect(arrived()).toEqual({ "a.csv": "first", "2026/b.csv": "second" });
    const last = JSON.parse(lines.pop() as string);
    expect(lines.map((line) => line.trim()).sort()).toEqual(["copied 2026/b.csv", "copied a.csv"]);
    expect(last.end).toBe("done");
    expect(last.counts).toEqual({ ...COUNTS, files: 2, settled: 2, copied: 2 });

    const again = JSON.parse((await run("sync.mjs", server)).pop() as string);
    expect(again.run).not.toBe(last.run);
    expect(again.counts).toEqual({ ...COUNTS, files: 2, settled: 2, copied: 0, unchanged: 2 });
  });

  it("starts a worker of a fleet, submits a run to the fleet and follows it", async ({ server }) => {
    const lines = await run("fleet.mjs", server);
    expect(arrived()).toEqual({ "a.csv": "first", "2026/b.csv": "second" });
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { end: "done", counts: { ...COUNTS, files: 2, settled: 2, copied: 2 } },
    ]);
  });

  it("finds every export of the packages in the document", async () => {
    const [producer, worker] = [await import("@drover/producer"), await import("@drover/worker")];
    const names = [...Object.keys(producer), ...Object.keys(worker)];
    const missing = names.filter((name) => !DOCUMENT.includes(`\`${name}`));
    expect(missing).toEqual([]);
  });
});

import { existsSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile, toBuffer } from "../../harness/content.js";
import { filesBelow, leftovers } from "../../harness/drover.js";
import { it, type Work } from "../../harness/fixtures.js";
import { listRuns, statusOf } from "../../harness/runs.js";

/** The steps of a file at which the process can be killed, some of them repeatedly per run. */
const POINTS = [
  "expand",
  "enqueue",
  "dispatch",
  "admit",
  "open",
  "stage",
  "verify",
  "commit",
  "committed",
  "settled",
] as const;
const PER_FILE = new Set<string>(POINTS.slice(3));

const large = pattern(2_500_000);

/** Every file of a destination must be completely old or completely new. */
async function expectOldOrNew(
  work: Work,
  expected: Map<string, string>,
  old: Map<string, string>,
): Promise<void> {
  for (const [name, sum] of expected) {
    const path = work.to(name);
    if (!existsSync(path)) {
      expect(old.has(name), `${name} has vanished`).toBe(false);
      continue;
    }
    expect([sum, old.get(name)], `${name} is neither old nor new`).toContain(await sha256OfFile(path));
  }
}

async function expectAllNew(work: Work, expected: Map<string, string>): Promise<void> {
  const found = new Map<string, string>();
  for (const path of filesBelow(work.out))
    found.set(path.slice(work.out.length + 1), await sha256OfFile(path));
  expect(found).toEqual(expected);
}

describe.concurrent("a sync of one file can be resumed after a kill", () => {
  it.for(POINTS)("at %s", async (point, { box, origin, work }) => {
    const own = ["--state-dir", work.at("s")];
    work.write({ "out/a.bin": "old" });
    const url = origin.route("/a.bin", does.file(large));
    const expected = new Map([["a.bin", sha256(large)]]);
    const command = ["sync", url, ...work.into, ...own];
    const killed = await box.run(command, { env: { DROVER_FAULT: point } });
    expect(killed.signal, `it passed ${point} unharmed\n${killed.stderr}`).toBe("SIGKILL");
    await expectOldOrNew(work, expected, new Map([["a.bin", sha256("old")]]));
    if (point !== "committed" && point !== "settled") {
      expect(readFileSync(work.to("a.bin"), "utf8")).toBe("old");
    }
    const runs = await listRuns(box, own);
    // A run killed before its first file was registered may be gone; then one syncs again.
    if (point !== "expand") expect(runs).toHaveLength(1);
    const [run] = runs;
    const resumed = await box.run(run ? ["resume", run.run, ...own] : command);
    expect(resumed.code, resumed.stdout + resumed.stderr).toBe(0);
    await expectAllNew(work, expected);
    if (run) {
      const { files, copied, unchanged } = await statusOf(box, run.run, own);
      expect(files).toBe(1);
      expect(copied + unchanged).toBe(1);
    }
    const again = await box.sync([url, ...work.into, ...own]);
    expect(again.items.map((item) => item.outcome)).toEqual(["unchanged"]);
  });
});

describe.concurrent("a sync of many files can be resumed after a kill", () => {
  it.for(POINTS)("at %s", async (point, { box, origin, work }) => {
    const own = ["--state-dir", work.at("s")];
    const expected = new Map<string, string>();
    const old = new Map<string, string>();
    const lines: string[] = [];
    for (let i = 0; i < 30; i++) {
      lines.push(`${origin.route(`/u${i}`, does.file(`remote ${i}`))}\tremote/u${i}`);
      expected.set(`remote/u${i}`, sha256(`remote ${i}`));
      work.write({ [`in/sub/l${i}`]: `local ${i}` });
      expected.set(`sub/l${i}`, sha256(`local ${i}`));
      if (i % 3 > 0) continue;
      work.write({ [`out/remote/u${i}`]: "old", [`out/sub/l${i}`]: "old" });
      old.set(`remote/u${i}`, sha256("old")).set(`sub/l${i}`, sha256("old"));
    }
    lines.push(`${origin.route("/large", does.file(large))}\tlarge.bin`);
    expected.set("large.bin", sha256(large));
    work.write({ "in/large-local.bin": toBuffer(large) });
    expected.set("large-local.bin", sha256(large));
    const list = work.write({ list: `${lines.join("\n")}\n` });
    const sources = [work.at("in"), "--from-file", list, ...work.into, ...own];
    const nth = PER_FILE.has(point) ? 17 : 1;
    const killed = await box.run(["sync", ...sources], { env: { DROVER_FAULT: `${point}:${nth}` } });
    expect(killed.signal, `it passed ${point} unharmed\n${killed.stderr}`).toBe("SIGKILL");
    await expectOldOrNew(work, expected, old);
    const runs = await listRuns(box, own);
    if (point !== "expand") expect(runs).toHaveLength(1);
    const [run] = runs;
    const resumed = await box.run(run ? ["resume", run.run, ...own] : ["sync", ...sources]);
    expect(resumed.code, resumed.stdout + resumed.stderr).toBe(0);
    await expectAllNew(work, expected);
    expect(leftovers(work.path)).toEqual([]);
    if (run) {
      const { files, copied, unchanged } = await statusOf(box, run.run, own);
      expect(files).toBe(expected.size);
      expect(copied + unchanged).toBe(expected.size);
    }
    const again = await box.sync(sources);
    expect(again.items).toHaveLength(expected.size);
    expect(new Set(again.items.map((item) => item.outcome))).toEqual(new Set(["unchanged"]));
  });
});

describe("a kill", () => {
  it("at every step in turn still lets a run complete", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("s")];
    const expected = new Map<string, string>();
    const urls = Array.from({ length: 40 }, (_, i) => {
      expected.set(`f${i}`, sha256(`content ${i}`));
      return origin.route(`/f${i}`, does.file(`content ${i}`));
    });
    const first = await box.run(["sync", ...urls, ...work.into, ...own], {
      env: { DROVER_FAULT: "settled:3" },
    });
    expect(first.signal).toBe("SIGKILL");
    const [run] = await listRuns(box, own);
    for (const point of ["dispatch", "admit", "open", "verify", "commit", "committed", "settled"]) {
      const { code, signal } = await box.run(["resume", run?.run ?? "", ...own], {
        env: { DROVER_FAULT: `${point}:${PER_FILE.has(point) ? 3 : 1}` },
      });
      expect(signal ?? code).toBe("SIGKILL");
      await expectOldOrNew(work, expected, new Map());
    }
    const last = await box.run(["resume", run?.run ?? "", ...own]);
    expect(last.code, last.stderr).toBe(0);
    await expectAllNew(work, expected);
    const { files, copied, unchanged } = await statusOf(box, run?.run ?? "", own);
    expect(files).toBe(40);
    expect(copied + unchanged).toBe(40);
  });

  it("is recovered from by the same command as well as by resume", async ({ box, origin, work }) => {
    const expected = new Map<string, string>();
    const urls = Array.from({ length: 20 }, (_, i) => {
      expected.set(`f${i}`, sha256(`content ${i}`));
      return origin.route(`/f${i}`, does.file(`content ${i}`));
    });
    const command = ["sync", ...urls, ...work.into];
    for (const fault of ["stage:5", "commit:2", "committed:2"]) {
      expect((await box.run(command, { env: { DROVER_FAULT: fault } })).signal).toBe("SIGKILL");
    }
    const { code, durationMs } = await box.run(command);
    expect(code).toBe(0);
    expect(durationMs).toBeLessThan(15_000);
    await expectAllNew(work, expected);
  });

  it("does not lose a list from standard input", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("s")];
    const expected = new Map<string, string>();
    const lines = Array.from({ length: 50 }, (_, i) => {
      expected.set(`sub/f${i}`, sha256(`content ${i}`));
      return `${origin.route(`/f${i}`, does.file(`content ${i}`))}\tsub/f${i}`;
    });
    const input = `${lines.join("\n")}\n`;
    const env = { DROVER_FAULT: "commit:10" };
    const killed = await box.run(["sync", "--from-file", "-", ...work.into, ...own], { input, env });
    expect(killed.signal).toBe("SIGKILL");
    const [run] = await listRuns(box, own);
    const { code, stderr } = await box.run(["resume", run?.run ?? "", ...own]);
    expect(code, stderr).toBe(0);
    await expectAllNew(work, expected);
  });

  it("of fetch at any step lets its next call succeed at once", async ({ box, origin, work }) => {
    const url = origin.route("/a.bin", does.file(large));
    const command = ["fetch", "--source-url", url, "--destination", work.to("a.bin")];
    for (const point of POINTS.slice(1)) {
      const killed = await box.run(command, { env: { DROVER_FAULT: point } });
      if (existsSync(work.to("a.bin"))) expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(large));
      expect([null, "SIGKILL"]).toContain(killed.signal);
    }
    const { code } = await box.run(command);
    expect(code).toBe(0);
    expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(large));
    expect(filesBelow(work.out)).toEqual([work.to("a.bin")]);
  });
});

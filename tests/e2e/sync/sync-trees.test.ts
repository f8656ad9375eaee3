import { utimesSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import { filesBelow } from "../../harness/drover.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";
import { listRuns, statusOf } from "../../harness/runs.js";

const here = (work: Work) => filesBelow(work.out).map((path) => relative(work.out, path));
const name = (n: number) => String(n).padStart(5, "0");
/** Speed matters more here than durability. */
const FAST = ["--durability", "rename", "--max-workers", "32"];

function many(work: Work, count: number, directories = 1): void {
  const files: Record<string, string> = {};
  for (let n = 0; n < count; n++) files[`in/${directories > 1 ? `d${n % directories}/` : ""}${name(n)}`] = "";
  work.write(files);
}

describe("filters from files", () => {
  it("apply at the position of the option that names them", async ({ box, work }) => {
    for (const each of ["a.csv", "b.csv", "c.txt", "d.md", "tmp/e.csv", "tmp/sub/f.csv"])
      work.write({ [`in/${each}`]: each });
    work.write({
      rules: "# what is wanted\r\n+ a.*\n\n; and what is not\n- *.csv\n",
      out1: "*.md\n",
      in1: "tmp/\n",
    });
    const cases: [string[], string[]][] = [
      [["--filter-from", "rules"], ["a.csv", "c.txt", "d.md"].filter((each) => each === "a.csv")],
      [
        ["--filter-from", "rules", "--include", "*"],
        ["a.csv", "c.txt", "d.md"],
      ],
      [
        ["--include", "b.csv", "--filter-from", "rules", "--include", "*.txt"],
        ["a.csv", "b.csv", "c.txt"],
      ],
      [
        ["--exclude-from", "out1", "--exclude-from", "in1"],
        ["a.csv", "b.csv", "c.txt"],
      ],
      [
        ["--include-from", "in1"],
        ["tmp/e.csv", "tmp/sub/f.csv"],
      ],
      [
        ["--include-from", "in1", "--filter-from", "rules"],
        ["a.csv", "tmp/e.csv", "tmp/sub/f.csv"],
      ],
    ];
    for (const [at, [options, expected]] of cases.entries()) {
      const into = ["--artifact-root", work.at(`o${at}`), "--script-name", ""];
      const { code, stderr } = await box.run(["sync", "in", ...into, ...options], { cwd: work.path });
      expect([code, stderr], options.join(" ")).toEqual([0, ""]);
      const found = filesBelow(work.at(`o${at}`)).map((path) => relative(work.at(`o${at}`), path));
      expect(found, options.join(" ")).toEqual(expected);
    }
  });

  it("are refused with their line", async ({ box, work }) => {
    work.write({ "in/a": "a", rules: "+ a\nb\n" });
    const bad = await box.run(["sync", work.at("in"), "--filter-from", work.at("rules"), ...work.into]);
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringMatching(/line 2 of .*rules must be "\+ GLOB"/)]);
    const none = await box.run(["sync", work.at("in"), "--exclude-from", work.at("no"), ...work.into]);
    expect([none.code, none.stderr]).toEqual([2, expect.stringMatching(/cannot read the filters in .*no/)]);
  });
});

describe("limits of size and age", () => {
  it("are inclusive", async ({ box, work, s3 }) => {
    const nowMs = Date.now();
    for (const [each, bytes, days] of [
      ["small-new", 100, 0],
      ["limit", 1_024, 1],
      ["large-new", 5_000, 0],
      ["small-old", 100, 9],
      ["large-old", 5_000, 9],
    ] as const) {
      const at = new Date(nowMs - days * 86_400_000);
      work.write({ [`in/${each}`]: "x".repeat(bytes) });
      utimesSync(work.at("in", each), at, at);
      s3.put(`k/s3-${each}`, "x".repeat(bytes), {}, at);
    }
    const cases: [string[], string[]][] = [
      [
        ["--max-size", "1K"],
        ["limit", "small-new", "small-old"],
      ],
      [
        ["--min-size", "1"],
        ["large-new", "large-old", "limit"],
      ],
      [
        ["--max-age", "2d"],
        ["large-new", "limit", "small-new"],
      ],
      [["--min-age", "2d", "--max-size", "1K"], ["small-old"]],
      [["--min-age", "12h", "--max-age", "2d"], ["limit"]],
    ];
    for (const [at, [options, expected]] of cases.entries()) {
      const out = work.at(`o${at}`);
      const command = ["sync", work.at("in"), "s3://bucket/k/", "--artifact-root", out, "--script-name", ""];
      const { code, stderr } = await box.run([...command, ...options], { env: s3.env });
      expect([code, stderr], options.join(" ")).toEqual([0, ""]);
      const both = [...expected, ...expected.map((each) => `s3-${each}`)].sort();
      expect(
        filesBelow(out).map((path) => relative(out, path)),
        options.join(" "),
      ).toEqual(both);
    }
  });

  it("are refused for URLs", async ({ box, work, origin }) => {
    const url = origin.route("/a", file("a"));
    const plain = await box.run(["sync", url, "--max-size", "1K", ...work.into]);
    expect([plain.code, plain.stderr]).toEqual([2, expect.stringMatching(/not known before it is fetched/)]);
    work.write({ "in/a": "a", list: `${url}\n${work.at("in")}\n` });
    const listed = await box.sync(["--from-file", work.at("list"), "--max-size", "1K", ...work.into]);
    expect(listed.code).toBe(1);
    expect(listed.items.map((item) => [item.status, item.error?.class]).sort()).toEqual([
      ["failed", "unsupported"],
      ["ok", undefined],
    ]);
    const crossed = await box.run([
      "sync",
      work.at("in"),
      "--min-age",
      "2d",
      "--max-age",
      "1d",
      ...work.into,
    ]);
    expect([crossed.code, crossed.stderr]).toEqual([2, expect.stringMatching(/no file is both/)]);
  });
});

describe("a killed walk", () => {
  it.for(["expand:700", "enqueue:2", "dispatch", "settled:20"])(
    "at %s is resumed where it was, without repeating a file",
    async (point, { box, work }) => {
      many(work, 1_600, 4);
      const own = ["--state-dir", work.at("s")];
      const killed = await box.run(["sync", work.at("in"), ...FAST, ...work.into, ...own], {
        env: { DROVER_FAULT: point },
      });
      expect(killed.signal).toBe("SIGKILL");
      const [run] = await listRuns(box, own);
      const resumed = await box.run(["resume", run?.run as string, ...own]);
      expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
      expect(await statusOf(box, run?.run as string, own)).toMatchObject({ files: 1_600, state: "done" });
      expect(here(work)).toHaveLength(1_600);
    },
  );
});

it("does not count an unreadable file twice, even if killed right after it", async ({ box, work }) => {
  work.write({ "in/a": "a", "in/d/b": "b", "in/z": "z" });
  const bad = Buffer.concat([Buffer.from(`${work.at("in")}/c`), Buffer.from([0xff])]);
  writeFileSync(bad, "its name is no UTF-8");
  const own = ["--state-dir", work.at("s")];
  const args = ["sync", work.at("in"), "--backlog-high-water", "2", ...work.into, ...own];
  const killed = await box.run(args, { env: { DROVER_FAULT: "enqueue" } });
  expect(killed.signal, killed.stderr).toBe("SIGKILL");
  const [run] = await listRuns(box, own);
  expect(run).toMatchObject({ files: 2, failed: 1 });
  expect((await box.run(["resume", run?.run as string, ...own])).code).toBe(1);
  expect(await statusOf(box, run?.run as string, own)).toMatchObject({ files: 4, copied: 3, failed: 1 });
});

describe("a listing without wanted files", () => {
  it("saves its cursor, so that resume does not start again", async ({ box, work, s3, fleet }) => {
    s3.pageKeys = 10;
    for (let n = 0; n < 1_000; n++) s3.put(`k/${name(n)}.txt`, "");
    s3.put("k/99999.csv", "x");
    const gate = new Gate();
    s3.fault = ({ query }) => {
      const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
      if (!query.has("list-type") || after < "k/00700") return false;
      void gate.pass();
      return true; // never answered
    };
    const started = box.start(["sync", "s3://bucket/k/", "--pattern", "*.csv", ...work.into, ...fleet.own], {
      env: s3.env,
    });
    await gate.reached;
    const redis = await connect(fleet.redis.address);
    const run = await until("the run", async () => (await listRuns(box, fleet.own))[0]);
    await until("the cursor to move", async () => {
      const cursor = await redis.hget(`{drover}:run:${run.run}`, "cursor");
      return cursor !== null && (JSON.parse(cursor).after ?? "") > "k/00600";
    });
    redis.disconnect();
    started.kill("SIGKILL");
    await started.result;
    s3.fault = () => false;
    s3.requests.length = 0;
    fleet.env = s3.env;
    await fleet.worker();
    const resumed = await box.run(["resume", run.run, ...fleet.own], { env: s3.env });
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(here(work)).toEqual(["99999.csv"]);
    const listed = s3.requests.filter(({ query }) => query.has("list-type"));
    expect(listed[0]?.query.get("start-after") ?? "").toMatch(/^k\/00[67]/);
    expect(listed.length).toBeLessThan(80);
  });
});

describe("--backlog-high-water", () => {
  const LIMIT = ["--backlog-high-water", "120"];

  it("delays the listing, which continues as files are settled", async ({ box, work, s3 }) => {
    s3.pageKeys = 5;
    for (let n = 0; n < 1_000; n++) s3.put(`k/${name(n)}`, "x");
    const held: (() => void)[] = [];
    let open = false;
    s3.fault = ({ key, query, headers }, answer) => {
      if (open || query.has("list-type") || headers["if-none-match"]) return false;
      held.push(() => void answer.writeHead(200, { "content-length": 1 }).end("x"));
      return key !== "";
    };
    const own = ["--state-dir", work.at("s")];
    const args = ["sync", "s3://bucket/k/", ...FAST, ...LIMIT, ...work.into, ...own];
    const started = box.start(args, { env: s3.env });
    const run = await until("120 files to be registered", async () => {
      const [first] = await listRuns(box, own);
      return first?.files === 120 && first;
    });
    await until("files to be asked for", () => held.length >= 8);
    const asked = s3.requests.filter(({ query }) => query.has("list-type")).length;
    // Only the pages read ahead, and not all two hundred.
    expect(asked).toBeLessThan(120);
    expect((await statusOf(box, run.run, own)).files).toBe(120);
    open = true;
    for (const answer of held) answer();
    const { code } = await started.result;
    expect(code).toBe(0);
    expect(await statusOf(box, run.run, own)).toMatchObject({ files: 1_000, copied: 1_000 });
  });

  it("applies to unsettled files in a fleet; cancel and Ctrl-C end the waiting", async ({
    box,
    work,
    fleet,
  }) => {
    many(work, 1_000);
    const args = ["sync", work.at("in"), ...LIMIT, "--durability", "rename", ...work.into, ...fleet.own];
    const waiting = async (nth: number) =>
      await until("120 files to be registered", async () => {
        const runs = await listRuns(box, fleet.own);
        return runs.length === nth && runs[0]?.files === 120 && runs[0];
      });
    const interrupted = box.start(args);
    const first = await waiting(1);
    expect(first.state).toBe("running");
    interrupted.interrupt();
    expect((await interrupted.result).code).toBe(130);

    // To another destination: otherwise both runs would share their files.
    const cancelled = box.start([...args, "--script-name", "second"]);
    const second = await waiting(2);
    await box.run(["cancel", second.run, ...fleet.own]);
    await fleet.worker();
    const { code, stderr } = await cancelled.result;
    expect([code, stderr]).toEqual([3, expect.stringMatching(/was cancelled/)]);
    expect(await statusOf(box, second.run, fleet.own)).toMatchObject({ state: "cancelled", cancelled: 120 });

    const resumed = await box.run(["resume", first.run, ...fleet.own]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(await statusOf(box, first.run, fleet.own)).toMatchObject({ files: 1_000, copied: 1_000 });
  });
});

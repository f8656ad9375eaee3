import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import { filesBelow, type Item } from "../../harness/drover.js";
import { it, type Work } from "../../harness/fixtures.js";
import { listRuns, statusOf } from "../../harness/runs.js";

/** Content of the output directory by relative path. */
function tree(work: Work): Record<string, string> {
  return Object.fromEntries(
    filesBelow(work.out).map((path) => [relative(work.out, path), readFileSync(path, "utf8")]),
  );
}

/** Messages of what failed, in order. */
const errorsOf = (items: Item[]) => items.flatMap(({ error }) => (error ? [error.message] : [])).sort();

describe("a list of lines", () => {
  it("may have comments and blanks; its errors name their lines", async ({ box, origin, work }) => {
    origin.route("/*", file("x"));
    work.write({ "#x": "hash", "dir/f": "f" });
    const url = origin.url("/a");
    const lines = [
      "# what is to come",
      "",
      `  ${url}`,
      `${url}?2\t${sha256("x")}`,
      "./#x",
      `${url}?3\t./${sha256("x")}`,
      `${url}?4\t../out`,
      "gone.txt",
      "dir\tname",
      "ftp://host/x",
    ];
    const list = work.write({ "urls.txt": lines.join("\n") });
    for (const input of [undefined, lines.join("\n")]) {
      const args = ["--from-file", input ? "-" : list, ...work.into];
      const name = input ? "the list" : "urls\\.txt";
      const expected = [
        new RegExp(`^line 10 of ${name}: unsupported scheme ftp`),
        new RegExp(
          `^line 4 of ${name}: column 2 is the destination.*looks like a SHA-256: put that in column 3`,
        ),
        new RegExp(`^line 7 of ${name}: refused name "../out"`),
        new RegExp(`^line 8 of ${name}: .*gone.txt`),
        new RegExp(`^line 9 of ${name}: .*directory`),
      ].map((says) => expect.stringMatching(says));
      const options = { cwd: work.path, ...(input ? { input } : {}) };
      const dry = await box.run(["sync", ...args, "--dry-run", "--json"], options);
      expect(errorsOf(JSON.parse(dry.stdout))).toEqual(expected);
      const { code, items } = await box.sync(args, options);
      expect(code).toBe(1);
      expect(errorsOf(items)).toEqual(expected);
      expect(tree(work)).toEqual({ a: "x", "#x": "hash", [sha256("x")]: "x" });
    }
  });
});

describe("a list of sha256sum", () => {
  const names = ["a.txt", "./sub/b c#?.txt"];
  const sums = names.map((name) => `${sha256(name)}  ${name}\n`).join("");

  it("is fetched from below --base-url, whose secrets only the server sees", async ({
    box,
    origin,
    work,
  }) => {
    for (const name of ["a.txt", "sub/b%20c%23%3F.txt"])
      origin.route(`/dir/${name}`, file(name === "a.txt" ? "a.txt" : "./sub/b c#?.txt"));
    const base = ["--base-url", `${origin.url("/dir")}?token=sesame`];
    const own = ["--state-dir", work.at("state")];
    const args = ["--from-file", work.write({ SHA256SUMS: sums }), ...base, ...work.into, ...own];
    const killed = await box.run(["sync", ...args], { env: { DROVER_FAULT: "expand" } });
    expect(killed.signal).toBe("SIGKILL");
    const [run] = await listRuns(box, own);
    const resumed = await box.run(["resume", run?.run as string, "--json", ...own]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(tree(work)).toEqual({ "a.txt": "a.txt", "sub/b c#?.txt": "./sub/b c#?.txt" });
    expect(origin.requests.map(({ query }) => query)).toEqual(Array(2).fill("token=sesame"));
    const items = JSON.parse(resumed.stdout) as Item[];
    expect(items.map((item) => item.verified_by)).toEqual(["sha256", "sha256"]);
    expect(resumed.stdout + resumed.stderr).not.toContain("sesame");
    expect(JSON.stringify(await listRuns(box, own))).not.toContain("sesame");
  });

  it("names paths relative to the current directory without it, as sha256sum -c does", async ({
    box,
    work,
  }) => {
    work.write({ "in/a.txt": "a.txt", "in/sub/b c#?.txt": "not the same" });
    const list = work.write({ "lists/SHA256SUMS": sums });
    const { code, items } = await box.sync(["--from-file", list, ...work.into], { cwd: work.at("in") });
    expect(code).toBe(1);
    expect(items.map(({ error }) => error?.class).filter(Boolean)).toEqual(["checksum"]);
    expect(tree(work)).toEqual({ "a.txt": "a.txt" });
  });

  it.for([
    [["--base-url", "http://host/"], /--base-url .*needs --from-file/],
    [["--from-file", "-", "--base-url", "s3://bucket/x"], /--base-url must be an http\(s\) URL, not s3:/],
    [["--from-file", "-", "--base-url", "http://u:sesame@:x/"], /--base-url must be an http\(s\) URL/],
  ] as const)("refuses %j", async ([options, says], { box, work }) => {
    const { code, stderr } = await box.run(["sync", work.path, ...options, ...work.into], { input: "" });
    expect([code, stderr]).toEqual([2, expect.stringMatching(says)]);
    expect(stderr).not.toContain("sesame");
  });
});

describe("a list with a header", () => {
  it.for([
    ["sha256,source,destination", (sum: string, url: string, to: string) => `${sum},${url},"${to}"`],
    ["URL\tdestination", (_sum: string, url: string, to: string) => `${url}\t${to}`],
  ] as const)("is read wherever it comes from, %s", async ([header, row], { box, origin, work }) => {
    origin.route("/*", file("x"));
    const rows = ["a, 1", "d/b"].map((to) => row(sha256("x"), origin.url(`/${to.at(-1)}`), to));
    const text = `${[header, ...rows].join("\r\n")}\r\n`;
    const list = work.write({ "list.csv": text });
    for (const [from, options] of [
      [list, {}],
      ["-", { input: text }],
    ] as const) {
      const args = ["--from-file", from, ...work.into];
      const dry = await box.run(["sync", ...args, "--dry-run", "--json"], options);
      const planned = JSON.parse(dry.stdout) as Item[];
      expect(planned.map(({ destination }) => relative(work.out, destination))).toEqual(["a, 1", "d/b"]);
      expect((await box.sync(args, options)).code).toBe(0);
      expect(tree(work)).toEqual({ "a, 1": "x", "d/b": "x" });
    }
  });

  it("is known again by a run that is resumed in its middle", async ({ box, origin, work }) => {
    origin.route("/*", file("x"));
    const names = Array.from({ length: 40 }, (_, nth) => `n${nth}\nx`);
    const rows = names.map((to, nth) => `"${to}",${origin.url(`/${nth}`)}`);
    const list = work.write({
      "list.csv": ["destination,url", ...rows, `bad,${origin.url("/b")},x`].join("\n"),
    });
    const own = ["--state-dir", work.at("state")];
    const command = ["sync", "--from-file", list, "--backlog-high-water", "5", ...work.into, ...own];
    const killed = await box.run(command, { env: { DROVER_FAULT: "enqueue:3" } });
    expect(killed.signal).toBe("SIGKILL");
    const [run] = await listRuns(box, own);
    expect(run?.files).toBeLessThan(40);
    const resumed = await box.run(["resume", run?.run as string, "--json", ...own]);
    expect(resumed.code, resumed.stderr).toBe(1);
    expect(errorsOf(JSON.parse(resumed.stdout))).toEqual([
      expect.stringMatching(/^line 82 of list\.csv: it has 3 fields/),
    ]);
    expect(Object.keys(tree(work)).sort()).toEqual([...names].sort());
    expect(await statusOf(box, run?.run as string, own)).toMatchObject({ files: 41, copied: 40, failed: 1 });
  });

  it("that has no sources, or a quote that never ends, carries nothing beyond it", async ({
    box,
    origin,
    work,
  }) => {
    const url = origin.route("/a", file("a"));
    for (const [expected, input, says] of [
      [2, "destination,sha256\nx,\n", /line 1 of the list: a header needs one column source or url/],
      [1, `url\n${url}\n"b\n${url}?2\n`, /line 3 of the list: a quote is not closed .*mend the list/],
    ] as const) {
      const { code, stderr } = await box.run(["sync", "--from-file", "-", ...work.into], { input });
      expect([code, stderr]).toEqual([expected, expect.stringMatching(says)]);
    }
    expect(tree(work)).toEqual({ a: "a" });
  });
});

it("a run that began with the earlier syntax goes on with it, and says so", async ({ box, work, fleet }) => {
  const keys = new Keys();
  work.write({ "#a": "a", "  b": "b" });
  const list = work.write({ list: "#a\n  b\n" });
  const killed = await box.run(["sync", "--from-file", list, ...work.into, ...fleet.own], {
    cwd: work.path,
    env: { DROVER_FAULT: "expand" },
  });
  expect(killed.signal).toBe("SIGKILL");
  const [run] = await listRuns(box, fleet.own);
  const id = run?.run as string;
  const redis = await connect(fleet.redis.address);
  const spec = JSON.parse((await redis.hget(keys.run(id), "spec")) as string);
  await redis.hset(keys.run(id), "spec", JSON.stringify({ ...spec, listSyntax: undefined }));
  redis.disconnect();
  await fleet.worker();
  const { code, stderr } = await box.run(["resume", id, ...fleet.own]);
  expect([code, stderr]).toEqual([
    0,
    expect.stringMatching(/^warning: run \S+ began before lists .*keeps its meaning/),
  ]);
  expect(tree(work)).toEqual({ "#a": "a", "  b": "b" });
});

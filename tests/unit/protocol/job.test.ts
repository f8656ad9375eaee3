import { newRunId, shortHash } from "@drover/shared/ids";
import { jobId, transferJobSchema } from "@drover/shared/job";
import { runSpecSchema } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import { describe, expect, test } from "vitest";
import { specOf } from "../../integration/helpers/fleet.js";

describe("a transfer job", () => {
  test.for<unknown>([
    { i: 0, s: "http://h/a", d: "a" },
    { i: 2 ** 40, g: 3, s: "/data/ü", d: "dir/ü", x: "a".repeat(64), k: 1 },
  ])("is valid: %j", (job) => {
    expect(transferJobSchema.parse(job)).toEqual(job);
  });

  test.for<unknown>([
    null,
    "job",
    [],
    {},
    { i: 0, s: "http://h/a" },
    { i: 0, d: "a" },
    { s: "http://h/a", d: "a" },
    { i: "0", s: "http://h/a", d: "a" },
    { i: -1, s: "http://h/a", d: "a" },
    { i: 1.5, s: "http://h/a", d: "a" },
    { i: Number.NaN, s: "http://h/a", d: "a" },
    { i: 0, s: "", d: "a" },
    { i: 0, s: "http://h/a", d: "" },
    { i: 0, s: "http://h/a", d: "a", g: -1 },
    { i: 0, s: "http://h/a", d: "a", x: "abc" },
    { i: 0, s: "http://h/a", d: "a", x: "A".repeat(64) },
    { i: 0, s: "http://h/a", d: "a", x: `${"a".repeat(64)}\n` },
    { i: 0, s: "http://h/a", d: "a", k: 2 },
    { i: 0, s: 5, d: "a" },
  ])("is invalid: %j", (job) => {
    expect(transferJobSchema.safeParse(job).success).toBe(false);
  });
});

describe("the specification of a run", () => {
  test("is the same after JSON and back", () => {
    const spec = specOf({ list: "/l", checksums: { "http://h/ü": "a".repeat(64) }, maxFileSizeBytes: 5 });
    expect(runSpecSchema.parse(JSON.parse(JSON.stringify(spec)))).toEqual(spec);
  });

  test("is refused if it lacks something or has an invalid value", () => {
    const spec = specOf();
    const { root: _, ...rootless } = spec;
    for (const bad of [null, {}, rootless, { ...spec, retries: null }, { ...spec, layout: "other" }]) {
      expect(runSpecSchema.safeParse(bad).success).toBe(false);
    }
  });
});

describe("the id of a job", () => {
  test("is no integer, has no colon, and differs by file and generation", () => {
    const run = newRunId();
    const ids = [
      jobId(run, 0),
      jobId(run, 1),
      jobId(run, 0, 1),
      jobId(run, 1, 1),
      jobId(run, 11),
      jobId(newRunId(), 0),
    ];
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) expect(id).toMatch(/^r[^:]*[a-z-][^:]*$/);
  });

  test("of a run sorts by time", () => {
    const ids = [1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000].map((now) => newRunId(now));
    expect([...ids].sort()).toEqual(ids);
    expect(new Set(Array.from({ length: 1_000 }, () => newRunId(5))).size).toBeGreaterThan(990);
  });

  test("a short hash depends on where its arguments are divided", () => {
    expect(shortHash("a", "b")).not.toBe(shortHash("ab"));
    expect(shortHash("a", "b")).not.toBe(shortHash("b", "a"));
    expect(shortHash("a")).toMatch(/^[A-Za-z0-9_-]{16}$/);
  });
});

describe("the host of a source", () => {
  test.for([
    ["http://host/a", "host:80"],
    ["https://host/a", "host:443"],
    ["http://host:8080", "host:8080"],
    ["HTTP://Host.Example:80/a", "host.example:80"],
    ["http://user:pa@ss@host/a", "host:80"],
    ["http://***@host:81/a", "host:81"],
    ["http://host?x=a@b:9", "host:80"],
    ["http://host#@other", "host:80"],
    ["http://[::1]:81/a", "[::1]:81"],
    ["http://[FE80::1]/a", "[fe80::1]:80"],
    ["/data/http://host/a", ""],
    ["/data/a", ""],
  ] as const)("%s is %j", ([source, host]) => {
    expect(hostOf(source)).toBe(host);
  });

  test("is the same as a URL parser finds", () => {
    for (const url of [
      "http://user@name@host/x",
      "http://host:80@other/x",
      "http://a.b:1/http://c:2/",
      "http://h/@x:9",
    ]) {
      const parsed = new URL(url);
      expect(hostOf(url)).toBe(`${parsed.hostname}:${parsed.port || "80"}`);
    }
  });
});

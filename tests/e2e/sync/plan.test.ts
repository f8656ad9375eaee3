import { existsSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import type { FakeS3 } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it } from "../../harness/fixtures.js";
import { listRuns } from "../../harness/runs.js";

const PRICES = `currency: EUR
prices:
  - bucket: bucket
    requests: { get: 1, put: 10 }
    egress: 100000
    ingress: 200000
    storage: 300000
  - host: "*"
    requests: { get: 2 }
    egress: 400000
`;

/** Requests that a service has had, by kind, as a plan counts them. */
function countedAt({ requests }: FakeS3) {
  const counts: Record<string, number> = {};
  for (const { method, key, query, headers } of requests) {
    if (/(^|\/)\.drover-/.test(key)) continue; // which conditions it takes is found out once
    const isCopy = method === "PUT" && headers["x-amz-copy-source"] !== undefined;
    const kind = query.has("list-type") ? "list" : isCopy ? "copy" : method.toLowerCase();
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

describe("drover plan", () => {
  it("says how many files and bytes, and starts and changes nothing", async ({ box, work }) => {
    const own = ["--state-dir", work.at("state")];
    work.write({ "in/a": "12345", "in/b": "123" });
    const { code, stdout, stderr } = await box.run(["plan", work.at("in"), ...work.into, ...own]);
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: [
        "files     2 to copy, 0 unchanged, 0 refused",
        "bytes     8 B to copy",
        "requests  none",
        "time      unknown: no earlier run",
        "cost      unknown: no price table (--prices)",
        "nothing was changed\n",
      ].join("\n"),
      stderr: "",
    });
    expect([existsSync(work.at("state")), existsSync(work.out)]).toEqual([false, false]);
  });

  it("asks Drover's own Redis where earlier runs have left one, as a dry run does", async ({ box, work }) => {
    const own = ["--state-dir", work.at("state")];
    work.write({ "in/a": "12345" });
    const sync = [work.at("in"), ...work.into, ...own];
    expect((await box.run(["sync", ...sync])).code).toBe(0);
    const { code, stdout, stderr } = await box.run(["plan", ...sync]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("0 to copy, 1 unchanged");
  });

  it("tells time from earlier runs, sizes of URLs from the catalog, and what is deleted", async ({
    box,
    origin,
    work,
  }) => {
    const own = ["--state-dir", work.at("state")];
    const env = { DROVER_EMBEDDED_IDLE_MS: "60000" }; // a plan does not start it again
    work.write({ "in/a": "12345", "in/b": "123" });
    const url = origin.route("/url", does.file("0123456789"));
    const other = origin.route("/other", does.file("x"));
    for (let run = 0; run < 3; run++) {
      expect((await box.run(["sync", work.at("in"), url, ...work.into, ...own], { env })).code).toBe(0);
      work.write({ [`in/more${run}`]: "m" });
    }
    const runs = await listRuns(box, own);
    const asked = origin.requests.length;
    const args = [work.at("in"), url, other, ...work.into, ...own];
    const { code, stdout } = await box.run(["plan", ...args, "--json"]);
    expect(code).toBe(0);
    const plan = JSON.parse(stdout);
    expect(plan).toMatchObject({
      files: { copy: 3, unchanged: 4, delete: 0, refused: 0 },
      bytes: 11,
      unknown_sizes: 1,
      complete: true,
      requests: [{ host: new URL(url).host, bucket: null, get: 2, list: 0, bytes_out: 10 }],
      time: { runs: 3, of: "destination" },
      cost: null,
      limits: [],
    });
    const { seconds, files_per_second, bytes_per_second } = plan.time;
    expect(seconds).toBeCloseTo(Math.max(3 / files_per_second, 11 / bytes_per_second), 6);
    const elsewhere = await box.run(["plan", url, "--to", work.at("other"), ...own, "--json"]);
    expect(JSON.parse(elsewhere.stdout)).toMatchObject({ unknown_sizes: 1, time: { of: "hosts", runs: 3 } });
    expect(await listRuns(box, own)).toEqual(runs);
    expect(origin.requests.length).toBe(asked);
    const deleting = await box.run([
      "plan",
      work.write({ "in2/a": "1" }).replace(/a$/, ""),
      ...work.into,
      ...own,
      "--delete",
      "--max-delete",
      "100%",
    ]);
    expect(deleting.stdout).toContain("1 to copy, 0 unchanged, 4 to delete, 0 refused");
  });

  it("counts the requests that the run then makes to S3, and what they cost", async ({ box, work, s3 }) => {
    const { env } = s3;
    const own = ["--state-dir", work.at("state"), "--s3-path-style"];
    const prices = ["--prices", work.write({ "prices.yaml": PRICES })];
    work.write({ "in/a": "1".repeat(1000), "in/b": "2".repeat(1000), "in/large": Buffer.alloc(40 << 20, 1) });
    const args = [work.at("in"), "--to", "s3://bucket/p", ...own];
    const bytes = 2000 + (40 << 20);
    const before = JSON.parse((await box.run(["plan", ...args, ...prices, "--json"], { env })).stdout);
    expect(before.requests).toMatchObject([
      { bucket: "bucket", head: 1, get: 0, put: 5, post: 2, copy: 0, list: 0, bytes_in: bytes },
    ]);
    s3.requests.length = 0;
    expect((await box.run(["sync", ...args], { env })).code).toBe(0);
    expect(countedAt(s3)).toEqual({ head: 1, put: 5, post: 2, list: 1 }); // the bucket is looked at once
    expect(before.cost).toEqual({
      currency: "EUR",
      total: expect.closeTo(0.071 + (bytes / 1e9) * 200_000, 6),
      requests: expect.closeTo(0.071, 6),
      egress: 0,
      ingress: expect.closeTo((bytes / 1e9) * 200_000, 6),
      storage_per_month: expect.closeTo((bytes / 1e9) * 300_000, 6),
    });
    const back = ["s3://bucket/p/", "--to", work.at("back"), ...own];
    const there = JSON.parse((await box.run(["plan", ...back, ...prices, "--json"], { env })).stdout);
    s3.requests.length = 0;
    expect((await box.run(["sync", ...back], { env })).code).toBe(0);
    expect(there.requests).toMatchObject([{ bucket: "bucket", list: 1, get: 3, put: 0, bytes_out: bytes }]);
    expect(countedAt(s3)).toMatchObject({ get: 3, list: 1 });
    expect(readFileSync(work.at("back/a"), "utf8")).toBe("1".repeat(1000));
  });

  it("says whether a run fits its limits, as its exit code", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state"), "--prices", work.write({ "prices.yaml": PRICES })];
    work.write({ "in/a": "12345", "in/b": "123" });
    const plan = (...limits: string[]) => box.run(["plan", work.at("in"), ...work.into, ...own, ...limits]);
    const fitting = await plan("--max-bytes", "9");
    expect([fitting.code, fitting.stdout]).toEqual([
      0,
      expect.stringContaining("limit     --max-bytes, 9 bytes: 8 bytes fits\n"),
    ]);
    const over = await plan("--max-bytes", "8");
    expect([over.code, over.stderr]).toEqual([
      1,
      "drover: it would be stopped: 8 bytes would reach --max-bytes, 8 bytes\n",
    ]);
    const url = origin.route("/url", does.file("0"));
    const costs = ["plan", url, ...work.into, ...own, "--max-cost"];
    expect((await box.run([...costs, "0.003"])).code).toBe(0);
    const dear = await box.run([...costs, "0.001", "--json"]);
    expect([dear.code, JSON.parse(dear.stdout).limits]).toEqual([
      1,
      [{ what: "cost", most: 0.001, used: 0.002, fits: false, currency: "EUR" }],
    ]);
  });

  it("ends as a dry run where a source is not there, or settings are wrong", async ({ box, work }) => {
    const gone = await box.run(["plan", work.at("gone"), ...work.into]);
    expect([gone.code, gone.stdout]).toEqual([3, expect.stringContaining("1 refused")]);
    work.write({ "in/a": "1", "prices.yaml": "currency: EUR\nprices:\n  - host: a\n    egres: 1\n" });
    const wrong = await box.run(["plan", work.at("in"), ...work.into, "--prices", work.at("prices.yaml")]);
    expect([wrong.code, wrong.stdout, wrong.stderr]).toEqual([
      2,
      "",
      expect.stringMatching(/prices\.yaml:4:\d+: prices\.0\.egres: no such key/),
    ]);
  });

  it("counts the listings that find out what a name of S3 is", async ({ box, work, s3 }) => {
    const { env } = s3;
    const own = ["--state-dir", work.at("state"), "--s3-path-style"];
    for (const key of ["dir/a", "dir/b", "one", "listed"]) s3.put(key, key);
    const list = work.write({ list: "s3://bucket/listed\n" });
    const args = ["s3://bucket/dir", "s3://bucket/one", "--from-file", list, "--to", work.out, ...own];
    const { code, stdout } = await box.run(["plan", ...args, "--json"], { env });
    expect([code, JSON.parse(stdout).requests]).toMatchObject([0, [{ list: 6, get: 4 }]]);
    s3.requests.length = 0;
    expect((await box.run(["sync", ...args], { env })).code).toBe(0);
    expect(countedAt(s3)).toEqual({ list: 6, get: 4 });
  });

  it("knows the runs of a fleet, and leaves its run to nobody", async ({ box, fleet, origin, work }) => {
    await fleet.worker();
    const urls = ["a", "b"].map((name) => origin.route(`/${name}`, does.file(name.repeat(500))));
    const args = [...urls, ...work.into, ...fleet.own];
    expect((await box.run(["sync", ...args])).code).toBe(0);
    const asked = origin.requests.length;
    const prices = ["--prices", work.write({ "prices.yaml": PRICES })];
    const { code, stdout } = await box.run(["plan", ...args, ...prices, "--max-cost", "1", "--json"]);
    expect([code, JSON.parse(stdout)]).toMatchObject([
      0,
      {
        files: { copy: 2 },
        unclear: 2,
        bytes: 1000,
        time: { runs: 1, of: "destination" },
        cost: { requests: 0.004, egress: expect.closeTo(0.4, 9), total: expect.closeTo(0.404, 9) },
        limits: [{ what: "cost", most: 1, used: expect.closeTo(0.404, 9), fits: true }],
      },
    ]);
    expect(await listRuns(box, fleet.own)).toHaveLength(1);
    expect(origin.requests.length).toBe(asked);
  });
});

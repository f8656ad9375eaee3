import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";
import { onlyRun, statusOf } from "../../harness/runs.js";

const PRICES = `currency: EUR
prices:
  - host: "*"
    requests: { get: 100 }
    egress: 1000000
`;

describe("a run with a budget", () => {
  it("stops when it has copied so many bytes, and a retry goes on without", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const urls = [
      origin.route("/a", does.file("x".repeat(600))),
      origin.route("/b", does.file("y".repeat(600))),
      origin.route("/held", does.gated(gate, does.file("held"))),
    ];
    const { code, stderr } = await box.run(["sync", ...urls, ...work.into, ...own, "--max-bytes", "1kB"]);
    const why = "1,200 bytes were copied, and it was to stop at 1,000 bytes";
    expect([code, stderr]).toEqual([1, expect.stringContaining(`was cancelled: ${why}\n`)]);
    const { run: id } = await onlyRun(box, own);
    expect(await statusOf(box, id, own)).toMatchObject({
      state: "cancelled",
      copied: 2,
      cancelled: 1,
      stopped: why,
    });
    expect((await box.run(["status", id, ...own])).stdout).toContain(`cancelled because ${why}`);
    gate.open();
    expect((await box.run(["resume", id, ...own])).code).toBe(2);
    expect((await box.run(["retry", id, ...own])).code).toBe(0);
    const after = await statusOf(box, id, own);
    expect(after).toMatchObject({ state: "done", copied: 3 });
    expect(after).not.toHaveProperty("stopped");
  });

  it("counts no bytes that were there already", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    work.write({ "in/old": "x".repeat(5000) });
    const sync = (...limit: string[]) => box.run(["cp", work.at("in"), work.out, ...own, ...limit]);
    expect((await sync()).code).toBe(0);
    work.write({ "in/new": "12345" });
    const limited = await sync("--max-bytes", "6");
    expect([limited.code, limited.stderr]).toEqual([0, expect.not.stringContaining("cancelled")]);
    const url = origin.route("/url", does.file("z".repeat(3000), { etag: '"1"' }));
    const fetched = (...limit: string[]) => box.run(["cp", url, `${work.out}/`, ...own, ...limit]);
    expect((await fetched()).code).toBe(0);
    expect((await fetched("--max-bytes", "1")).code).toBe(0);
  });

  it("stops when it has cost so much, files and bytes", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state"), "--prices", work.write({ "prices.yaml": PRICES })];
    const gate = new Gate();
    origin.route("/gone/*", does.status(404));
    const urls = [
      origin.route("/a", does.file("x".repeat(100))), // 0.1 for the request, 0.1 for the bytes
      origin.url("/gone/b"), // 0.1
      origin.route("/held", does.gated(gate, does.file("held"))),
    ];
    const { code, stderr } = await box.run(["sync", ...urls, ...work.into, ...own, "--max-cost", "0.3"]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringContaining("was cancelled: it has cost about 0.30 EUR, and it was to stop at 0.30 EUR\n"),
    ]);
    expect(await onlyRun(box, own.slice(0, 2))).toMatchObject({ copied: 1, failed: 1, cancelled: 1 });
    gate.open();
  });

  it("keeps it when it is resumed", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const urls = [
      origin.route("/a", does.file("x".repeat(600))),
      origin.route("/b", does.gated(gate, does.file("y".repeat(600)))),
      origin.route("/c", does.gated(gate, does.file("z".repeat(600)))),
    ];
    const command = ["sync", ...urls, ...work.into, ...own, "--max-bytes", "1200", "--max-workers", "1"];
    const first = box.start(command);
    await first.waitFor("stdout", /✓ a/);
    first.kill("SIGKILL");
    await first.result;
    gate.open();
    const { run: id } = await onlyRun(box, own);
    const resumed = await box.run(["resume", id, ...own]);
    expect([resumed.code, resumed.stderr]).toEqual([
      1,
      expect.stringContaining("was cancelled: 1,200 bytes were copied"),
    ]);
  });

  it("also where a fleet carries it", async ({ box, fleet, origin, work }) => {
    await fleet.worker();
    const gate = new Gate();
    const urls = [
      origin.route("/held", does.gated(gate, does.file("held"))),
      origin.route("/a", does.file("x".repeat(600))),
    ];
    const stopped = await box.run(["sync", ...urls, ...work.into, ...fleet.own, "--max-bytes", "500"]);
    expect([stopped.code, stopped.stderr]).toEqual([
      1,
      expect.stringContaining("was cancelled: 600 bytes were copied, and it was to stop at 500 bytes\n"),
    ]);
    gate.open();
  });

  it.for([
    [["--max-bytes", "0"], "--max-bytes must be a size"],
    [["--max-bytes", "much"], "--max-bytes must be a size"],
    [["--max-cost", "0"], "--max-cost must be an amount"],
    [["--max-cost", "1"], "--max-cost needs a price table"],
    [["--max-cost", "1", "--prices", "none.yaml"], "cannot read the prices in"],
  ] as const)("is refused where it says %o", async ([limit, message], { box, work }) => {
    const { code, stderr } = await box.run(["sync", work.write({ a: "a" }), ...work.into, ...limit]);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  });
});

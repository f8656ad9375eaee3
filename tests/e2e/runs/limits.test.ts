import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../../harness/fixtures.js";
import { Gate } from "../../harness/gate.js";
import { onlyRun, statusOf } from "../../harness/runs.js";

describe("a run stops by itself", () => {
  it("at its deadline, and a retry goes on without", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const urls = [
      origin.route("/quick", does.file("quick")),
      origin.route("/slow", does.gated(gate, does.file("slow"))),
    ];
    const { code, stderr } = await box.run(["sync", ...urls, ...work.into, ...own, "--deadline", "3s"]);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/run \S+ was cancelled: its deadline 2\S+Z has passed\n/),
    ]);
    const { run: id } = await onlyRun(box, own);
    expect(await statusOf(box, id, own)).toMatchObject({
      state: "cancelled",
      copied: 1,
      cancelled: 1,
      stopped: expect.stringMatching(/^its deadline .* has passed$/),
    });
    expect((await box.run(["status", id, ...own])).stdout).toMatch(/^cancelled because its deadline/m);
    gate.open();
    expect((await box.run(["retry", id, ...own])).code).toBe(0);
    const after = await statusOf(box, id, own);
    expect(after).toMatchObject({ state: "done", copied: 2 });
    expect(after).not.toHaveProperty("stopped");
  });

  it("after so many failures, and not before", async ({ box, origin, work }) => {
    const own = ["--state-dir", work.at("state")];
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("held")));
    origin.route("/gone/*", does.status(404));
    const gone = Array.from({ length: 2 }, (_, at) => origin.url(`/gone/${at}`));
    const limited = (most: number) =>
      box.run(["cp", ...gone, held, `${work.out}/`, ...own, "--stop-after-failures", String(most)]);
    const stopped = await limited(2);
    expect([stopped.code, stopped.stderr]).toEqual([
      3,
      expect.stringContaining("was cancelled: 2 files failed, and it was to stop after 2\n"),
    ]);
    const run = await onlyRun(box, own);
    expect(await statusOf(box, run.run, own)).toMatchObject({ state: "cancelled", failed: 2, cancelled: 1 });
    gate.open();
    expect((await limited(3)).code).toBe(1);
  });

  it("also where a fleet carries it", async ({ box, fleet, origin, work }) => {
    await fleet.worker();
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("held")));
    const gone = origin.route("/gone", does.status(404));
    const sync = (...limit: string[]) => box.run(["sync", held, gone, ...work.into, ...fleet.own, ...limit]);
    const failed = await sync("--stop-after-failures", "1");
    expect([failed.code, failed.stderr]).toEqual([
      3,
      expect.stringContaining("was cancelled: 1 file failed, and it was to stop after 1\n"),
    ]);
    const late = await sync("--deadline", "2s", "--json");
    expect([late.code, late.stderr]).toEqual([
      3,
      expect.stringMatching(/was cancelled: its deadline .* has passed\n/),
    ]);
    expect((JSON.parse(late.stdout) as { status: string }[]).map(({ status }) => status).sort()).toEqual([
      "cancelled",
      "failed",
    ]);
    gate.open();
  });

  it("never where the limits make no sense", async ({ box, work }) => {
    const own = ["--state-dir", work.at("state")];
    for (const [flag, value] of [
      ["--deadline", "2020-01-01"],
      ["--deadline", "soon"],
      ["--stop-after-failures", "0"],
    ] as const) {
      const { code, stderr } = await box.run([
        "sync",
        work.write({ a: "a" }),
        ...work.into,
        ...own,
        flag,
        value,
      ]);
      expect(code, stderr).toBe(2);
    }
  });
});

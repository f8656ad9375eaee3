import { FORMAT, RUN_FORMAT } from "@drover/shared/protocol/format";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { it } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";
import { statusOf } from "../../harness/runs.js";

const keys = new Keys();

describe("records of a later version", () => {
  it("are noticed before anything is done, in one line", async ({ box, work, fleet }) => {
    const redis = await connect(fleet.redis.address);
    expect((await box.run(["runs", ...fleet.own])).code).toBe(0);
    expect(await redis.get(keys.format())).toBe(String(FORMAT));
    await redis.set(keys.format(), FORMAT + 1);
    work.write({ "src/a": "a" });
    for (const args of [
      ["runs"],
      ["sync", work.at("src"), "--to", work.out],
      ["worker", "--root", work.out],
    ]) {
      const { code, stderr } = await box.run([...args, ...fleet.own]);
      expect([code, stderr]).toEqual([2, expect.stringContaining("a later version of Drover")]);
    }
    expect((await redis.zcard(keys.runs())) + (await redis.scard(keys.active()))).toBe(0);
    redis.disconnect();
  });

  it("of one run keep it from being carried, and lose nothing of it", { timeout: 90_000 }, async ({
    box,
    work,
    fleet,
  }) => {
    const redis = await connect(fleet.redis.address);
    work.write({ "src/a": "a", "src/b": "b" });
    const { stdout } = await box.run(["sync", work.at("src"), "--to", work.out, "--detach", ...fleet.own]);
    const id = stdout.trim();
    await redis.hset(keys.run(id), "format", RUN_FORMAT + 1);
    const early = await fleet.worker();
    await until("a look at the run", async () => (await redis.scard(keys.active())) === 0);
    const { code, stderr } = await box.run(["status", id, ...fleet.own]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("another version")]);
    early.kill("SIGTERM");
    await early.result;
    await redis.hset(keys.run(id), "format", FORMAT); // as a version that knows it sees it
    await fleet.worker();
    await until("its end", async () => (await statusOf(box, id, fleet.own)).state === "done");
    expect(await statusOf(box, id, fleet.own)).toMatchObject({ copied: 2 });
    redis.disconnect();
  });
});

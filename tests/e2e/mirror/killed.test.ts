import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { itMirrors as it } from "../../harness/mirror.js";

describe("a sync that is killed", { timeout: 300_000 }, () => {
  for (const point of ["mirror-listed", "commit", "settled"])
    it(`is repeated without harm after the initial sync died at ${point}`, async ({ mirror }) => {
      for (const key of ["a", "b", "c"]) mirror.s3.put(key, key);
      const { signal } = await mirror.run(["initial-sync"], { DROVER_FAULT: point });
      expect(signal).toBe("SIGKILL");
      expect(await mirror.sync("initial-sync")).toMatchObject({ status: "success", records: 3, pending: 0 });
      expect(mirror.tree()).toEqual(mirror.source());
    });

  for (const point of ["mirror-exported", "mirror-replayed", "commit", "mirror-applied", "mirror-reported"])
    it(`is repeated without harm after the incremental sync died at ${point}`, async ({ mirror }) => {
      mirror.s3.put("a", "1");
      mirror.s3.put("gone", "1");
      await mirror.sync("initial-sync");
      mirror.s3.put("a", "2");
      mirror.s3.put("b", "new");
      mirror.s3.remove("gone");
      await mirror.tell(
        mirror.event("create", { key: "a" }),
        mirror.event("create", { key: "b" }),
        mirror.event("delete", { key: "gone" }),
      );
      const { signal } = await mirror.run(["incremental-sync"], { DROVER_FAULT: point });
      expect(signal).toBe("SIGKILL");
      expect(await mirror.sync("incremental-sync")).toMatchObject({
        status: "success",
        records: 2,
        pending: 0,
      });
      expect(mirror.tree()).toEqual(mirror.source());
      expect((await mirror.status()).events_waiting).toBe(0);
    });
});

describe("drover mirror daemon", { timeout: 300_000 }, () => {
  it("syncs at first and by events; another takes over when one is killed, and SIGTERM ends it", async ({
    mirror,
  }) => {
    mirror.s3.put("a", "1");
    const [first, second] = [mirror.start(["daemon"]), mirror.start(["daemon"])];
    await Promise.all([first, second].map((each) => each.waitFor("stdout", /daemon ready/, 60_000)));
    const isSame = () => JSON.stringify(mirror.tree()) === JSON.stringify(mirror.source());
    await until("the initial sync", isSame, 60_000);
    first.kill("SIGKILL");
    mirror.s3.put("b", "2");
    await mirror.tell(mirror.event("create", { key: "b" }));
    await until("the sync of the other", isSame, 60_000);
    second.kill("SIGTERM");
    expect((await second.result).code).toBe(0);
  });
});

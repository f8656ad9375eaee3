import { describe, expect } from "vitest";
import { itMirrors as it } from "../../harness/mirror.js";

describe("a mirror of a fleet", { timeout: 180_000 }, () => {
  it("has its files carried by the fleet's workers", async ({ mirror, fleet }) => {
    const env = { REDIS_URL: fleet.url };
    fleet.env = mirror.s3.env;
    await fleet.worker();
    for (const key of ["a", "b", "c"]) mirror.s3.put(key, key);
    const initial = await mirror.run(["initial-sync"], env);
    expect(initial).toMatchObject({ code: 0, stdout: expect.stringContaining("3 copied") });
    mirror.s3.remove("a");
    mirror.s3.put("d", "new");
    const file = mirror.work.write({
      "e.ndjson": `${mirror.event("delete", { key: "a" })}\n${mirror.event("create", { key: "d", mode: "0600" })}\n`,
    });
    await mirror.run(["replay", file], env);
    const next = await mirror.run(["incremental-sync", "--json"], env);
    expect(JSON.parse(next.stdout)).toMatchObject({
      ...{ status: "success", records: 3, pending: 0, operations: { copied: 1, removed: 1 } },
    });
    expect(mirror.tree()).toEqual(mirror.source());
    mirror.s3.remove("b");
    mirror.s3.put("dir/b", "b");
    const renames = mirror.work.write({
      "r.ndjson": `${mirror.event("rename", { from: "b", to: "dir/b" })}\n`,
    });
    await mirror.run(["replay", renames], env);
    const moved = await mirror.run(["incremental-sync", "--json"], env);
    expect(JSON.parse(moved.stdout)).toMatchObject({ pending: 0, operations: { copied: 0, moved: 1 } });
    expect(mirror.tree()).toEqual(mirror.source());
  });
});

import { describe, expect } from "vitest";
import { itMirrors as it } from "../../harness/mirror.js";

describe("drover mirror", { timeout: 300_000 }, () => {
  it("copies all at first, then what events tell of, and says what it did", async ({ mirror }) => {
    const { s3 } = mirror;
    s3.put("a.txt", "a");
    s3.put("dir/b.txt", "b");
    s3.put("dir/c.txt", "c");
    const initial = await mirror.sync("initial-sync");
    expect(initial).toMatchObject({ sync: "initial", status: "success", records: 3, pending: 0 });
    expect(mirror.tree()).toEqual(mirror.source());
    expect(
      mirror
        .csv(initial.state_file)
        .slice(1)
        .map((line) => line.split(",")[0]),
    ).toEqual(["a.txt", "dir/b.txt", "dir/c.txt"]);

    s3.put("new.txt", "new");
    s3.remove("a.txt");
    s3.put("dir/moved.txt", "b");
    s3.remove("dir/b.txt");
    await mirror.tell(
      mirror.event("create", { key: "new.txt" }),
      mirror.event("delete", { key: "a.txt" }),
      mirror.event("rename", { from: "dir/b.txt", to: "dir/moved.txt" }),
    );
    const second = await mirror.sync("incremental-sync");
    expect(second).toMatchObject({
      status: "success",
      events_processed: 3,
      changes: { added: 1, removed: 1, changed: 0, renamed: 1, permissions: 0 },
      operations: { copied: 1, moved: 1, removed: 1 },
      records: 3,
      pending: 0,
    });
    expect(mirror.tree()).toEqual(mirror.source());

    const idle = await mirror.sync("incremental-sync");
    expect(idle).toMatchObject({ status: "success", runs: [], state_file: null, events_processed: 0 });
    expect(await mirror.status()).toMatchObject({ records: 3, events_waiting: 0, dead_letters: 0 });
  });

  it("tells each step of its test, and fails where one does", async ({ mirror }) => {
    mirror.s3.put("a", "1");
    const good = await mirror.run(["test"]);
    expect(good.stdout.match(/^✓/gm)).toHaveLength(7);
    expect(good).toMatchObject({ code: 0, stdout: expect.stringContaining("all steps passed") });
    mirror.s3.fault = (_, answer) => {
      answer.writeHead(403).end();
      return true;
    };
    const bad = await mirror.run(["test"]);
    expect(bad).toMatchObject({ code: 1, stdout: expect.stringContaining("✗ source") });
  });

  it("refuses what is not set, with code 2", async ({ mirror }) => {
    expect(await mirror.run(["initial-sync", "--mirror", "other"])).toMatchObject({
      ...{ code: 2, stdout: "", stderr: expect.stringContaining("there is no mirror other") },
    });
  });
});

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import type { Sandbox } from "../../harness/drover.js";
import type { Work } from "../../harness/fixtures.js";
import { it } from "../../harness/s3-fixtures.js";

/** Syncs two directories, and lets the clock of the file system go on, so that no later edit is of the same tick. */
async function sync(box: Sandbox, work: Work, ...args: string[]) {
  await sleep(60);
  const done = await box.run(["bisync", work.at("a"), work.at("b"), "--json", ...args]);
  return { ...done, result: JSON.parse(done.stdout) as Result };
}

interface Result {
  run: string | null;
  in_sync: boolean;
  items: { path: string; action: string; status: string; copies?: string[]; backup?: string }[];
  stopped?: { code: string };
}

const read = (work: Work, path: string) => readFileSync(work.at(path), "utf8");

describe("drover conflicts and drover resolve", () => {
  it("resolve what was listed, and keep the version that loses", async ({ box, work }) => {
    work.write({ "a/one": "1", "a/two": "2", "a/three": "3", "b/four": "4" });
    expect((await sync(box, work)).code).toBe(0);
    work.write({ "a/one": "local", "b/one": "remote", "a/two": "l2", "b/two": "r2", "b/three": "r3" });
    rmSync(work.at("a/three"));
    const listed = await sync(box, work, "--conflict", "manual");
    expect(listed.code).toBe(1);
    expect(listed.result.items.map(({ path, action }) => [path, action]).sort()).toEqual([
      ["one", "listed"],
      ["three", "listed"],
      ["two", "listed"],
    ]);
    const shown = await box.run(["conflicts", work.at("a")]);
    expect(shown.code).toBe(1);
    expect(shown.stdout).toContain("! three (deleted locally)");

    expect((await box.run(["resolve", work.at("a"), "one", "--take", "remote"])).code).toBe(0);
    expect(read(work, "a/one")).toBe("remote");
    const both = await box.run(["resolve", work.at("a"), "two", "--take", "both", "--json"]);
    const [copied] = (JSON.parse(both.stdout) as Result).items;
    expect(read(work, "a/two")).toBe("r2");
    expect(read(work, `b/${copied?.copies?.[0]}`)).toBe("l2");
    expect((await box.run(["resolve", work.at("a"), "three", "--take", "local"])).code).toBe(0);
    expect(existsSync(work.at("b/three"))).toBe(false);
    expect((await box.run(["conflicts", work.at("a")])).code).toBe(0);
    expect((await sync(box, work)).result).toMatchObject({ in_sync: true });
  });

  it("does nothing with a version that was changed since it was listed", async ({ box, work }) => {
    work.write({ "a/one": "1" });
    await sync(box, work);
    work.write({ "a/one": "local", "b/one": "remote" });
    await sync(box, work, "--conflict", "manual");
    await sleep(60);
    work.write({ "a/one": "changed again" });
    const resolved = await box.run(["resolve", work.at("a"), "one", "--take", "remote"]);
    expect(resolved.code).not.toBe(0);
    expect(read(work, "a/one")).toBe("changed again");
    expect(read(work, "b/one")).toBe("remote");
    expect((await box.run(["resolve", work.at("a"), "other", "--take", "remote"])).code).toBe(2);
  });
});

describe("drover rollback", () => {
  it("takes back a run: versions, new files, deletions and conflict copies; and itself", async ({
    box,
    work,
  }) => {
    work.write({ "a/changed": "1", "a/deleted": "2", "a/both": "3" });
    await sync(box, work);
    work.write({ "a/changed": "new", "b/added": "4", "a/both": "l", "b/both": "r" });
    rmSync(work.at("b/deleted"));
    await sleep(60);
    const { result } = await sync(box, work, "--conflict", "backup-both");
    const copy = result.items.find(({ path }) => path === "both")?.copies?.[0] as string;
    expect(read(work, `a/${copy}`)).toBe("l");

    const back = await box.run(["rollback", result.run as string, "--json"]);
    expect(back.stderr).toBe("");
    expect(back.code).toBe(0);
    expect(read(work, "b/changed")).toBe("1");
    expect(read(work, "a/changed")).toBe("new");
    expect(read(work, "a/deleted")).toBe("2");
    expect(existsSync(work.at("a/added"))).toBe(false);
    expect(read(work, "a/both")).toBe("l");
    expect(existsSync(work.at(`a/${copy}`))).toBe(false);
    expect(existsSync(work.at(`b/${copy}`))).toBe(false);

    const again = await box.run(["rollback", (JSON.parse(back.stdout) as Result).run as string]);
    expect(again.code).toBe(0);
    expect(read(work, "b/changed")).toBe("new");
    expect(read(work, "a/both")).toBe("r");
    expect(existsSync(work.at("a/deleted"))).toBe(false);
    expect((await sync(box, work)).result).toMatchObject({ in_sync: true });
  });

  it("leaves alone what was changed since", async ({ box, work }) => {
    work.write({ "a/one": "1", "a/two": "2" });
    await sync(box, work);
    work.write({ "a/one": "11", "a/two": "22" });
    const { result } = await sync(box, work);
    work.write({ "b/one": "edited" });
    const back = await box.run(["rollback", result.run as string]);
    expect(back.code).toBe(1);
    expect(read(work, "b/one")).toBe("edited");
    expect(read(work, "b/two")).toBe("2");
  });
});

describe("a file in the way of a directory", () => {
  it("that was only deleted makes room", async ({ box, work }) => {
    work.write({ "a/p": "file", "a/q": "1" });
    await sync(box, work);
    rmSync(work.at("a/p"));
    work.write({ "a/p/x": "below" });
    const { result } = await sync(box, work);
    expect(result).toMatchObject({ in_sync: true });
    expect(read(work, "b/p/x")).toBe("below");
  });

  it("that was changed gets another name on both sides", async ({ box, work }) => {
    work.write({ "a/p": "file", "a/q": "1" });
    await sync(box, work);
    rmSync(work.at("a/p"));
    work.write({ "a/p/x": "below", "b/p": "changed" });
    const { result } = await sync(box, work);
    const copy = result.items.find(({ path }) => path === "p")?.copies?.[0] as string;
    expect(read(work, "b/p/x")).toBe("below");
    expect(read(work, `a/${copy}`)).toBe("changed");
    expect(read(work, `b/${copy}`)).toBe("changed");
    expect((await sync(box, work)).result).toMatchObject({ in_sync: true, items: [] });
  });

  it("is listed with manual, and no version of it can be taken", async ({ box, work }) => {
    work.write({ "a/q": "1" });
    await sync(box, work);
    work.write({ "a/p/x": "below", "b/p": "changed" });
    expect((await sync(box, work, "--conflict", "manual")).code).toBe(1);
    const resolved = await box.run(["resolve", work.at("a"), "--all", "--take", "local"]);
    expect(resolved.code).toBe(2);
    expect(resolved.stderr).toContain("rename one of them");
    expect(read(work, "b/p")).toBe("changed");
    expect(read(work, "a/p/x")).toBe("below");
  });

  it("that nobody has synced gets another name one way, too", async ({ box, work }) => {
    for (const [direction, side, other] of [
      ["push", "b", "a"],
      ["pull", "a", "b"],
    ]) {
      work.write({
        [`${other}/${direction}/x`]: "below",
        [`${side}/${direction}`]: "file",
        [`${other}/q`]: "1",
      });
      const { code, result } = await sync(box, work, "--direction", direction as string);
      const copy = result.items.find(({ path }) => path === direction)?.copies?.[0] as string;
      expect(read(work, `${side}/${direction}/x`)).toBe("below");
      expect(read(work, `${side}/${copy}`)).toBe("file");
      expect(existsSync(work.at(`${other}/${copy}`))).toBe(false);
      expect(code).toBe(0);
      expect(result.items.filter(({ path }) => path === direction)).toHaveLength(1);
    }
  });

  it("that nobody has synced is listed with manual one way", async ({ box, work }) => {
    work.write({ "a/p/x": "below", "b/p": "file", "a/q": "1" });
    const { code, result } = await sync(box, work, "--direction", "push", "--conflict", "manual");
    expect(code).toBe(1);
    expect(result.items.find(({ path }) => path === "p")).toMatchObject({ action: "listed" });
    expect((await box.run(["conflicts", work.at("a")])).code).toBe(1);
  });

  it("comes beside the directory where only that side is written, once", async ({ box, work }) => {
    work.write({ "a/p": "file", "a/q": "1" });
    await sync(box, work);
    rmSync(work.at("a/p"));
    work.write({ "a/p/x": "below", "b/p": "changed" });
    const { code, result } = await sync(box, work, "--direction", "pull");
    expect(code).toBe(0);
    const copy = result.items.find(({ path }) => path === "p")?.copies?.[0] as string;
    expect(read(work, `a/${copy}`)).toBe("changed");
    expect(existsSync(work.at(`b/${copy}`))).toBe(false);
    expect(read(work, "a/p/x")).toBe("below");
    expect(read(work, "b/p")).toBe("changed");
    const again = await sync(box, work, "--direction", "pull");
    expect(again.result.items.filter(({ copies }) => copies)).toEqual([]);
    expect(readdirSync(work.at("a")).filter((name) => name.includes("conflict"))).toEqual([copy]);
  });

  it("that was not changed stays where the side of the directory alone is written", async ({ box, work }) => {
    work.write({ "a/p": "file", "a/q": "1" });
    await sync(box, work);
    rmSync(work.at("a/p"));
    work.write({ "a/p/x": "below" });
    const { code, stdout } = await sync(box, work, "--direction", "pull");
    expect(code).toBe(1);
    expect(stdout).toContain("blocked");
    expect(read(work, "a/p/x")).toBe("below");
    expect(read(work, "b/p")).toBe("file");
  });

  it("is blocked where its own version of the side that is written wins", async ({ box, work }) => {
    work.write({ "a/q": "1" });
    await sync(box, work);
    work.write({ "a/p/x": "below", "b/p": "changed" });
    const { code } = await sync(box, work, "--direction", "pull", "--conflict", "local-wins");
    expect(code).toBe(1);
    expect(read(work, "a/p/x")).toBe("below");
    expect(read(work, "b/p")).toBe("changed");
  });
});

describe("a sync whose end cannot be noted", () => {
  it("does not say that nothing was changed, and the next one goes on", async ({ box, work }) => {
    work.write({ "a/one": "1" });
    mkdirSync(work.at("b"));
    await sync(box, work);
    const [marker] = readdirSync(work.at("b")).filter((name) => name.startsWith(".drover-pair-"));
    mkdirSync(work.at(`b/${marker}.new`));
    work.write({ "a/one": "edited" });
    const broken = await sync(box, work);
    expect(broken.stderr).toContain("the end of this sync cannot be noted");
    expect(broken.stderr).not.toContain("nothing was changed");
    expect(read(work, "b/one")).toBe("edited");
    rmSync(work.at(`b/${marker}.new`), { recursive: true });
    const next = await sync(box, work);
    expect(next).toMatchObject({ code: 0, result: { in_sync: true, items: [] } });
  });
});

describe("permissions", () => {
  it("that were changed alone come to the other side, in both directions", async ({ box, work }) => {
    work.write({ "a/one": "1", "a/two": "2" });
    chmodSync(work.at("a/one"), 0o644);
    await sync(box, work);
    chmodSync(work.at("a/one"), 0o600);
    chmodSync(work.at("b/two"), 0o700);
    await sync(box, work);
    expect(statSync(work.at("b/one")).mode & 0o777).toBe(0o600);
    expect(statSync(work.at("a/two")).mode & 0o777).toBe(0o700);
    expect((await sync(box, work)).result).toMatchObject({ in_sync: true, items: [] });
  });
});

describe("what runs have replaced", () => {
  it("is kept, and goes with --keep-backups", async ({ box, work }) => {
    work.write({ "a/one": "1" });
    await sync(box, work);
    work.write({ "a/one": "22" });
    const { result } = await sync(box, work);
    const kept = result.items[0]?.backup as string;
    expect(readFileSync(kept, "utf8")).toBe("1");
    expect((await box.run(["pairs", "show", work.at("a")])).stdout).toMatch(/^backups +1 versions, 1 B$/m);
    work.write({ "a/one": "333" });
    await sync(box, work, "--keep-backups", "0");
    expect(existsSync(kept)).toBe(false);
    expect((await box.run(["rollback", result.run as string])).code).toBe(2);
  });
});

describe("a directory in the way of a file", () => {
  it("makes room if it is empty, and is named if it is not", async ({ box, work }) => {
    work.write({ "a/one": "1", "a/two": "2", "b/two/.drover-0123456789abcdef": "left by nobody known" });
    mkdirSync(work.at("b/one"));
    const done = await sync(box, work);
    expect(done.code).toBe(1);
    expect(read(work, "b/one")).toBe("1");
    expect(done.stdout).toContain(`${work.at("b/two")} is a directory there, and not empty`);
    rmSync(work.at("b/two"), { recursive: true });
    expect((await sync(box, work)).code).toBe(0);
    expect(read(work, "b/two")).toBe("2");
  });
});

describe("a pair of a directory and S3", () => {
  it("is kept the same in both directions, and taken back", async ({ box, work, s3 }) => {
    const { env } = s3;
    const args = ["bisync", work.at("a"), s3.url("side")];
    work.write({ "a/one": "1", "a/sub/two": "2" });
    await s3.put("side/three", "3");
    expect((await box.run(args, { env })).code).toBe(0);
    expect(read(work, "a/three")).toBe("3");
    expect((await s3.get("side/sub/two")).toString()).toBe("2");
    await sleep(60);
    work.write({ "a/one": "local" });
    await s3.put("side/one", "remote!");
    await s3.remove("side/sub/two");
    const done = await box.run([...args, "--conflict", "remote-wins", "--json"], { env });
    const result = JSON.parse(done.stdout) as Result;
    expect(read(work, "a/one")).toBe("remote!");
    expect(existsSync(work.at("a/sub/two"))).toBe(false);
    expect((await box.run([...args, "--json"], { env })).stdout).toContain('"items":[]');
    expect((await box.run(["rollback", result.run as string], { env })).code).toBe(0);
    expect(read(work, "a/one")).toBe("local");
    expect(read(work, "a/sub/two")).toBe("2");
  });
});

describe("three machines with a Redis each, on one prefix", () => {
  it("come to the same tree, and no version is lost", { timeout: 120_000 }, async ({ box, work, s3 }) => {
    const machines = ["m1", "m2", "m3"];
    const sync = async (machine: string, ...args: string[]) => {
      await sleep(60);
      const own = ["--state-dir", work.at(`state-${machine}`), "--conflict", "backup-both", "--json"];
      const done = await box.run(["bisync", work.at(machine), s3.url("side"), ...own, ...args], {
        env: s3.env,
      });
      return { code: done.code, ...(JSON.parse(done.stdout) as Result) };
    };
    const all = async () => {
      for (const machine of machines) {
        const done = await sync(machine);
        expect(done, JSON.stringify(done)).toMatchObject({ in_sync: true, code: 0 });
      }
    };
    work.write({ "m1/a": "of 1", "m2/b": "of 2", "m3/c": "of 3" });
    await all();
    await all();
    for (const machine of machines) expect(read(work, `${machine}/c`)).toBe("of 3");
    work.write({ "m1/a": "edit of 1", "m2/a": "edit of 2", "m3/new": "3" });
    rmSync(work.at("m2/b"));
    await all();
    await all();
    const trees = machines.map((machine) =>
      readdirSync(work.at(machine))
        .filter((name) => !name.startsWith(".drover-"))
        .map((name) => [name, read(work, `${machine}/${name}`)])
        .sort(),
    );
    expect(trees[1]).toEqual(trees[0]);
    expect(trees[2]).toEqual(trees[0]);
    const texts = (trees[0] ?? []).map(([, text]) => text);
    expect(texts).toEqual(expect.arrayContaining(["edit of 1", "edit of 2", "3", "of 3"]));
    expect(texts).not.toContain("of 2");
  });
});

describe("a prefix that was restored from a backup", () => {
  it("stops the sync; --adopt brings both sides together and deletes nothing", async ({ box, work, s3 }) => {
    const { env } = s3;
    const args = ["bisync", work.at("a"), s3.url("side"), "--json"];
    work.write({ "a/one": "1", "a/two": "2" });
    await box.run(args, { env });
    const yesterday = new Map<string, string>();
    const keys = [".drover-pair-", "one", "two"];
    for (const name of readdirSync(work.at("a")).filter((each) => keys.some((key) => each.startsWith(key))))
      yesterday.set(`side/${name}`, await s3.get(`side/${name}`));
    expect(yesterday.size).toBe(3);
    await sleep(60);
    work.write({ "a/one": "edited since", "a/three": "3" });
    rmSync(work.at("a/two"));
    expect((await box.run(args, { env })).code).toBe(0);
    await s3.remove("side/three");
    for (const [key, text] of yesterday) await s3.put(key, text);

    const stopped = await box.run(args, { env });
    expect(stopped.code).toBe(1);
    expect(JSON.parse(stopped.stdout)).toMatchObject({ stopped: { code: "generation" } });
    expect(stopped.stderr).toContain("nothing was changed");
    const adopted = await box.run([...args, "--adopt", "--conflict", "local-wins"], { env });
    expect(adopted.code).toBe(0);
    expect(read(work, "a/one")).toBe("edited since");
    expect(read(work, "a/two")).toBe("2");
    expect(await s3.get("side/three")).toBe("3");
    expect((await box.run(args, { env })).stdout).toContain('"items":[]');
  });
});

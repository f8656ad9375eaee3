import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { PairTerms } from "@drover/shared/pair/decide";
import { afterEach, describe, expect, type TestContext } from "vitest";
import { filesBelow, type Sandbox } from "../../harness/drover.js";
import { FakeS3, sendError } from "../../harness/fake-s3.js";
import { it, type Work } from "../../harness/fixtures.js";
import { TestFleet } from "../../harness/fleet.js";
import { DirectoryTree, FakeTree } from "../../harness/pair/trees.js";
import { PairWorld } from "../../harness/pair/world.js";

const TERMS: PairTerms = {
  direction: "bidirectional",
  strategy: "backup-both",
  backups: "all",
  noDelete: false,
};

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** A directory and S3, whose first answer to a write of `a` is lost after something was edited. */
async function lost(
  method: "PUT" | "DELETE",
  edit: (trees: { local: DirectoryTree; remote: FakeTree }) => void,
) {
  const s3 = await FakeS3.start();
  opened.push(() => s3.stop());
  const world = await PairWorld.open((directory) => ({
    local: new DirectoryTree(join(directory, "local")),
    remote: new FakeTree(s3, "p"),
    remoteBackups: new FakeTree(s3, ".drover-backups"),
    env: s3.env,
    impatience: { timeoutMs: 10_000, retries: 4, backoffBaseMs: 10 },
  }));
  opened.push(() => world.close());
  const trees = { local: world.local as DirectoryTree, remote: world.remote as FakeTree };
  trees.local.write("a", "version 1", "rename");
  trees.local.write("anchor", "stays", "rename");
  await world.sync(TERMS);
  let isLost = false;
  s3.fault = ({ method: asked, key }, answer) => {
    if (isLost || asked !== method || key !== "p/a") return false;
    isLost = true;
    const end = answer.end.bind(answer);
    // It is done, then edited, then the answer says that it failed.
    answer.writeHead = () => answer;
    answer.end = () => {
      edit(trees);
      answer.writeHead = Object.getPrototypeOf(answer).writeHead;
      answer.end = end;
      sendError(answer, 500, "InternalError");
      return answer;
    };
    return false;
  };
  return { world, s3, ...trees, wasLost: () => isLost };
}

describe("a write that was done, and whose answer was lost", () => {
  it("makes no conflict of an edit that comes after it", async () => {
    const { world, local, remote, wasLost } = await lost("PUT", (trees) =>
      trees.local.write("a", "version 3", "rename"),
    );
    local.write("a", "version 2", "rename");
    await world.sync(TERMS);
    expect(wasLost()).toBe(true);
    expect(Object.fromEntries(await remote.all())).toEqual({ a: "version 3", anchor: "stays" });
    expect(Object.fromEntries(await local.all())).toEqual({ a: "version 3", anchor: "stays" });
    expect((await world.backups()).sort()).toEqual(["version 1", "version 2"]);
    expect((await world.sync(TERMS)).result.run).toBeUndefined();
  });

  it("takes what is made anew after a deletion for new", async () => {
    const terms: PairTerms = { ...TERMS, strategy: "remote-wins" };
    const { world, local, remote, wasLost } = await lost("DELETE", (trees) =>
      trees.local.write("a", "version 3", "rename"),
    );
    local.remove("a");
    await world.sync(terms);
    expect(wasLost()).toBe(true);
    await world.sync(terms);
    expect(local.read("a")).toBe("version 3");
    expect(remote.read("a")).toBe("version 3");
    expect(await world.backups()).toEqual(["version 1"]);
  });

  it.each(["changed", "new"])("is known by the rollback that made it: %s", async (what) => {
    const { world, s3, local, remote } = await lost("POST" as "PUT", () => {});
    const name = what === "new" ? "b" : "a";
    local.write(name, "version 2", "rename");
    const { result } = await world.sync(TERMS);
    let isLost = false;
    s3.fault = ({ method, key }, answer) => {
      if (isLost || !/PUT|DELETE/.test(method) || key !== `p/${name}`) return false;
      isLost = true;
      if (what === "new") remote.remove(name);
      else remote.write(name, "version 1", "rename"); // with an ETag of its own, as under KMS
      sendError(answer, 500, "InternalError");
      return true;
    };
    const settled = await world.rollback(TERMS, result.run as string);
    expect(isLost).toBe(true);
    expect(settled.filter(({ error }) => error)).toEqual([]);
    expect(remote.read(name)).toBe(what === "new" ? undefined : "version 1");
    expect(local.read(name)).toBe("version 2");
    s3.fault = () => false;
    await world.sync(TERMS);
    expect(remote.read(name)).toBe("version 2");
    expect((await remote.all()).size).toBe((await local.all()).size);
  });

  it("is known for what it is in the next sync, where no attempt was answered", async () => {
    const { world, s3, local, remote } = await lost("PUT", () => {});
    local.write("a", "version 2", "rename");
    s3.writes.after = ({ key }, answer) => {
      if (key !== "p/a") return false;
      sendError(answer, 500, "InternalError");
      return true;
    };
    s3.before = ({ method, key }) => {
      // Nor can it be looked at.
      if (method === "HEAD" && key === "p/a" && s3.stored(key)?.content.toString() === "version 2")
        s3.fault = ({ key: asked }, answer) => {
          if (asked !== "p/a") return false;
          sendError(answer, 500, "InternalError");
          return true;
        };
      return undefined;
    };
    const { settled } = await world.sync(TERMS);
    expect(settled).toMatchObject([{ name: "a", outcome: "failed" }]);
    expect(remote.read("a")).toBe("version 2");
    s3.writes.after = () => false;
    s3.before = () => undefined;
    s3.fault = () => false;
    local.write("a", "version 3", "rename");
    await world.sync(TERMS);
    expect(Object.fromEntries(await remote.all())).toEqual({ a: "version 3", anchor: "stays" });
    expect(local.read("a")).toBe("version 3");
  });
});

describe.concurrent("in a fleet, an attempt that is killed after it published", () => {
  /** A sync by a fleet whose first worker is killed after it published `one`, which is edited then. */
  async function killed(
    { box, work, onTestFinished }: { box: Sandbox; work: Work } & Pick<TestContext, "onTestFinished">,
    edit: () => void,
  ) {
    for (const name of ["a", "b", "kept-a", "kept-b"]) mkdirSync(work.at(name), { recursive: true });
    const fleet = await TestFleet.start(
      box,
      ["a", "b", "kept-a", "kept-b"].map((name) => work.at(name)),
    );
    onTestFinished(() => fleet.stop());
    const dirs = ["--backup-dir", work.at("kept-a"), "--remote-backup-dir", work.at("kept-b")];
    const args = [
      "bisync",
      work.at("a"),
      work.at("b"),
      ...fleet.own,
      ...dirs,
      "--conflict",
      "local-wins",
      "--json",
    ];
    work.write({ "a/one": "version 1", "a/two": "stays" });
    const first = await fleet.worker();
    expect((await box.run(args)).code).toBe(0);
    first.kill("SIGTERM");
    await first.result;

    work.write({ "a/one": "version 2" });
    fleet.env = { DROVER_FAULT: "committed" };
    const dies = await fleet.worker();
    const sync = box.start(args, { timeoutMs: 120_000 });
    await dies.result;
    expect(readFileSync(work.at("b/one"), "utf8")).toBe("version 2");
    edit();
    fleet.env = {};
    await fleet.worker();
    const { stdout } = await sync.result;
    const texts = (dir: string) =>
      filesBelow(work.at(dir))
        .map((path) => readFileSync(path, "utf8"))
        .sort();
    const { run } = JSON.parse(stdout) as { run: string };
    return { fleet, run, texts };
  }

  it("keeps both versions that the run replaced", { timeout: 180_000 }, async ({
    box,
    work,
    onTestFinished,
  }) => {
    const { fleet, run, texts } = await killed({ box, work, onTestFinished }, () =>
      work.write({ "b/one": "version 3" }),
    );
    expect(readFileSync(work.at("b/one"), "utf8")).toBe("version 2");
    expect(texts("kept-b")).toEqual(["version 1", "version 3"]);
    // What somebody has edited while the run went on is what was there before it wrote last.
    expect((await box.run(["rollback", run, ...fleet.own])).code).toBe(0);
    expect(readFileSync(work.at("b/one"), "utf8")).toBe("version 3");
  });

  it("takes an edit of what was published for a plain one, and can be taken back", {
    timeout: 180_000,
  }, async ({ box, work, onTestFinished }) => {
    const { fleet, run, texts } = await killed({ box, work, onTestFinished }, () =>
      work.write({ "a/one": "version 4" }),
    );
    expect(readFileSync(work.at("b/one"), "utf8")).toBe("version 4");
    expect(texts("kept-b")).toEqual(["version 1", "version 2"]);
    expect(texts("kept-a")).toEqual([]);
    const back = await box.run(["rollback", run, ...fleet.own]);
    expect(back.stderr).toBe("");
    expect(readFileSync(work.at("b/one"), "utf8")).toBe("version 1");
    // Everything that was kept goes in its time.
    const args = ["bisync", work.at("a"), work.at("b"), ...fleet.own, "--keep-backups", "0"];
    work.write({ "a/two": "edited" });
    expect((await box.run(args)).code).toBe(0);
    expect(existsSync(work.at("kept-b"))).toBe(true);
    expect(texts("kept-b")).toEqual([]);
    expect(readdirSync(work.at("kept-b")).length).toBeLessThanOrEqual(1);
  });
});

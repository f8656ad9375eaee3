import { createHash } from "node:crypto";
import { statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { conflictName } from "@drover/shared/pair/conflict-name";
import type { PairTerms } from "@drover/shared/pair/decide";
import { afterEach, describe, expect, it } from "vitest";
import { FakeS3, sendError } from "../../harness/fake-s3.js";
import { beforeSteps } from "../../harness/pair/steps.js";
import { DirectoryTree, type Edit, FakeTree, type QuickTree } from "../../harness/pair/trees.js";
import { PairWorld } from "../../harness/pair/world.js";

const TERMS: PairTerms = {
  direction: "bidirectional",
  strategy: "backup-both",
  backups: "all",
  noDelete: false,
};

const opened: { world: PairWorld; s3: FakeS3 }[] = [];
afterEach(async () => {
  for (const { world, s3 } of opened.splice(0)) {
    await world.close();
    await s3.stop();
  }
});

interface Trees {
  world: PairWorld;
  local: DirectoryTree;
  remote: QuickTree;
}

/** A directory and S3, or two directories. */
async function open(kind: "s3" | "directory" = "s3"): Promise<Trees> {
  const s3 = await FakeS3.start();
  const world = await PairWorld.open((directory) => ({
    local: new DirectoryTree(join(directory, "local")),
    remote: kind === "s3" ? new FakeTree(s3, "p") : new DirectoryTree(join(directory, "remote")),
    remoteBackups: new FakeTree(s3, ".drover-backups"),
    env: s3.env,
  }));
  opened.push({ world, s3 });
  return { world, local: world.local as DirectoryTree, remote: world.remote as QuickTree };
}

it("sees that a tool has replaced an object and kept the metadata of the former one", async () => {
  const { world, local, remote } = await open();
  local.write("a", "version 1", "rename");
  await world.sync(TERMS);
  remote.write("a", "version 2", "keeping-mtime");
  await world.sync(TERMS);
  expect(local.read("a")).toBe("version 2");
});

it("does not let a deleted conflict copy come back", async () => {
  const { world, local, remote } = await open();
  local.write("a", "local", "rename");
  remote.write("a", "remote", "rename");
  await world.sync(TERMS);
  const [copy = ""] = [...(await local.all()).keys()].filter((name) => name !== "a");
  expect(copy).toMatch(/^a\.conflict-local-/);
  expect(remote.read(copy)).toBe("local");
  local.remove(copy);
  await world.sync(TERMS);
  expect([...(await remote.all()).keys()]).toEqual(["a"]);
  expect([...(await local.all()).keys()]).toEqual(["a"]);
});

it.each(["replaced", "deleted"])("sees an edit that keeps size and time of what is %s", async (what) => {
  const terms: PairTerms = { ...TERMS, backups: "none" };
  const { world, local, remote } = await open();
  local.write("a", "version 1", "rename");
  local.write("b", "stays", "rename");
  await world.sync(terms);
  if (what === "replaced") remote.write("a", "version 2", "rename");
  else remote.remove("a");
  let isEdited = false;
  await beforeSteps(
    { roots: [local.root], s3: undefined },
    ({ name, paths }) => {
      // A staged file, or the directory that a file is taken away to.
      if (isEdited || !/openSync|mkdirSync/.test(name) || !/\/\.drover-(?!pair)/.test(paths[0] ?? "")) return;
      isEdited = true;
      local.write("a", "version 3", "keeping-mtime");
    },
    () => world.sync(terms),
  );
  expect(isEdited).toBe(true);
  await world.sync(terms);
  const all = await local.all();
  expect([...all.values()]).toContain("version 3");
  expect(await remote.all()).toEqual(all);
});

it("numbers a conflict copy whose name other bytes have", async () => {
  const { world, local, remote } = await open();
  remote.write("a", "remote", "rename");
  local.write("a", "local", "rename");
  const { mtimeMs } = statSync(join(local.root, "a"));
  const sha256 = createHash("sha256").update("local").digest("hex");
  const taken = conflictName("a", { side: "local", mtimeMs, sha256 });
  remote.write(taken, "other", "rename");
  await world.sync(TERMS);
  await world.sync(TERMS);
  const all = { a: "remote", [taken]: "other", [`${taken}-2`]: "local" };
  expect(Object.fromEntries(await local.all())).toEqual(all);
  expect(Object.fromEntries(await remote.all())).toEqual(all);
});

it("does not believe a listing that leaves out an object, and deletes nothing", async () => {
  const { world, local, remote } = await open();
  const { s3 } = remote as FakeTree;
  local.write("a", "version 1", "rename");
  local.write("b", "version 1", "rename");
  await world.sync(TERMS);
  s3.fault = ({ query }, answer) => {
    if (!query.has("list-type")) return false;
    answer.end(
      s3
        .page(query)
        .replace(/<Contents><Key>p\/a<\/Key>.*?<\/Contents>/, "")
        .replace("<KeyCount>3", "<KeyCount>2"),
    );
    return true;
  };
  const lied = await world.sync(TERMS);
  expect(lied.result.planned["delete-local"]).toBe(1);
  expect(local.read("a")).toBe("version 1");
  s3.fault = () => false;
  expect((await world.sync(TERMS)).result.run).toBeUndefined();
  expect(remote.read("a")).toBe("version 1");
});

it.each(["replaced", "deleted"])("leaves a version that cannot be kept: it is not %s", async (what) => {
  const { world, local, remote } = await open();
  const { s3 } = remote as FakeTree;
  local.write("a", "version 1", "rename");
  local.write("b", "stays", "rename");
  await world.sync(TERMS);
  s3.fault = ({ method, key }, answer) => {
    if (method === "GET" || !key.startsWith(".drover-backups/")) return false;
    sendError(answer, 403, "AccessDenied");
    return true;
  };
  if (what === "replaced") local.write("a", "version 2", "rename");
  else local.remove("a");
  const { settled } = await world.sync(TERMS);
  expect(settled).toMatchObject([{ name: "a", outcome: "failed" }]);
  expect(remote.read("a")).toBe("version 1");
  s3.fault = () => false;
  await world.sync(TERMS);
  expect(remote.read("a")).toBe(what === "replaced" ? "version 2" : undefined);
  expect(await world.backups()).toEqual(["version 1"]);
});

it.each(["bidirectional", "push"] as const)(
  "measures the clock of the service in a first sync: %s",
  async (direction) => {
    const { world, local, remote } = await open();
    const { s3 } = remote as FakeTree;
    const aheadMs = 3_600_000;
    s3.fault = (_request, answer) => {
      answer.setHeader("date", new Date(Date.now() + aheadMs).toUTCString());
      return false;
    };
    // Ten minutes ago by the service's clock, five by ours.
    s3.put("p/a", "remote", {}, new Date(Date.now() + aheadMs - 600_000));
    local.write("a", "local", "rename");
    const editedMs = Date.now() - 300_000;
    utimesSync(join(local.root, "a"), editedMs / 1000, editedMs / 1000);
    await world.sync({ ...TERMS, direction, strategy: "newest-wins" });
    expect([local.read("a"), remote.read("a")]).toEqual(["local", "local"]);
  },
);

it("gives a conflict copy that is replaced itself another name", async () => {
  const { world, local, remote } = await open();
  const terms: PairTerms = { ...TERMS, direction: "push" };
  remote.write("a", "remote", "rename");
  local.write("a", "local", "rename");
  await world.sync(terms);
  const [copy = ""] = [...(await remote.all()).keys()].filter((name) => name !== "a");
  local.write(copy, "other", "rename");
  await world.sync(terms);
  expect(remote.read(copy)).toBe("other");
  expect([...(await remote.all()).values()].sort()).toEqual(["local", "other", "remote"]);
});

it("does not wait for the lease of a process of this machine that was killed", async () => {
  const { world, local, remote } = await open("directory");
  local.write("a", "version 1", "rename");
  expect(await world.syncKilled(TERMS, "committed")).toBe(true);
  const started = performance.now();
  await world.sync(TERMS);
  expect(performance.now() - started).toBeLessThan(20_000);
  expect(remote.read("a")).toBe("version 1");
});

it("takes what was edited since a run was killed for a plain edit", async () => {
  const { world, local, remote } = await open();
  local.write("a", "version 1", "rename");
  await world.sync(TERMS);
  for (const fault of ["committed", "settled"]) {
    local.write("a", `${fault} 2`, "rename");
    expect(await world.syncKilled(TERMS, fault)).toBe(true);
    expect(remote.read("a")).toBe(`${fault} 2`);
    local.write("a", `${fault} 3`, "rename");
    await world.sync(TERMS);
    expect(remote.read("a")).toBe(`${fault} 3`);
    remote.write("a", `${fault} 4`, "rename");
    expect(await world.syncKilled(TERMS, fault)).toBe(true);
    expect(local.read("a")).toBe(`${fault} 4`);
    remote.write("a", `${fault} 5`, "rename");
    await world.sync(TERMS);
    expect(local.read("a")).toBe(`${fault} 5`);
    expect((await local.all()).size).toBe(1);
  }
});

/** What is done to a pair that holds `a` in its first version, before the sync. */
const SITUATIONS: Record<string, (trees: Trees) => void> = {
  "push over": ({ local }) => local.write("a", "local 2, longer", "rename"),
  "pull over": ({ remote }) => remote.write("a", "remote 2, longer", "rename"),
  "push new": ({ local }) => local.write("b", "local b", "rename"),
  "pull new": ({ remote }) => remote.write("b", "remote b", "rename"),
  "delete remotely": ({ local }) => local.remove("a"),
  "delete locally": ({ remote }) => remote.remove("a"),
  conflict: ({ local, remote }) => {
    local.write("a", "local 2", "rename");
    remote.write("a", "remote 2", "rename");
  },
};

/** Every how-manieth call is preceded by an edit. All: EVERY=1 */
const EVERY = Number(process.env.EVERY ?? 80);

describe.for(["s3", "directory"] as const)("a directory and %s", (kind) => {
  it.for(Object.keys(SITUATIONS))(
    "loses no edit before any call of the file system or request: %s",
    { timeout: 3_600_000 },
    async (situation) => {
      const terms: PairTerms[] = [
        TERMS,
        { ...TERMS, strategy: "remote-wins" },
        { ...TERMS, strategy: "local-wins", backups: "conflicts" },
      ];
      const all = await open(kind);
      const s3 = opened[0]?.s3 as FakeS3;
      let at = 0;
      for (const side of ["local", "remote"] as const)
        for (const how of ["in-place", "rename", "keeping-mtime", "remove"] as const)
          for (let call = 1 + ((7 * at++) % EVERY); ; call += EVERY) {
            const prefix = `${side}-${how}-${call}`;
            const world = await PairWorld.open(
              (directory) => ({
                ...all.world.options,
                local: new DirectoryTree(join(directory, "local")),
                remote:
                  kind === "s3" ? new FakeTree(s3, prefix) : new DirectoryTree(join(directory, "remote")),
              }),
              all.world,
            );
            const trees = { world, local: world.local as DirectoryTree, remote: world.remote as QuickTree };
            const sweep = {
              situation,
              side,
              how,
              call,
              terms: terms[(at + Math.floor(call / EVERY)) % terms.length] as PairTerms,
            };
            if (!(await editedAt(trees, sweep))) break;
          }
    },
  );
});

interface Sweep {
  situation: string;
  side: "local" | "remote";
  how: Edit | "remove";
  call: number;
  terms: PairTerms;
}

let edits = 0;

/** @returns whether the sync made that many calls. */
async function editedAt(trees: Trees, { situation, side, how, call, terms }: Sweep): Promise<boolean> {
  const { world, local, remote } = trees;
  local.write("a", "version 1", "rename");
  local.write("anchor", "stays", "rename");
  await world.sync(terms);
  SITUATIONS[situation]?.(trees);
  const name = situation.endsWith("new") ? "b" : "a";
  const tree = trees[side];
  let calls = 0;
  let said = "";
  let edited: string | undefined;
  const s3 = remote instanceof FakeTree ? remote.s3 : undefined;
  await beforeSteps(
    { roots: [local.root, remote.root], s3 },
    ({ name: called, paths }) => {
      if (++calls !== call) return;
      said = `${called} ${paths}`;
      // The moment before a rename over another file is the one that nothing can be done about.
      if (
        called === "renameSync" &&
        !/\/\.drover-[^/]*$/.test(paths[1] ?? "") &&
        how !== "in-place" &&
        how !== "keeping-mtime"
      )
        return;
      if (tree.read(name) === undefined && called === "renameSync") return;
      if (how === "remove") tree.remove(name);
      else {
        edited = `e${edits++}`.padEnd(tree.read(name)?.length ?? 0, ".");
        tree.write(name, edited, how);
      }
    },
    () => world.sync(terms),
  );
  const where = JSON.stringify({ situation, side, how, call, said, ...terms });
  await world.sync(terms);
  await world.sync(terms);
  const [here, there] = [await local.all(), await remote.all()];
  expect(Object.fromEntries(here), where).toEqual(Object.fromEntries(there));
  expect((await world.sync(terms)).result.run, where).toBeUndefined();
  const kept = [...here.values(), ...(await world.backups())];
  if (edited !== undefined) expect(kept, where).toContain(edited);
  return calls >= call;
}

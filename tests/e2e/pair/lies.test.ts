import { createHash } from "node:crypto";
import { join } from "node:path";
import type { PairTerms } from "@drover/shared/pair/decide";
import { afterEach, describe, expect, it } from "vitest";
import { FakeS3, sendError } from "../../harness/fake-s3.js";
import { DirectoryTree, FakeTree } from "../../harness/pair/trees.js";
import { PairWorld } from "../../harness/pair/world.js";

const TERMS: PairTerms = {
  direction: "bidirectional",
  strategy: "newest-wins",
  backups: "all",
  noDelete: false,
};

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function open() {
  const s3 = await FakeS3.start();
  opened.push(() => s3.stop());
  const world = await PairWorld.open((directory) => ({
    local: new DirectoryTree(join(directory, "local")),
    remote: new FakeTree(s3, "p"),
    remoteBackups: new FakeTree(s3, ".drover-backups"),
    env: s3.env,
    impatience: { timeoutMs: 10_000, retries: 2, backoffBaseMs: 10 },
  }));
  opened.push(() => world.close());
  return { world, s3, local: world.local as DirectoryTree, remote: world.remote as FakeTree };
}

/** The listing leaves out an object. */
function hide(s3: FakeS3, key: string): void {
  s3.fault = ({ query }, answer) => {
    if (!query.has("list-type")) return false;
    const page = s3.page(query).replace(new RegExp(`<Contents><Key>${key}</Key>.*?</Contents>`), "");
    const count = page.match(/<Contents>/g)?.length ?? 0;
    answer.end(page.replace(/<KeyCount>\d+/, `<KeyCount>${count}`));
    return true;
  };
}

describe("a listing that leaves out an object", () => {
  it("does not let come back what was deleted on the other side", async () => {
    const { world, s3, local, remote } = await open();
    local.write("a", "version 1", "rename");
    local.write("b", "stays", "rename");
    await world.sync(TERMS);
    local.remove("a");
    hide(s3, "p/a");
    await world.sync(TERMS);
    s3.fault = () => false;
    await world.sync(TERMS);
    expect(local.read("a")).toBeUndefined();
    expect(remote.read("a")).toBeUndefined();
    expect(await world.backups()).toEqual(["version 1"]);
  });

  it.each(["pull", "push", "bidirectional"] as const)(
    "forgets nothing of what is there: %s",
    async (direction) => {
      const terms: PairTerms = { ...TERMS, direction, strategy: "manual" };
      const { world, s3, local, remote } = await open();
      local.write("a", "version 1", "rename");
      local.write("b", "stays", "rename");
      await world.sync({ ...terms, direction: "bidirectional" });
      local.write("a", "version 2", "rename");
      hide(s3, "p/a");
      const told = await world.sync(terms);
      expect(told.listed).toEqual(direction === "pull" ? ["a"] : []);
      s3.fault = () => false;
      await world.sync(terms);
      expect(local.read("a")).toBe("version 2");
      expect(remote.read("a")).toBe(direction === "pull" ? "version 1" : "version 2");
    },
  );
});

describe("a GET whose bytes end early, and that tells their number for the length", () => {
  it("is not what was listed: nothing is published", async () => {
    const { world, s3, local } = await open();
    local.write("a", "version 1", "rename");
    await world.sync(TERMS);
    // Neither its ETag nor its metadata tell what bytes it has.
    const etag = `"${createHash("md5").update("x").digest("hex")}-2"`;
    s3.put("p/a", "version 2, by a tool that uploads parts", { etag });
    s3.fault = ({ method, key }, answer) => {
      if (method !== "GET" || key !== "p/a") return false;
      answer.writeHead(200, { etag, "content-length": 9, "last-modified": new Date().toUTCString() });
      answer.end("version 2");
      return true;
    };
    const { settled } = await world.sync(TERMS);
    expect(local.read("a")).toBe("version 1");
    expect(settled).toMatchObject([{ name: "a", outcome: "failed" }]);
    s3.fault = () => false;
    await world.sync(TERMS);
    expect(local.read("a")).toBe("version 2, by a tool that uploads parts");
  });
});

describe("a HEAD that says that an object is not there", () => {
  it("does not let come back what is to be deleted", async () => {
    const { world, s3, local, remote } = await open();
    const terms: PairTerms = { ...TERMS, backups: "none" };
    local.write("a", "version 1", "rename");
    local.write("b", "stays", "rename");
    await world.sync(terms);
    local.remove("a");
    s3.fault = ({ method, key }, answer) => {
      if (method !== "HEAD" || key !== "p/a") return false;
      sendError(answer, 404, "NoSuchKey");
      return true;
    };
    await world.sync(terms);
    s3.fault = () => false;
    await world.sync(terms);
    expect(local.read("a")).toBeUndefined();
    expect(remote.read("a")).toBeUndefined();
  });
});

import { readFileSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import type { Sandbox } from "../../harness/drover.js";
import { it as base, real } from "../../harness/s3-fixtures.js";

/** A bucket that keeps every version. */
interface Bucket {
  env: Record<string, string>;
  url: string;
  text(key: string): Promise<string | undefined>;
  keys(): Promise<string[]>;
}

const it = base.extend<{ bucket: Bucket }>({
  bucket: async ({ s3, fake }, use) => {
    if (real) {
      await s3.keepVersions();
      const text = async (key: string) => (await s3.find(key))?.toString();
      await use({ env: s3.env, url: s3.url("p/"), text, keys: () => s3.list() });
      return;
    }
    fake.versions = new Map();
    await use({
      env: fake.env,
      url: "s3://bucket/p/",
      text: async (key) => fake.stored(key)?.content.toString(),
      keys: async () => fake.keys,
    });
  },
});

interface Result {
  run: string;
  items: { path: string; backup?: string; action: string }[];
}

/** Syncs, and lets the clock of the file system go on. */
async function sync(box: Sandbox, bucket: Bucket, dir: string, ...args: string[]) {
  await sleep(60);
  const done = await box.run(["bisync", dir, bucket.url, "--json", ...args], { env: bucket.env });
  expect(done).toMatchObject({ code: 0 });
  return JSON.parse(done.stdout) as Result;
}

describe("a bucket that keeps versions", () => {
  it("is its own backup: nothing is copied, and a rollback takes the versions", async ({
    box,
    work,
    bucket,
  }) => {
    const dir = work.at("a");
    work.write({ "a/one": "1", "a/two": "2", "a/x?versionId=3": "odd" });
    await sync(box, bucket, dir);
    work.write({ "a/one": "edited", "a/x?versionId=3": "odd, edited", "a/new": "new" });
    rmSync(work.at("a/two"));
    const { run, items } = await sync(box, bucket, dir);
    const kept = items.filter(({ backup }) => backup?.includes("/p/") && backup.includes("?versionId="));
    expect(kept.map(({ path }) => path).sort()).toEqual(["one", "two", "x?versionId=3"]);
    expect((await bucket.keys()).filter((key) => key.startsWith(".drover-backups"))).toEqual([]);

    const back = await box.run(["rollback", run], { env: bucket.env });
    expect(back).toMatchObject({ code: 0 });
    expect(await bucket.text("p/one")).toBe("1");
    expect(await bucket.text("p/two")).toBe("2");
    expect(await bucket.text("p/x?versionId=3")).toBe("odd");
    expect(await bucket.text("p/new")).toBeUndefined();
    expect(readFileSync(work.at("a/one"), "utf8")).toBe("edited");
  });

  it("gets copies where a place for them is named", async ({ box, work, bucket }) => {
    const dir = work.at("a");
    work.write({ "a/one": "1" });
    const there = ["--remote-backup-dir", `${bucket.url.slice(0, -2)}kept`];
    await sync(box, bucket, dir, ...there);
    work.write({ "a/one": "edited" });
    const { items } = await sync(box, bucket, dir, ...there);
    expect(items[0]?.backup).toContain("/kept/");
    expect((await bucket.keys()).filter((key) => key.startsWith("kept/"))).toHaveLength(1);
  });
});

import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HashBehind } from "@drover/worker/bytes/hash/hash-behind";
import { digestsOfSource } from "@drover/worker/bytes/hash/hash-file";
import { test as base, describe, expect } from "vitest";

const MIB = 1 << 20;

const it = base.extend<{ path: string }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  path: async ({}, use) => {
    const directory = mkdtempSync(join(tmpdir(), "drover-test-"));
    await use(join(directory, "file"));
    rmSync(directory, { recursive: true });
  },
});

describe("hashing a file that is truncated meanwhile", () => {
  it("fails without blocking other files", async ({ path }) => {
    writeFileSync(path, "short");
    const fd = openSync(path, "r");
    const hashing = new HashBehind(fd, ["sha256", "md5"]);
    hashing.advance(8 * MIB);
    await hashing.caughtUp();
    await expect(hashing.finish(8 * MIB)).rejects.toThrow("cannot hash: the file ends at 5");
    await hashing.drop();
    closeSync(fd);
  });

  it("can be cancelled", async ({ path }) => {
    writeFileSync(path, "short");
    const fd = openSync(path, "r");
    const hashing = new HashBehind(fd, ["sha256"]);
    hashing.advance(8 * MIB);
    await hashing.drop();
    closeSync(fd);
  });

  it("fails for a source file", async ({ path }) => {
    writeFileSync(path, "");
    truncateSync(path, 200 * MIB); // the size is checked every 64 MiB
    const digests = digestsOfSource(path, ["sha256"], new AbortController().signal);
    truncateSync(path, 0);
    await expect(digests).rejects.toThrow(/the file ends at \d+/);
  });
});

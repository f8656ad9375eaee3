import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import { stagingName } from "@drover/shared/storage/staging-name";
import { lost } from "@drover/worker/attempt/leases";
import { LocalRemoval } from "@drover/worker/destinations/local/removal";
import type { LocalStaging } from "@drover/worker/destinations/local/staging";
import { describe, expect } from "vitest";
import { sha256 } from "../../harness/content.js";
import { ENTRY, it, pathError } from "../helpers/ground.js";

describe("staging and publishing", () => {
  it.for([false, true])(
    "a file is there when it is committed and not before (durable: %s)",
    async (durable, { ground }) => {
      const staging = ground.stage("a/b/file", "content");
      expect(existsSync(ground.to("a/b/file"))).toBe(false);
      const stamp = await staging.commit(ENTRY, durable, () =>
        expect(existsSync(ground.to("a/b/file"))).toBe(false),
      );
      staging.close();
      expect(ground.read("a/b/file")).toBe("content");
      expect(ground.names(ground.to("a/b"))).toEqual(["file"]);
      const stat = lstatSync(ground.to("a/b/file"), { bigint: true });
      expect(Number(stat.mtimeMs)).toBe(ENTRY.mtimeMs);
      expect(stamp).toBe(statStamp(stat));
    },
  );

  it("a reader sees the old file or the new one, whole", async ({ ground }) => {
    const versions = ["a", "b"].map((letter) => letter.repeat(100_000));
    await ground.put("file", versions[0] as string);
    const seen = new Set<string>();
    const old = openSync(ground.to("file"), "r");
    for (let round = 0; round < 20; round++) {
      const staging = ground.stage("file", versions[(round + 1) % 2]);
      seen.add(ground.read("file"));
      await staging.commit(ENTRY, false, () => seen.add(ground.read("file")));
      staging.close();
      seen.add(ground.read("file"));
    }
    expect([...seen].sort()).toEqual(versions);
    expect(readFileSync(old, "utf8")).toBe(versions[0]);
    closeSync(old);
    expect(ground.names()).toEqual(["file"]);
  });

  it("what other names lead to the old file keeps its content", async ({ ground }) => {
    await ground.put("file", "old");
    linkSync(ground.to("file"), ground.to("hard"));
    await ground.put("file", "new");
    expect([ground.read("file"), ground.read("hard")]).toEqual(["new", "old"]);
  });

  it("what is discarded leaves nothing, and what is closed undecided leaves only its part", async ({
    ground,
  }) => {
    const discarded = ground.stage("file", "content");
    discarded.discard();
    discarded.close();
    expect(ground.names()).toEqual([]);
    const closed = ground.stage("file", "content");
    closed.close();
    expect(ground.names()).toHaveLength(1);
    expect(ground.names()[0]).toMatch(/^\.drover-/);
  });

  it("has the permissions of its source", async ({ ground }) => {
    const staging = ground.stage("file");
    staging.create(0o600);
    staging.writeWhole([Buffer.from("x")], 1);
    await staging.commit(ENTRY, false, () => {});
    staging.close();
    expect(statSync(ground.to("file")).mode & 0o777).toBe(0o600);
  });

  it("writes where it is told to, in any order, and starts anew when it is made again", async ({
    ground,
  }) => {
    const staging = ground.stage("file");
    staging.create(undefined);
    await staging.write([Buffer.from("old old old old old")], 0);
    staging.create(undefined);
    expect(await staging.write([Buffer.from("de"), Buffer.from("f")], 3)).toBe(6);
    expect(await staging.write([Buffer.from("abc")], 0)).toBe(3);
    const many = Array.from({ length: 3_000 }, () => Buffer.from("x"));
    expect(await staging.write(many, 6)).toBe(3_006);
    await staging.commit(ENTRY, false, () => {});
    staging.close();
    expect(ground.read("file")).toBe(`abcdef${"x".repeat(3_000)}`);
  });

  it("publishes nothing when the lease is not trusted any more", async ({ ground }) => {
    await ground.put("file", "old");
    const lease = ground.lease();
    const staging = ground.stage("file", "new", lease);
    lease.abort(lost());
    await expect(staging.commit(ENTRY, false, () => {})).rejects.toMatchObject({ class: "locked" });
    staging.discard();
    staging.close();
    expect(ground.read("file")).toBe("old");
    expect(ground.names()).toEqual(["file"]);
  });

  it("publishes nothing when the lease goes at the last moment", async ({ ground }) => {
    const lease = ground.lease();
    const staging = ground.stage("file", "new", lease);
    await expect(staging.commit(ENTRY, false, () => lease.abort(lost()))).rejects.toMatchObject({
      class: "locked",
    });
    staging.discard();
    staging.close();
    expect(ground.names()).toEqual([]);
  });

  it("takes names of 255 bytes, in any script, and different spellings of the same letter", async ({
    ground,
  }) => {
    const names = [
      "a".repeat(255),
      `${"ü".repeat(127)}x`,
      "文".repeat(85),
      "caf\u00e9",
      "cafe\u0301",
      " ",
      "-rf",
      "a\nb",
      "\\",
    ];
    for (const name of names) await ground.put(name, name);
    for (const name of names) expect(ground.read(name)).toBe(name);
    // macOS takes the two spellings for one.
    expect(ground.names().length).toBeGreaterThanOrEqual(names.length - 1);
  });

  it("keeps hundreds of directories apart while files of all of them are on their way", async ({
    ground,
  }) => {
    const all = Array.from({ length: 300 }, (_, at) => {
      const staging = ground.stage(
        `d${at}/file`,
        `content ${at}`,
        ground.lease(String(at), shortHash(`lease-${at}`)),
      );
      return { at, staging };
    });
    await Promise.all(all.map(({ staging }) => staging.commit(ENTRY, isDurable(staging), () => {})));
    for (const { at, staging } of all) {
      staging.close();
      expect(ground.read(`d${at}/file`)).toBe(`content ${at}`);
    }
    const before = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
    ground.tree.close();
    if (before > 0) expect(readdirSync("/proc/self/fd").length).toBeLessThan(before - 100);
  });
});

/** Some of them durable, so that several syncs of one directory meet. */
function isDurable(staging: LocalStaging): boolean {
  return staging.directory.path.endsWith("7");
}

describe("what is in the way", () => {
  it("a directory in the file's place is refused and stays", async ({ ground }) => {
    mkdirSync(ground.to("file/inside"), { recursive: true });
    mkdirSync(ground.to("empty"));
    for (const name of ["file", "empty"]) {
      const staging = ground.stage(name, "content");
      await expect(staging.commit(ENTRY, false, () => {})).rejects.toEqual(pathError);
      staging.discard();
      staging.close();
    }
    expect(ground.names()).toEqual(["empty", "file"]);
    expect(ground.names(ground.to("file"))).toEqual(["inside"]);
  });

  it("a pipe, a socket or a device in the file's place is refused and stays", async ({ ground }) => {
    execFileSync("mkfifo", [ground.to("pipe")]);
    const server = createServer().listen(ground.to("socket"));
    await once(server, "listening");
    for (const name of ["pipe", "socket"]) {
      const staging = ground.stage(name, "content");
      await expect(staging.commit(ENTRY, false, () => {})).rejects.toEqual(pathError);
      staging.discard();
      staging.close();
    }
    expect(ground.names()).toEqual(["pipe", "socket"]);
    expect(lstatSync(ground.to("pipe")).isFIFO()).toBe(true);
    expect(lstatSync(ground.to("socket")).isSocket()).toBe(true);
    server.close();
  });

  it("a file in a directory's place is refused and stays", async ({ ground }) => {
    writeFileSync(ground.to("a"), "a file");
    for (const name of ["a/b", "a/b/c"]) expect(() => ground.stage(name)).toThrow(pathError);
    expect(ground.read("a")).toBe("a file");
    expect(ground.tree.stat(ground.to("a/b"))).toBeUndefined();
  });

  it.for(["elsewhere", "root/real", "nothing", "."])(
    "a link in a directory's place is refused: to %s",
    (to, { ground }) => {
      mkdirSync(join(ground.path, "elsewhere"));
      mkdirSync(ground.to("real"));
      symlinkSync(join(ground.path, to), ground.to("link"));
      for (const name of ["link/file", "link/sub/file"]) expect(() => ground.stage(name)).toThrow(pathError);
      expect(ground.names(join(ground.path, "elsewhere"))).toEqual([]);
      expect(ground.names(ground.to("real"))).toEqual([]);
      expect(existsSync(join(ground.path, "nothing"))).toBe(false);
    },
  );

  it("a link in the file's place is replaced, and what it leads to stays", async ({ ground }) => {
    writeFileSync(join(ground.path, "victim"), "precious");
    symlinkSync(join(ground.path, "victim"), ground.to("file"));
    await ground.put("file", "content");
    expect(lstatSync(ground.to("file")).isFile()).toBe(true);
    expect(readFileSync(join(ground.path, "victim"), "utf8")).toBe("precious");
  });

  it("anything in the staging file's place is refused and stays", ({ ground }) => {
    writeFileSync(join(ground.path, "victim"), "precious");
    const lease = ground.lease();
    symlinkSync(join(ground.path, "victim"), ground.to(stagingName(lease.key, lease.fence)));
    const staging = ground.stage("file", undefined, lease);
    expect(() => staging.create(undefined)).toThrow(TransferError);
    staging.discard();
    staging.close();
    expect(readFileSync(join(ground.path, "victim"), "utf8")).toBe("precious");
    expect(ground.names()).toHaveLength(1);
  });

  it.for(["before the file is made", "before it is published"])(
    "a parent swapped for a link %s leads nowhere",
    async (when, { ground }) => {
      mkdirSync(join(ground.path, "elsewhere/sub"), { recursive: true });
      const swap = () => {
        renameSync(ground.to("dir"), join(ground.path, "aside"));
        symlinkSync(join(ground.path, "elsewhere"), ground.to("dir"));
      };
      const staging = ground.stage("dir/sub/file");
      if (when === "before the file is made") swap();
      staging.create(undefined);
      staging.writeWhole([Buffer.from("content")], 7);
      const committed = staging.commit(ENTRY, true, () => {
        if (when !== "before the file is made") swap();
      });
      await expect(committed).rejects.toMatchObject({ name: "TransferError", class: "path" });
      staging.discard();
      staging.close();
      expect(ground.names(join(ground.path, "elsewhere/sub"))).toEqual([]);
      expect(ground.names(join(ground.path, "aside/sub"))).toEqual([]);
      // The link is there now, and is refused as one.
      expect(() => ground.stage("dir/other/file")).toThrow(pathError);
      expect(ground.names(join(ground.path, "elsewhere"))).toEqual(["sub"]);
    },
  );

  it.for(["the root", "a parent of the root"])(
    "%s swapped for a link leads nowhere: nothing is written, removed or taken for a copy there",
    async (what, { ground }) => {
      const aside = mkdtempSync(join(tmpdir(), "drover-aside-"));
      const victim = join(aside, "victim");
      const elsewhere = what === "the root" ? victim : join(victim, "root");
      mkdirSync(join(elsewhere, "dir"), { recursive: true });
      await ground.put("removed", "content");
      const stamp = statStamp(lstatSync(ground.to("removed"), { bigint: true }));
      for (const name of ["removed", "dir/file"]) writeFileSync(join(elsewhere, name), "content");
      const staging = ground.stage("dir/file", "content");
      const swapped = what === "the root" ? ground.root : ground.path;
      renameSync(swapped, join(aside, "old"));
      symlinkSync(victim, swapped);
      await setImmediate(); // one check of a directory serves all files that are published in one turn

      const received = { sizeBytes: 7, sha256: sha256("content"), sourceDigest: "", lengthBytes: 7 };
      await expect(staging.publish(received, ENTRY)).rejects.toMatchObject({ class: "path" });
      staging.discard();
      staging.close();
      // The root's directory is still open, and is found out when the file is published.
      const open = ground.stage("file", "content");
      await expect(open.commit(ENTRY, false, () => {})).rejects.toMatchObject({ class: "path" });
      open.discard();
      open.close();
      for (const name of ["file", "dir/other", "new/file"])
        expect(() => ground.stage(name, "content")).toThrow(pathError);
      expect(() => ground.tree.look("dir/file")).toThrow(pathError);
      expect(() => new LocalRemoval(ground.tree, "removed", stamp, "lease", "1")).toThrow(pathError);
      expect(ground.names(elsewhere)).toEqual(["dir", "removed"]);
      expect(ground.names(join(elsewhere, "dir"))).toEqual(["file"]);
      expect(ground.names(join(aside, "old", what === "the root" ? "" : "root")).sort()).toEqual([
        "dir",
        "removed",
      ]);
      rmSync(swapped);
      rmSync(aside, { recursive: true });
    },
  );

  it.for(["root/dir/sub", "root/dir", "root", "."])(
    "%s moved elsewhere, with a link to it in its place, gets nothing more, and loses nothing",
    async (moved, { ground }) => {
      const elsewhere = mkdtempSync(join(tmpdir(), "drover-elsewhere-"));
      await ground.put("dir/sub/there", "content");
      const stamp = statStamp(lstatSync(ground.to("dir/sub/there"), { bigint: true }));
      const staging = ground.stage("dir/sub/file", "content");
      const removal = new LocalRemoval(ground.tree, "dir/sub/there", stamp, "lease", "1");
      const from = join(ground.path, moved);
      renameSync(from, join(elsewhere, "moved"));
      symlinkSync(join(elsewhere, "moved"), from);
      await setImmediate(); // one check of a directory serves all files that are published in one turn

      await expect(staging.commit(ENTRY, false, () => {})).rejects.toMatchObject({ class: "path" });
      expect(() => removal.take(() => {})).toThrow(expect.objectContaining({ class: "path" }));
      staging.discard();
      staging.close();
      removal.close();
      expect(() => ground.stage("dir/sub/other", "content")).toThrow(pathError);
      expect(() => new LocalRemoval(ground.tree, "dir/sub/there", stamp, "lease", "2")).toThrow(pathError);
      expect(ground.names(ground.to("dir/sub"))).toEqual(["there"]);
      rmSync(from);
      rmSync(elsewhere, { recursive: true });
    },
  );

  it.skipIf(process.getuid?.() === 0)("a directory that may not be written is said so", ({ ground }) => {
    mkdirSync(ground.to("dir"));
    chmodSync(ground.to("dir"), 0o500);
    expect(() => ground.stage("dir/file", "x")).toThrow(expect.objectContaining({ class: "permission" }));
    chmodSync(ground.to("dir"), 0o700);
  });
});

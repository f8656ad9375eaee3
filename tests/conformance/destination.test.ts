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
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { statStamp } from "@drover/shared/catalog";
import { TransferError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import { LocalTree, stagingName } from "@drover/shared/storage/local-tree";
import type { SourceEntry } from "@drover/shared/storage/source";
import { Lease, lost, now } from "@drover/worker/leases";
import { LocalStaging } from "@drover/worker/local-staging";
import type { Part } from "@drover/worker/part";
import { test as base, describe, expect } from "vitest";

/** Of some destination. */
const LEASE = shortHash("destination");

const ENTRY: SourceEntry = {
  sizeBytes: undefined,
  version: "",
  strongEtag: "",
  mtimeMs: 1_600_000_000_000,
  framed: true,
  ranges: false,
  encoding: "",
  digest: undefined,
};

/** A destination tree with what is around it, and short ways to stage in it. */
class Ground {
  readonly path = mkdtempSync(join(tmpdir(), "drover-tree-"));
  readonly root = join(this.path, "root");
  readonly tree = new LocalTree(this.root);
  #fences = 0;

  to(name: string): string {
    return join(this.root, name);
  }

  read(name: string): string {
    return readFileSync(this.to(name), "utf8");
  }

  lease(fence = String(++this.#fences), key = LEASE): Lease {
    return new Lease(key, fence, now());
  }

  stage(name: string, content?: string, lease = this.lease()): LocalStaging {
    const staging = new LocalStaging(this.tree, name, lease);
    if (content === undefined) return staging;
    staging.create(undefined);
    staging.writeWhole([Buffer.from(content)], Buffer.byteLength(content));
    return staging;
  }

  async put(name: string, content: string, durable = false): Promise<void> {
    const staging = this.stage(name, content);
    await staging.commit(ENTRY, durable, () => {});
    staging.close();
  }

  /** Leaves a staged part behind, as a predecessor does; answers with its fence and the note of it. */
  leave(name: string, content: string): { fence: string; part: Part; path: string } {
    const lease = this.lease();
    const staging = this.stage(name, content, lease);
    staging.keep();
    staging.close();
    const directory = name.includes("/") ? name.slice(0, name.lastIndexOf("/") + 1) : "";
    const path = this.to(`${directory}${stagingName(lease.key, lease.fence)}`);
    const part: Part = {
      fence: lease.fence,
      version: "v",
      strongEtag: '"v"',
      sizeBytes: undefined,
      contiguousBytes: content.length,
      pieces: [],
      mismatches: 0,
      oneStream: false,
      receivedBytes: 0,
    };
    return { fence: lease.fence, part, path };
  }

  names(directory = this.root): string[] {
    return readdirSync(directory).sort();
  }
}

const it = base.extend<{ ground: Ground }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  ground: async ({}, use) => {
    const ground = new Ground();
    await use(ground);
    ground.tree.close();
    rmSync(ground.path, { recursive: true, force: true });
  },
});

const pathError = expect.objectContaining({ name: "TransferError", class: "path", permanent: true });

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
    await Promise.all(all.map(({ staging }) => staging.commit(ENTRY, at300(staging), () => {})));
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
function at300(staging: LocalStaging): boolean {
  return staging.directory.path.endsWith("7");
}

describe("taking over", () => {
  it.for(["released", "dead", "expired"])(
    "the part of a predecessor whose lease is %s",
    async (origin, { ground }) => {
      const { fence, part, path } = ground.leave("dir/file", "0123456789 and what was not noted");
      part.contiguousBytes = 10;
      const inode = statSync(path).ino;
      const staging = ground.stage("dir/file");
      expect(staging.adopt([fence], part, origin === "expired")).toBe(true);
      expect(existsSync(path)).toBe(false);
      await staging.write([Buffer.from("rest")], 10);
      await staging.commit(ENTRY, false, () => {});
      staging.close();
      expect(ground.read("dir/file")).toBe("0123456789rest");
      // One that may still write to its file must not write to ours.
      expect(statSync(ground.to("dir/file")).ino === inode).toBe(origin !== "expired");
      expect(ground.names(ground.to("dir"))).toEqual(["file"]);
    },
  );

  it("leaves nothing of the part where the file is begun anew, its mode neither", async ({ ground }) => {
    const { fence, part } = ground.leave("file", "0123456789");
    const staging = ground.stage("file");
    expect(staging.adopt([fence], part, false)).toBe(true);
    staging.create(0o600); // the source has another version by now
    staging.writeWhole([Buffer.from("new")], 3);
    await staging.commit(ENTRY, false, () => {});
    staging.close();
    expect(ground.read("file")).toBe("new");
    expect(statSync(ground.to("file")).mode & 0o777).toBe(0o600);
    expect(ground.names()).toEqual(["file"]);
  });

  it("gets a copy that its predecessor, still alive, cannot write to", async ({ ground }) => {
    const { fence, part, path } = ground.leave("file", "0123456789");
    const alive = openSync(path, "r+");
    const staging = ground.stage("file");
    expect(staging.adopt([fence], part, true)).toBe(true);
    writeSync(alive, "XXXXXXXXXX", 0);
    closeSync(alive);
    await staging.commit(ENTRY, false, () => {});
    staging.close();
    expect(ground.read("file")).toBe("0123456789");
  });

  it("keeps pieces behind the noted bytes where those are noted too", ({ ground }) => {
    const { fence, part } = ground.leave("file", "0123456789abcdef");
    const staging = ground.stage("file");
    expect(staging.adopt([fence], { ...part, contiguousBytes: 4, pieces: [3] }, false)).toBe(true);
    expect(readFileSync(staging.fd, "utf8")).toBe("0123456789abcdef");
    staging.discard();
    staging.close();
  });

  it.for<[string, (part: Part) => Part | undefined]>([
    ["nothing is known of it", () => undefined],
    ["it is shorter than what was noted", (part) => ({ ...part, contiguousBytes: 1_000 })],
    ["the note is of another one", (part) => ({ ...part, fence: "777" })],
    ["nothing of it is noted", (part) => ({ ...part, contiguousBytes: 0 })],
  ])("does not go on with a part when %s, and removes it", ([, change], { ground }) => {
    for (const alive of [true, false]) {
      const { fence, part } = ground.leave("file", "0123456789");
      const staging = ground.stage("file");
      expect(staging.adopt([fence], change(part), alive)).toBe(false);
      expect(ground.names()).toEqual([]);
      staging.create(undefined);
      expect(statSync(ground.to(ground.names()[0] as string)).size).toBe(0);
      staging.discard();
      staging.close();
    }
  });

  it("removes the staging of every predecessor, and goes on with the noted one", async ({ ground }) => {
    const left = ["one", "two", "three"].map((content) => ground.leave("file", content));
    const staging = ground.stage("file");
    const fences = left.map(({ fence }) => fence);
    expect(staging.adopt([...fences, "gone"], left[1]?.part, true)).toBe(true);
    for (const { path } of left) expect(existsSync(path)).toBe(false);
    expect(ground.names()).toHaveLength(1);
    await staging.commit(ENTRY, false, () => {});
    staging.close();
    expect(ground.read("file")).toBe("two");
  });

  it("leaves other destinations' staging alone", ({ ground }) => {
    const other = ground.stage("other", "content", ground.lease("1", "another lease"));
    const staging = ground.stage("file");
    expect(staging.adopt(["1"], undefined, true)).toBe(false);
    expect(ground.names()).toHaveLength(1);
    other.discard();
    other.close();
    staging.close();
  });

  it.for([true, false])(
    "fences the predecessor off: its rename finds nothing (part known: %s)",
    async (known, { ground }) => {
      await ground.put("file", "old");
      const staleLease = ground.lease();
      const stale = ground.stage("file", "stale", staleLease);
      const successor = ground.stage("file");
      const part: Part = {
        fence: staleLease.fence,
        version: "",
        strongEtag: "",
        sizeBytes: undefined,
        contiguousBytes: 5,
        pieces: [],
        mismatches: 0,
        oneStream: false,
        receivedBytes: 0,
      };
      let begun = false;
      // The worst moment: its lease was looked at, its rename comes next.
      const check = staleLease.check.bind(staleLease);
      staleLease.check = () => {
        check();
        if (begun) return;
        begun = true;
        successor.adopt([staleLease.fence], known ? part : undefined, true);
      };
      await expect(stale.commit(ENTRY, false, () => {})).rejects.toMatchObject({
        class: "locked",
        permanent: false,
      });
      expect(ground.read("file")).toBe("old");
      stale.discard();
      stale.close();
      successor.create(undefined);
      successor.writeWhole([Buffer.from("new")], 3);
      await successor.commit(ENTRY, false, () => {});
      successor.close();
      expect(ground.read("file")).toBe("new");
      expect(ground.names()).toEqual(["file"]);
    },
  );

  it("a stale worker that goes on writing and gives up does no harm to its successor", async ({ ground }) => {
    const staleLease = ground.lease();
    const stale = ground.stage("file", "stale", staleLease);
    const successor = ground.stage("file");
    successor.adopt([staleLease.fence], undefined, true);
    successor.create(undefined);
    successor.writeWhole([Buffer.from("new")], 3);
    await stale.write([Buffer.from("more and more")], 5);
    stale.discard();
    stale.close();
    await successor.commit(ENTRY, false, () => {});
    successor.close();
    expect(ground.read("file")).toBe("new");
  });

  it.for([true, false])(
    "never follows a link that was put where the part was (alive: %s)",
    async (alive, { ground }) => {
      writeFileSync(join(ground.path, "secret"), "SECRET-CONTENT");
      const { fence, part, path } = ground.leave("file", "0123456789");
      rmSync(path);
      symlinkSync(join(ground.path, "secret"), path);
      const staging = ground.stage("file");
      let adopted = false;
      try {
        adopted = staging.adopt([fence], part, alive);
      } catch (error) {
        expect(error).toBeInstanceOf(TransferError);
      }
      expect(adopted).toBe(false);
      staging.discard();
      staging.close();
      for (const name of ground.names()) {
        expect(lstatSync(ground.to(name)).isSymbolicLink() ? "" : ground.read(name)).not.toContain("SECRET");
      }
      expect(readFileSync(join(ground.path, "secret"), "utf8")).toBe("SECRET-CONTENT");
    },
  );
});

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

  it.skipIf(process.getuid?.() === 0)("a directory that may not be written is said so", ({ ground }) => {
    mkdirSync(ground.to("dir"));
    chmodSync(ground.to("dir"), 0o500);
    expect(() => ground.stage("dir/file", "x")).toThrow(expect.objectContaining({ class: "permission" }));
    chmodSync(ground.to("dir"), 0o700);
  });
});

describe("a tree", () => {
  it("is made where it is not there, and is its real path", ({ ground }) => {
    symlinkSync(ground.root, join(ground.path, "link"));
    const tree = new LocalTree(join(ground.path, "link", "deep", "er"));
    expect(tree.root).toBe(join(ground.root, "deep", "er"));
    expect(tree.id).toBe(new LocalTree(ground.to("deep/er")).id);
    expect(tree.id).not.toBe(ground.tree.id);
    expect(tree.path("a/b")).toBe(join(ground.root, "deep/er/a/b"));
  });

  it("that is a file, or below one, is refused", ({ ground }) => {
    writeFileSync(ground.to("file"), "x");
    expect(() => new LocalTree(ground.to("file"))).toThrow(TransferError);
    expect(() => new LocalTree(ground.to("file/sub"))).toThrow(TransferError);
  });

  it("sees a link itself and not what it leads to", ({ ground }) => {
    symlinkSync("/etc/passwd", ground.to("link"));
    expect(ground.tree.stat(ground.to("link"))?.isSymbolicLink()).toBe(true);
    expect(ground.tree.stat(ground.to("none"))).toBeUndefined();
  });

  it("is swept of staging that nobody has touched for a day and more, and of nothing else", async ({
    ground,
  }) => {
    const names = [stagingName(LEASE, "1"), stagingName(LEASE, "2"), ".drover-mine", "old.csv"];
    const [old, young] = names as [string, string];
    for (const name of names) writeFileSync(ground.to(name), "x");
    const directory = stagingName(LEASE, "3");
    const link = stagingName(LEASE, "4");
    mkdirSync(ground.to(directory));
    // What somebody took away to remove it, and never came back for.
    const left = stagingName(LEASE, "5");
    mkdirSync(ground.to(left));
    for (const name of ["taken", "rewritten"]) writeFileSync(ground.to(`${left}/${name}`), "taken");
    writeFileSync(ground.to("rewritten"), "anew");
    utimesSync(ground.to(left), new Date(0), new Date(0));
    symlinkSync("/etc/passwd", ground.to(link));
    const dayBefore = Date.now() / 1_000 - 26 * 3_600;
    for (const name of names) if (name !== young) utimesSync(ground.to(name), dayBefore, dayBefore);
    const opened = ground.tree.directoryOf("file");
    await ground.tree.sweep(opened);
    const kept = [young, ".drover-mine", "old.csv", directory, link, "taken", "rewritten"];
    expect(ground.names()).toEqual(kept.sort());
    expect([ground.read("taken"), ground.read("rewritten")]).toEqual(["taken", "anew"]);
    // Once per directory: a later sweep costs nothing.
    writeFileSync(ground.to(old), "x");
    utimesSync(ground.to(old), dayBefore, dayBefore);
    await ground.tree.sweep(opened);
    expect(existsSync(ground.to(old))).toBe(true);
    ground.tree.release(opened);
  });
});

describe("a staging name", () => {
  it("is another for every destination and fence, and short", () => {
    const names = new Set<string>();
    for (let lease = 0; lease < 50; lease++) {
      for (let fence = 0; fence < 50; fence++)
        names.add(stagingName(shortHash(`l${lease}`), `17636000000000${fence}`));
    }
    expect(names.size).toBe(2_500);
    for (const name of names) expect(Buffer.byteLength(name)).toBeLessThan(30);
  });
});

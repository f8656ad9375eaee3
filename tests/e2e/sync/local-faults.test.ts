import { execFileSync } from "node:child_process";
import {
  accessSync,
  appendFileSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, toBuffer } from "../../harness/content.js";
import {
  filesBelow,
  leftovers,
  parseItems,
  REPOSITORY,
  type Sandbox,
  type StartOptions,
} from "../../harness/drover.js";
import { it, type Work } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";

const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;

/** Whether another user can run the checkout, which is not the case in a private home directory. */
function openToAll(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

/** Root can read and write everything, so the permission tests run Drover as another user. */
const canDropRoot = isRoot && openToAll(REPOSITORY) && openToAll(process.execPath);
const permissionsHold = !isRoot || canDropRoot;

function asPlainUser(box: Sandbox, work: Work): StartOptions {
  if (!isRoot) return {};
  const home = work.at("nobody");
  mkdirSync(home, { mode: 0o700 });
  execFileSync("chown", ["-R", `${NOBODY}:${NOBODY}`, work.path]);
  chmodSync(box.root, 0o755);
  return { uid: NOBODY, env: { HOME: home, XDG_STATE_HOME: home, XDG_RUNTIME_DIR: home } };
}

/** Mounting needs root and a system that allows it, which containers often do not. */
function mountTmpfs(at: string, options: string): boolean {
  mkdirSync(at, { recursive: true });
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "none", at], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

const canMount = (() => {
  const at = `/tmp/dv-mount-${process.pid}`;
  const able = isRoot && process.platform === "linux" && mountTmpfs(at, "size=1m");
  if (able) execFileSync("umount", [at]);
  rmSync(at, { recursive: true, force: true });
  return able;
})();

/** Attributes need root and a file system that has them. */
const canChangeAttributes = (() => {
  const at = mkdtempSync("/tmp/dv-attributes-");
  try {
    if (!isRoot || process.platform !== "linux") return false;
    execFileSync("chattr", ["+a", at], { stdio: "ignore" });
    execFileSync("chattr", ["-a", at], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  } finally {
    rmSync(at, { recursive: true });
  }
})();

/** Does something while a file or directory is immutable (`i`) or append-only (`a`). */
async function withAttribute(attribute: "i" | "a", path: string, act: () => Promise<void>): Promise<void> {
  execFileSync("chattr", [`+${attribute}`, path]);
  try {
    await act();
  } finally {
    execFileSync("chattr", [`-${attribute}`, path]);
  }
}

it.skipIf(!permissionsHold)(
  "an unreadable list is refused before a run is created",
  async ({ box, work }) => {
    chmodSync(work.write({ list: "a\n" }), 0o000);
    const user = asPlainUser(box, work);
    const { code, stdout, stderr } = await box.run(
      ["sync", "--from-file", work.at("list"), ...work.into],
      user,
    );
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toBe(`drover: cannot read the list ${work.at("list")} (EACCES)\n`);
    expect((await box.run(["runs"], user)).stdout).toBe("no runs yet\n");
  },
);

describe("an unreadable source", () => {
  it.skipIf(!permissionsHold)("that is a file fails, and the others are carried", async ({ box, work }) => {
    work.write({ "in/a.txt": "a", "in/secret.txt": "secret", "in/z.txt": "z", "in/closed/x.txt": "x" });
    chmodSync(work.at("in/secret.txt"), 0o000);
    const user = asPlainUser(box, work);
    const { items, code, stderr } = await box.sync([work.at("in"), ...work.into], user);
    expect(code).toBe(1);
    expect(items.find((item) => item.source.endsWith("secret.txt"))).toMatchObject({
      status: "failed",
      attempts: 1,
      error: { class: "permission" },
    });
    expect(items.filter((item) => item.outcome === "copied")).toHaveLength(3);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it.skipIf(!permissionsHold)("that is a directory is reported", async ({ box, work }) => {
    work.write({ "in/a.txt": "a", "in/closed/x.txt": "x" });
    const user = asPlainUser(box, work);
    chmodSync(work.at("in/closed"), 0o000);
    const { stdout, stderr, code } = await box.run(["sync", work.at("in"), ...work.into], user);
    chmodSync(work.at("in/closed"), 0o755);
    expect(code).toBe(1);
    expect(stdout + stderr).toContain("closed");
    expect(readFileSync(work.to("a.txt"), "utf8")).toBe("a");
  });
});

describe("a file to be deleted with a backup", () => {
  it.skipIf(!canDropRoot)("is put back if the backup fails, whoever owns it", async ({ box, work }) => {
    work.write({ "in/a": "a", "kept/d": "a file where a directory is needed" });
    const user = asPlainUser(box, work);
    work.write({ "out/a": "a", "out/d/old": "old" });
    for (const directory of [work.out, work.to("d")]) chmodSync(directory, 0o777);
    const kept = ["--delete", "--backup-dir", work.at("kept")];
    const { code, items } = await box.sync([work.at("in"), ...work.into, ...kept], user);
    expect([code, items.at(-1)?.error?.class]).toEqual([1, "path"]);
    expect(filesBelow(work.out)).toEqual([work.to("a"), work.to("d/old")]);
  });

  it.skipIf(!permissionsHold || !existsSync("/dev/shm"))(
    "may be read-only, and backed up to another file system",
    async ({ box, work }) => {
      work.write({ "in/a": "a", "out/old": "old" });
      chmodSync(work.to("old"), 0o444);
      const user = asPlainUser(box, work);
      const kept = mkdtempSync("/dev/shm/drover-test-");
      if (user.uid !== undefined) chownSync(kept, user.uid, user.uid);
      try {
        const command = ["sync", work.at("in"), ...work.into, "--delete", "--backup-dir", kept];
        const { code, stdout } = await box.run(command, user);
        expect(code, stdout).toBe(0);
        expect(filesBelow(work.out)).toEqual([work.to("a")]);
        expect(readFileSync(`${kept}/old`, "utf8")).toBe("old");
        expect(statSync(`${kept}/old`).mode & 0o777).toBe(0o444);
      } finally {
        rmSync(kept, { recursive: true });
      }
    },
  );

  it.skipIf(!canMount)("stays if the other file system is full", async ({ box, work }) => {
    work.write({ "in/a": "a", "out/old": "o".repeat(3 << 20) });
    expect(mountTmpfs(work.at("kept"), "size=1m")).toBe(true);
    try {
      const kept = ["--delete", "--backup-dir", work.at("kept")];
      const { code, items } = await box.sync([work.at("in"), ...work.into, ...kept]);
      expect([code, items.at(-1)?.error?.class]).toEqual([1, "disk"]);
      expect(filesBelow(work.out)).toEqual([work.to("a"), work.to("old")]);
      expect(filesBelow(work.at("kept"))).toEqual([]);
    } finally {
      execFileSync("umount", [work.at("kept")]);
    }
  });
});

describe("an unwritable destination", () => {
  it.skipIf(!permissionsHold)(
    "fails only its own file, at once, if a permission is missing",
    async ({ box, work }) => {
      work.write({ "in/closed/a.txt": "a", "in/open.txt": "b" });
      const user = asPlainUser(box, work);
      mkdirSync(work.to("closed"), { recursive: true, mode: 0o777 });
      if (user.uid !== undefined) chownSync(work.out, user.uid, user.uid);
      chmodSync(work.to("closed"), 0o555);
      const { items, code } = await box.sync([work.at("in"), ...work.into], user);
      expect(code).toBe(1);
      const refused = items.find((item) => item.source.endsWith("a.txt"));
      expect(refused).toMatchObject({ attempts: 1, error: { class: "permission" } });
      expect(readFileSync(work.to("open.txt"), "utf8")).toBe("b");
    },
  );

  it.skipIf(!canMount)(
    "fails only its own file, at once, if it is mounted read-only",
    async ({ box, origin, work }) => {
      expect(mountTmpfs(work.to("fixed"), "ro,size=1m")).toBe(true);
      try {
        const urls = [origin.route("/a", does.file("a")), origin.route("/b", does.file("b"))];
        const input = `${urls[0]}\tfixed/a\n${urls[1]}\tb\n`;
        const { items, code } = await box.sync(["--from-file", "-", ...work.into], { input });
        expect(code).toBe(1);
        const refused = items.find((item) => item.source === urls[0]);
        expect(refused).toMatchObject({ attempts: 1, error: { class: "permission" } });
        expect(readFileSync(work.to("b"), "utf8")).toBe("b");
      } finally {
        execFileSync("umount", [work.to("fixed")]);
      }
    },
  );

  it.skipIf(!permissionsHold)("is a clean error if the whole root is unwritable", async ({ box, work }) => {
    const path = work.write({ "a.txt": "a" });
    const user = asPlainUser(box, work);
    mkdirSync(work.out, { mode: 0o555 });
    if (user.uid === undefined) chmodSync(work.out, 0o555);
    const { code, stdout, stderr } = await box.run(["sync", path, ...work.into], user);
    expect([2, 3]).toContain(code);
    expect(stdout + stderr).toContain(work.out);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("is a clean error if the root cannot hold files", async ({ box, work }) => {
    const path = work.write({ "a.txt": "a" });
    const options = ["--artifact-root", "/dev/null/below", "--script-name", ""];
    const { code, stderr, stdout } = await box.run(["sync", path, ...options]);
    expect([2, 3]).toContain(code);
    expect(stderr + stdout).toContain("/dev/null");
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});

describe.skipIf(!canChangeAttributes)("an attribute of the file system", () => {
  const refused = { attempts: 1, error: { class: "permission", message: expect.stringMatching(/lsattr/) } };

  it.for(["i", "a"] as const)(
    "%s of a file keeps it: it is neither replaced nor removed, and nothing is left beside it",
    async (attribute, { box, work }) => {
      work.write({ "in/f": "new", "in/g": "g", "out/f": "old", "out/extraneous": "x" });
      await withAttribute(attribute, work.to("f"), async () => {
        const { code, items } = await box.sync([work.at("in"), ...work.into]);
        expect(code).toBe(1);
        expect(items.find((item) => item.destination === work.to("f"))).toMatchObject(refused);
      });
      await withAttribute(attribute, work.to("extraneous"), async () => {
        const { code, items } = await box.sync([work.at("in"), ...work.into, "--delete"]);
        expect(code).toBe(1);
        expect(items.find((item) => item.destination === work.to("extraneous"))).toMatchObject(refused);
      });
      expect(filesBelow(work.out)).toEqual(["extraneous", "f", "g"].map((name) => work.to(name)));
      expect(readFileSync(work.to("f"), "utf8")).toBe("new");
    },
  );

  it("a of a directory: what is staged there stays, once, and is removed when that can be", async ({
    box,
    work,
  }) => {
    work.write({ "in/d/f": "f", "out/d/other": "other" });
    const args = [work.at("in"), ...work.into];
    await withAttribute("a", work.to("d"), async () => {
      const first = await box.sync(args);
      expect([first.code, first.items[0]]).toMatchObject([3, refused]);
      expect(first.items[0]?.error?.message).toContain(work.to("d/f"));
      const again = await box.sync(args);
      expect([again.code, again.items[0]]).toMatchObject([3, refused]);
      expect(leftovers(work.out)).toHaveLength(1);
    });
    expect((await box.sync(args)).code).toBe(0);
    expect(filesBelow(work.out)).toEqual([work.to("d/f"), work.to("d/other")]);
  });
});

describe.skipIf(!canMount)("a mount point below the root", () => {
  it("gets files, which are staged there, and keeps them", async ({ box, work }) => {
    work.write({ "in/a": "a", "in/sub/deep/b": "b" });
    expect(mountTmpfs(work.to("sub"), "size=1m")).toBe(true);
    try {
      const kept = ["--delete", "--backup-dir", work.at("kept")];
      expect((await box.run(["sync", work.at("in"), ...work.into])).code).toBe(0);
      expect(filesBelow(work.out)).toEqual([work.to("a"), work.to("sub/deep/b")]);
      rmSync(work.at("in/sub"), { recursive: true });
      expect((await box.run(["sync", work.at("in"), ...work.into, ...kept])).code).toBe(0);
      expect(filesBelow(work.out)).toEqual([work.to("a")]);
      expect(readFileSync(work.at("kept/sub/deep/b"), "utf8")).toBe("b");
      expect(existsSync(work.to("sub"))).toBe(true);
    } finally {
      execFileSync("umount", [work.to("sub")]);
    }
  });

  it("that is a file is told of, and left alone", async ({ box, work }) => {
    work.write({ "in/f": "new", target: "old", "out/f": "" });
    execFileSync("mount", ["--bind", work.at("target"), work.to("f")]);
    try {
      const { code, items } = await box.sync([work.at("in/f"), ...work.into, "--retries", "2"]);
      expect(code).toBe(3);
      expect(items[0]?.error).toMatchObject({ class: "io", message: expect.stringMatching(/mount point/) });
      expect(items[0]?.error?.message).toContain(work.to("f"));
      expect(filesBelow(work.out)).toEqual([work.to("f")]);
      expect(readFileSync(work.at("target"), "utf8")).toBe("old");
    } finally {
      execFileSync("umount", [work.to("f")]);
    }
  });
});

describe("a full disk", () => {
  it.skipIf(!canMount).for([
    { name: "while a large file is written", size: 6_000_000 },
    { name: "while a small file is written", size: 300_000 },
  ])("fails the file permanently without leftovers: $name", async ({ size }, { box, origin, work }) => {
    expect(mountTmpfs(work.out, "size=256k")).toBe(true);
    try {
      const big = origin.route("/big.bin", does.file(pattern(size)));
      const local = work.write({ "local.bin": toBuffer(pattern(size)) });
      const { items, code } = await box.sync([big, local, ...work.into]);
      expect(code).toBe(3);
      for (const item of items) expect(item).toMatchObject({ attempts: 1, error: { class: "disk" } });
      expect(filesBelow(work.out)).toEqual([]);
      expect(origin.requests.length).toBeLessThanOrEqual(2);
      // There is space again for what fits.
      const small = await box.sync([origin.route("/small.bin", does.file(pattern(100_000))), ...work.into]);
      expect(small.items[0]?.outcome).toBe("copied");
    } finally {
      execFileSync("umount", [work.out]);
    }
  });

  it.skipIf(!canMount)("leaves no partial list of a pipe behind", async ({ box, work }) => {
    const lists = work.at("state/lists");
    expect(mountTmpfs(lists, "size=80k")).toBe(true);
    try {
      const input = `${`${" ".repeat(99)}\n`.repeat(1_000)}${work.write({ "a.txt": "a" })}\n`;
      const own = [...work.into, "--state-dir", work.at("state")];
      const { code, stderr } = await box.run(["sync", "--from-file", "-", ...own], { input });
      expect(stderr).toMatch(/cannot read the list: ENOSPC/);
      expect(code).toBe(2);
    } finally {
      execFileSync("umount", [lists]);
    }
  });
});

describe("a FIFO", () => {
  it("in a directory blocks nothing", async ({ box, work }) => {
    work.write({ "in/a.txt": "a", "in/z.txt": "z" });
    execFileSync("mkfifo", [work.at("in/pipe")]);
    const { code } = await box.run(["sync", work.at("in"), ...work.into], { timeoutMs: 20_000 });
    expect([0, 1]).toContain(code);
    expect(filesBelow(work.out)).toEqual([work.to("a.txt"), work.to("z.txt")]);
  });

  it("given by name is an error", async ({ box, work }) => {
    execFileSync("mkfifo", [work.at("pipe")]);
    const { code, stdout, stderr } = await box.run(["sync", work.at("pipe"), ...work.into], {
      timeoutMs: 20_000,
    });
    expect([2, 3]).toContain(code);
    expect(stdout + stderr).toContain("pipe");
    expect(filesBelow(work.out)).toEqual([]);
  });

  it("at the destination is replaced or refused, never written to", async ({ box, work }) => {
    mkdirSync(work.out);
    execFileSync("mkfifo", [work.to("a.txt")]);
    const options = { timeoutMs: 20_000 };
    const { items } = await box.sync([work.write({ "a.txt": "a" }), ...work.into], options);
    if (items[0]?.status === "ok") expect(statSync(work.to("a.txt")).isFile()).toBe(true);
    else expect(items[0]?.error?.class).toBe("path");
  });
});

describe("a source that vanishes", () => {
  it("between listing and reading fails alone", async ({ box, work }) => {
    // The first file is slow on purpose, so that the rest of the directory can vanish meanwhile.
    work.write({ "in/a.bin": toBuffer(pattern(3_000_000)), "in/sub/b.txt": "b", "in/sub/c.txt": "c" });
    const options = ["--max-workers", "1", "--bwlimit", "1000000", ...work.into, "--json"];
    const run = box.start(["sync", work.at("in"), ...options]);
    await until("the first file to be on its way", () => leftovers(work.out).length > 0);
    rmSync(work.at("in/sub"), { recursive: true });
    const { code, stdout, stderr } = await run.result;
    expect(code).toBe(1);
    const items = JSON.parse(stdout) as { status: string; error?: { class: string } }[];
    expect(items.filter((item) => item.status === "ok")).toHaveLength(1);
    expect(items.filter((item) => item.error?.class === "not-found")).toHaveLength(2);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("during the walk does not end the walk", async ({ box, work }) => {
    for (let d = 0; d < 300; d++) work.write({ [`in/d${d}/f.txt`]: "f" });
    work.write({ "in/zz/last.txt": "last" });
    const run = box.start(["sync", work.at("in"), ...work.into]);
    await until("the first file", () => filesBelow(work.out).length > 0);
    for (let d = 0; d < 300; d += 2) rmSync(work.at(`in/d${d}`), { recursive: true });
    const { code, stderr } = await run.result;
    expect([0, 1]).toContain(code);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(readFileSync(work.to("zz/last.txt"), "utf8")).toBe("last");
    for (let d = 1; d < 300; d += 2) expect(readFileSync(work.to(`d${d}/f.txt`), "utf8")).toBe("f");
  });

  it("before the run began is reported", async ({ box, work }) => {
    const { code, stdout, stderr } = await box.run(["sync", work.at("no-such-directory"), ...work.into]);
    expect([2, 3]).toContain(code);
    expect(stdout + stderr).toContain("no-such-directory");
  });
});

describe("a local file that changes while it is read", () => {
  const size = 3_000_000;
  const before = toBuffer(pattern(size, 1));
  const after = toBuffer(pattern(size, 2));

  it.for<{ how: string; change: (path: string) => void }>([
    { how: "grows", change: (path) => appendFileSync(path, "more") },
    { how: "shrinks", change: (path) => truncateSync(path, 1_000) },
    { how: "is emptied", change: (path) => truncateSync(path, 0) },
    { how: "is written anew", change: (path) => writeFileSync(path, after) },
    { how: "is written over in its place", change: (path) => writeFileSync(path, after, { flag: "r+" }) },
    { how: "gets another time only", change: (path) => utimesSync(path, 1_000_000_000, 1_000_000_000) },
    {
      how: "is replaced",
      change: (path) => {
        writeFileSync(`${path}.new`, after);
        renameSync(`${path}.new`, path);
      },
    },
  ])("and $how is read again", async ({ change }, { box, work }) => {
    const path = work.write({ "a.bin": before });
    const run = box.start(["sync", path, ...work.into, "--bwlimit", "3000000", "--json"]);
    await until("staging", () => leftovers(work.out).length > 0);
    change(path);
    const result = await run.result;
    expect([result.code, parseItems(result)[0]]).toMatchObject([0, { outcome: "copied", attempts: 2 }]);
    expect(readFileSync(work.to("a.bin")).equals(readFileSync(path))).toBe(true);
    expect(leftovers(work.out)).toEqual([]);
  });

  it("again and again fails in the end, and leaves nothing", async ({ box, work }) => {
    const path = work.write({ "a.bin": before });
    const writing = setInterval(() => appendFileSync(path, "more"), 20);
    try {
      const limits = ["--bwlimit", "6000000", "--retries", "2"];
      const { code, items } = await box.sync([path, ...work.into, ...limits]);
      expect([code, items[0]]).toMatchObject([3, { attempts: 2, error: { class: "changed" } }]);
      expect(items[0]?.error?.message).toContain(`${path} changed while it was read: `);
      expect(filesBelow(work.out)).toEqual([]);
    } finally {
      clearInterval(writing);
    }
  });
});

it("a local file that changes while it is read arrives complete or fails", async ({ box, work }) => {
  const path = work.write({ "a.bin": toBuffer(pattern(3_000_000, 1)) });
  const run = box.start(["sync", path, ...work.into, "--bwlimit", "1000000", "--json"]);
  await until("staging", () => leftovers(work.out).length > 0);
  work.write({ "a.bin": toBuffer(pattern(3_000_000, 2)) });
  await run.result;
  if (!filesBelow(work.out).includes(work.to("a.bin"))) return;
  const got = readFileSync(work.to("a.bin"));
  expect(got.equals(toBuffer(pattern(3_000_000, 2)))).toBe(true);
});

it("an unusable state directory does no harm", async ({ box, work }) => {
  const path = work.write({ "a.txt": "a", "not-a-directory": "" });
  const options = ["--state-dir", work.at("not-a-directory")];
  const { code, stdout, stderr } = await box.run(["sync", path, ...work.into, ...options]);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toContain("not-a-directory");
  expect(stderr).not.toMatch(/^\s+at /m);
});

it("a state directory whose path is too long for a socket works", async ({ box, work }) => {
  const path = work.write({ "a.txt": "a" });
  const state = work.at("s".repeat(100), "t".repeat(100));
  const { code } = await box.run(["sync", path, ...work.into, "--state-dir", state]);
  expect(code).toBe(0);
  accessSync(state, constants.R_OK);
});

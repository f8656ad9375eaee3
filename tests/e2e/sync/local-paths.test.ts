import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern } from "../../harness/content.js";
import { filesBelow, type Item } from "../../harness/drover.js";
import { it, type Work } from "../../harness/fixtures.js";
import { Gate, until } from "../../harness/gate.js";

/** Everything below the test's directory except its output, to show that nothing was written elsewhere. */
function outside(work: Work): string[] {
  return filesBelow(work.path).filter((path) => !path.startsWith(`${work.out}/`));
}

/** A good item's file is inside the output directory; a bad one was refused for its path. */
function expectInsideOrRefused(item: Item | undefined, work: Work): void {
  if (item?.status === "ok") expect(resolve(item.destination).startsWith(`${work.out}/`)).toBe(true);
  else expect(item?.error?.class).toBe("path");
}

describe("a URL's file name cannot lead outside the destination", () => {
  it.for([
    "/%2e%2e",
    "/%2E",
    "/x/..%2f..%2fescaped",
    "/%2fetc%2fescaped",
    "/a%2fb%2fescaped",
    "/..%5c..%5cescaped",
    "/%5c%5chost%5cshare",
    "/C:%2fescaped",
    "/C:%5cescaped",
    "/nul%00byte",
    "/trailing%2f",
    `/${"a".repeat(256)}`,
    `/${"%C3%BC".repeat(128)}`,
  ])("%s", async (path, { box, origin, work }) => {
    origin.route("/*", does.file("hostile"));
    for (const layout of ["name", "url"]) {
      const result = await box.run(["sync", origin.url(path), ...work.into, "--layout", layout, "--json"]);
      if (result.code === 2) {
        expect(result.stdout).toBe("");
        continue;
      }
      const items = JSON.parse(result.stdout) as Item[];
      expectInsideOrRefused(items[0], work);
      expect(outside(work)).toEqual([]);
    }
    expect(existsSync(join(box.root, "escaped"))).toBe(false);
  });
});

describe("a list's destination name cannot lead outside the root", () => {
  const long = Array.from({ length: 30 }, () => "d".repeat(200)).join("/");
  it.for([
    { name: "../x", escape: "../x" },
    { name: "a/../../b", escape: "a/../../b" },
    { name: "a/../b", escape: "a/../b" },
    { name: "an absolute path", escape: "ABSOLUTE" },
    { name: "C:/x", escape: "C:/x" },
    { name: "\\\\host\\share", escape: "\\\\host\\share" },
    { name: "..\\x", escape: "..\\x" },
    { name: "NUL", escape: "a\0b" },
    { name: ".", escape: "." },
    { name: "..", escape: ".." },
    { name: "a trailing slash", escape: "dir/" },
    { name: "an empty component", escape: "a//b" },
    { name: "a component over 255 bytes", escape: `a/${"x".repeat(256)}` },
    { name: "a component over 255 bytes in fewer characters", escape: "ü".repeat(128) },
    { name: "a path over 4,096 bytes", escape: long },
  ])("$name", async ({ escape: name }, { box, origin, work }) => {
    const hostile = `${origin.route("/bad", does.file("hostile"))}\t${name.replace("ABSOLUTE", work.at("absolute"))}`;
    const input = `${hostile}\n${origin.route("/good", does.file("good"))}\tgood\n`;
    const { items, code } = await box.sync(["--from-file", "-", ...work.into], { input });
    expect([0, 1]).toContain(code);
    expect(items).toHaveLength(2);
    const bad = items.find((item) => item.source.endsWith("/bad"));
    expectInsideOrRefused(bad, work);
    // These are inside the root after normalisation, or odd but harmless names on this system.
    if (!/^(a\/\.\.\/b|a\/\/b|.*\\.*|C:\/x)$/.test(name)) expect(bad?.status).toBe("failed");
    expect(outside(work)).toEqual([]);
    expect(readFileSync(work.to("good"), "utf8")).toBe("good");
  });

  it("an odd script name or artifact root cannot lead outside either", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("a"));
    const options = ["--artifact-root", work.out, "--script-name", "../elsewhere"];
    const { code, stdout } = await box.run(["sync", url, ...options]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(filesBelow(work.path)).toEqual([]);
  });
});

describe("symbolic links in a source", () => {
  it("are never recreated, and block nothing", async ({ box, work }) => {
    work.write({ "secret/outside.txt": "outside", "in/a.txt": "a", "in/sub/b.txt": "b" });
    symlinkSync(work.at("secret/outside.txt"), work.at("in/link-to-file"));
    symlinkSync(work.at("secret"), work.at("in/link-to-directory"));
    symlinkSync("/nowhere/at/all", work.at("in/dangling"));
    symlinkSync("..", work.at("in/sub/loop"));
    const { code } = await box.run(["sync", work.at("in"), ...work.into]);
    expect([0, 1]).toContain(code);
    expect(readFileSync(work.to("a.txt"), "utf8")).toBe("a");
    expect(readFileSync(work.to("sub/b.txt"), "utf8")).toBe("b");
    for (const path of filesBelow(work.out)) expect(lstatSync(path).isSymbolicLink()).toBe(false);
    expect(existsSync(work.to("sub/loop/sub/loop"))).toBe(false);
  });

  it("may be given by name", async ({ box, work }) => {
    work.write({ "real/a.txt": "a", "b.txt": "b" });
    symlinkSync(work.at("real"), work.at("linked"));
    symlinkSync(work.at("b.txt"), work.at("c.txt"));
    const { code } = await box.run(["sync", work.at("linked"), work.at("c.txt"), ...work.into]);
    expect(code).toBe(0);
    expect(lstatSync(work.to("a.txt")).isFile()).toBe(true);
    expect(lstatSync(work.to("c.txt")).isFile()).toBe(true);
    expect(readFileSync(work.to("c.txt"), "utf8")).toBe("b");
  });

  it("that dangle are an error if given by name", async ({ box, work }) => {
    symlinkSync("/nowhere/at/all", work.at("dangling"));
    const { items, code } = await box.sync([work.at("dangling"), ...work.into]);
    expect(items[0]).toMatchObject({ status: "failed", error: { class: "not-found" } });
    expect(code).toBe(3);
  });
});

describe("symbolic links in the destination", () => {
  it("that replace a file are replaced, not written through", async ({ box, origin, work }) => {
    const target = work.write({ "elsewhere/target.txt": "untouched" });
    mkdirSync(work.out);
    symlinkSync(target, work.to("a.txt"));
    symlinkSync(work.at("elsewhere/new.txt"), work.to("b.txt"));
    const urls = [origin.route("/a.txt", does.file("new")), origin.route("/b.txt", does.file("new"))];
    const { items } = await box.sync([...urls, ...work.into]);
    expect(readFileSync(target, "utf8")).toBe("untouched");
    expect(readdirSync(work.at("elsewhere"))).toEqual(["target.txt"]);
    for (const item of items) {
      if (item.status === "ok") expect(lstatSync(item.destination).isFile()).toBe(true);
      else expect(item.error?.class).toBe("path");
    }
  });

  it("that replace a directory are not followed", async ({ box, work }) => {
    work.write({ "in/sub/a.txt": "a", "in/b.txt": "b" });
    mkdirSync(work.at("elsewhere"));
    mkdirSync(work.out);
    symlinkSync(work.at("elsewhere"), work.to("sub"));
    const { items, code } = await box.sync([work.at("in"), ...work.into]);
    expect(code).toBe(1);
    expect(items.find((item) => item.source.endsWith("a.txt"))?.error?.class).toBe("path");
    expect(readdirSync(work.at("elsewhere"))).toEqual([]);
    expect(readFileSync(work.to("b.txt"), "utf8")).toBe("b");
  });

  it("may be the root itself, if the user named it", async ({ box, work }) => {
    const path = work.write({ "a.txt": "a" });
    mkdirSync(work.at("disk"));
    symlinkSync(work.at("disk"), work.out);
    const { code } = await box.run(["sync", path, ...work.into]);
    expect(code).toBe(0);
    expect(readFileSync(work.at("disk/a.txt"), "utf8")).toBe("a");
  });

  it.for([
    { name: "small", content: pattern(2000), at: 1000 },
    { name: "large", content: pattern(4_000_000), at: 2_000_000 },
  ])(
    "that are created meanwhile are not followed: a $name file",
    async ({ content, at }, { box, origin, work }) => {
      const gate = new Gate();
      const url = origin.route("/a.bin", does.pausedAt(content, at, gate));
      const list = work.write({ list: `${url}\tsub/a.bin\n` });
      mkdirSync(work.to("sub"), { recursive: true });
      mkdirSync(work.at("elsewhere"));
      const run = box.start(["sync", "--from-file", list, ...work.into, "--json", "--retries", "1"]);
      await gate.reached;
      if (content.size > 1_000_000) await until("staging", () => filesBelow(work.out).length > 0);
      // Drover may make the directory anew in between.
      await until("the link", () => {
        renameSync(work.to("sub"), mkdtempSync(work.at("moved-")));
        return mayFail("EEXIST", () => symlinkSync(work.at("elsewhere"), work.to("sub")));
      });
      gate.open();
      const { stdout } = await run.result;
      expect(readdirSync(work.at("elsewhere"))).toEqual([]);
      expect((JSON.parse(stdout) as Item[])[0]?.status).toBe("failed");
    },
  );
});

/** @returns whether it was done; false where it failed with this code. */
function mayFail(code: string, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === code) return false;
    throw error;
  }
}

describe("an obstacle at the destination", () => {
  it("stays if it is a directory instead of a file, and the file fails", async ({ box, origin, work }) => {
    work.write({ "out/a.csv/inside.txt": "inside", "b.csv": "b" });
    const url = origin.route("/a.csv", does.file("a"));
    const { items, code } = await box.sync([url, work.at("b.csv"), ...work.into]);
    expect(code).toBe(1);
    expect(items.find((item) => item.source === url)).toMatchObject({
      attempts: 1,
      error: { class: "path" },
    });
    expect(readFileSync(work.to("a.csv/inside.txt"), "utf8")).toBe("inside");
    expect(filesBelow(work.out)).toEqual([work.to("a.csv/inside.txt"), work.to("b.csv")]);
  });

  it("stays even if it is an empty directory", async ({ box, work }) => {
    mkdirSync(work.to("a.csv"), { recursive: true });
    const { items } = await box.sync([work.write({ "a.csv": "a" }), ...work.into]);
    expect(items[0]?.error?.class).toBe("path");
    expect(lstatSync(work.to("a.csv")).isDirectory()).toBe(true);
  });

  it("stays if it is a file instead of a directory, and the files below fail", async ({ box, work }) => {
    work.write({ "in/sub/a.txt": "a", "in/b.txt": "b", "out/sub": "a file" });
    const { items, code } = await box.sync([work.at("in"), ...work.into]);
    expect(code).toBe(1);
    expect(items.find((item) => item.source.endsWith("a.txt"))?.error?.class).toBe("path");
    expect(readFileSync(work.to("sub"), "utf8")).toBe("a file");
    expect(readFileSync(work.to("b.txt"), "utf8")).toBe("b");
  });

  it("stays if it is a file instead of the root", async ({ box, work }) => {
    const path = work.write({ "a.txt": "a" });
    writeFileSync(work.out, "a file");
    const { code, stderr } = await box.run(["sync", path, ...work.into]);
    expect([2, 3]).toContain(code);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(readFileSync(work.out, "utf8")).toBe("a file");
  });
});

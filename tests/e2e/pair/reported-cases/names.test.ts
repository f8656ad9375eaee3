import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { type Files, type Pair, playCases } from "../../../harness/pair/reported-case.js";

/** One file of each of the names, each with its name as content. */
function named(names: readonly string[]): Files {
  return Object.fromEntries(names.map((name) => [name, `text of ${name}`]));
}

/** Half of the files are new here, half there. */
function splitUp(pair: Pair, names: readonly string[]): void {
  for (const [at, name] of names.entries())
    if (at % 2 === 0) pair.write("local", named([name]));
    else pair.put(name, `text of ${name}`);
}

const SPACES = ["trailing space ", " leading", "dot.", "..two dots", "dir ./x", "in .txt", "a  b", " "];
const SIGNS = [
  "a+b",
  "a%2Fb",
  "a b",
  "a%20b",
  "a&<b>",
  "q?u=1#f",
  "x*[y]{z}",
  "$HOME",
  "a'b\"c",
  "semi;colon,",
  "~t",
];
const CONTROLS = [
  "new\nline",
  "tab\there",
  "re\rturn",
  "bell\u0007",
  "\u202eleft",
  "zero\u200bwidth",
  "\u{1F600} smile",
];
const WINDOWS = ["CON", "aux.txt", "a:b", "back\\slash", "pipe|", "nul."];
const OBJECTS = ["constructor", "toString", "hasOwnProperty/valueOf"];
const TEMPORARY = [
  ".env",
  ".git/config",
  "~$report.docx",
  ".~lock.a.odt#",
  "x.tmp",
  ".syncthing.x.tmp",
  "a.part",
  "b~",
];
const ORDER = ["a-b", "a.b", "a/b", "a0", "a/b-c", "a/b/c-d".replace("/b/", "/bb/"), "A", "\u00e9", "z"];

const LONG = `${"x".repeat(251)}.txt`;
const LONG_WIDE = `${"\u20ac".repeat(83)}.text`;

playCases([
  {
    name: "names with spaces and dots at their ends are names as all others",
    elsewhere:
      "Nextcloud renames such files and deletes them in the next sync (nextcloud/desktop#4387, #3503)",
    when: (pair) => splitUp(pair, SPACES),
    expected: { both: named(SPACES), done: SPACES.length },
  },
  {
    name: "signs that mean something in URLs, globs and shells mean nothing in names",
    elsewhere: "osync cannot move names with brackets (osync#45)",
    when: (pair) => splitUp(pair, SIGNS),
    expected: { both: named(SIGNS), done: SIGNS.length },
  },
  {
    name: "files with such names are edited, kept and deleted",
    elsewhere: "server-side copies lose + and % in names",
    given: named(SIGNS),
    when: (pair) => {
      for (const name of SIGNS.slice(0, 3)) pair.local.write(name, "edited", "rename");
      for (const name of SIGNS.slice(3, 6)) pair.local.remove(name);
    },
    expected: {
      both: {
        ...named(SIGNS.slice(6)),
        ...Object.fromEntries(SIGNS.slice(0, 3).map((name) => [name, "edited"])),
      },
      kept: SIGNS.slice(0, 6).map((name) => `text of ${name}`),
    },
  },
  {
    name: "control characters and invisible ones are kept",
    elsewhere: "XML listings cannot hold them, and tools lose the files (rclone encodes them)",
    when: (pair) => splitUp(pair, CONTROLS),
    expected: { both: named(CONTROLS), done: CONTROLS.length },
  },
  {
    name: "names that Windows cannot have are kept on systems that can",
    elsewhere: "servers block them for everybody because some clients run Windows",
    when: (pair) => splitUp(pair, WINDOWS),
    expected: { both: named(WINDOWS), done: WINDOWS.length },
  },
  {
    name: "names of properties are names",
    elsewhere: "sync plugins in JavaScript take constructor for an entry that they know",
    when: (pair) => splitUp(pair, OBJECTS),
    expected: { both: named(OBJECTS), done: OBJECTS.length },
  },
  {
    name: "hidden and temporary files are files",
    elsewhere:
      "ownCloud ignores some, so that directories that move leave them behind (owncloud/client#5336)",
    when: (pair) => splitUp(pair, TEMPORARY),
    expected: { both: named(TEMPORARY), done: TEMPORARY.length },
  },
  {
    name: "names that sort differently as paths and as keys are not mixed up",
    elsewhere: "listings in two orders make files missing that are there (s3 sync: aws-cli#431)",
    given: named(ORDER),
    when: ({ local, remote }) => {
      local.remove("a/b");
      remote.remove("a0");
    },
    expected: { both: named(ORDER.filter((name) => name !== "a/b" && name !== "a0")), done: 2 },
  },
  {
    name: "the same name composed and decomposed are two files",
    elsewhere:
      "rclone bisync finds them out of sync (rclone#7270), ownCloud duplicates them (owncloud/client#6338)",
    when: (pair) => {
      pair.write("local", { "caf\u00e9": "composed" });
      pair.put("cafe\u0301", "decomposed");
    },
    expected: { both: { "caf\u00e9": "composed", "cafe\u0301": "decomposed" }, done: 2 },
  },
  {
    name: "a file that is renamed from decomposed to composed has one name afterwards",
    elsewhere: "the server normalizes, and the client downloads a second one (owncloud/client#6338)",
    given: { "cafe\u0301": "1", b: "2", c: "3" },
    when: (pair) => pair.rename("cafe\u0301", "caf\u00e9"),
    expected: { both: { "caf\u00e9": "1", b: "2", c: "3" }, done: 2 },
  },
  {
    name: "a file that is renamed in case alone has its new name on both sides",
    elsewhere: "Syncthing deletes both (syncthing#7426, #7974) or doubles it (syncthing#3654)",
    given: { "README.txt": "1", b: "2", c: "3" },
    when: (pair) => pair.rename("README.txt", "readme.txt"),
    expected: { both: { "readme.txt": "1", b: "2", c: "3" }, done: 2 },
  },
  {
    name: "a directory that is renamed in case alone has its new name on both sides",
    elsewhere: "tools that take the names for one skip both",
    given: { "Docs/a": "1", "Docs/d/b": "2", c: "3", d: "4", e: "5" },
    when: (pair) => pair.rename("Docs", "docs"),
    expected: { both: { "docs/a": "1", "docs/d/b": "2", c: "3", d: "4", e: "5" } },
  },
  {
    name: "objects whose keys differ in case alone are two files",
    elsewhere: "tools for Windows overwrite one by the other",
    when: (pair) => {
      pair.put("File", "1");
      pair.put("file", "2");
    },
    expected: { both: { File: "1", file: "2" }, done: 2 },
  },
  {
    name: "names of 255 bytes are synced in both directions",
    elsewhere:
      "Nextcloud and Syncthing: the temporary name is too long (nextcloud/desktop#467, syncthing#2393)",
    when: (pair) => splitUp(pair, [LONG, LONG_WIDE]),
    expected: { both: named([LONG, LONG_WIDE]), done: 2 },
  },
  {
    name: "a conflict of a name of 255 bytes has a copy whose name fits",
    elsewhere: "a suffix makes it too long (nextcloud/desktop#467)",
    given: { [LONG_WIDE]: "1" },
    when: ({ local, remote }) => {
      local.write(LONG_WIDE, "local edit", "rename");
      remote.write(LONG_WIDE, "remote edit", "rename");
    },
    sync: ["--conflict", "backup-both"],
    expected: {
      both: { [LONG_WIDE]: "remote edit", [`${"\u20ac".repeat(69)}.conflict-local.text`]: "local edit" },
      check: ({ local }) => {
        const copy = readdirSync(local.root).find((name) => name.includes(".conflict-")) as string;
        expect(Buffer.byteLength(copy)).toBeLessThanOrEqual(255);
      },
    },
  },
  {
    name: "a key that is too long for a file is left alone, and all others go on",
    elsewhere: "Syncthing never gets in sync (syncthing#2393), ownCloud loops (owncloud/client#60)",
    given: { b: "2" },
    when: (pair) => {
      pair.put("y".repeat(300), "1");
      pair.put("c", "3");
    },
    expected: {
      local: { b: "2", c: "3" },
      remote: { b: "2", c: "3", ["y".repeat(300)]: "1" },
      left: ["y".repeat(300)],
      code: 1,
    },
  },
  {
    name: "keys with two slashes are no other key's file",
    elsewhere: "aws s3 sync writes both to one file (aws-cli#6253)",
    given: { "d/a": "1", b: "2" },
    when: (pair) => {
      pair.put("d//a", "other");
      pair.put("/b", "absolute");
    },
    expected: {
      local: { "d/a": "1", b: "2" },
      remote: { "d/a": "1", b: "2", "d//a": "other", "/b": "absolute" },
      left: ["/b", "d//a"],
      code: 1,
    },
  },
  {
    name: "a key that leads out of the directory is left alone",
    elsewhere: "path traversal by object keys, in many tools",
    given: { b: "2" },
    when: (pair) => {
      pair.put("../evil", "1");
      pair.put("d/../../evil", "1");
    },
    expected: {
      local: { b: "2" },
      remote: { b: "2", "../evil": "1", "d/../../evil": "1" },
      left: ["../evil", "d/../../evil"],
      code: 1,
      check: (pair) => expect(existsSync(join(dirname(pair.local.root), "evil"))).toBe(false),
    },
  },
  {
    name: "objects that stand for directories are none of the files",
    elsewhere:
      "aws s3 sync: not a directory (aws-cli#6435, #1752), rclone: entry doesn't belong (rclone#1621)",
    given: { b: "2" },
    when: (pair) => {
      pair.put("", "");
      pair.put("d/", "");
      pair.put("d/a", "1");
      pair.put("empty/", "");
    },
    expected: {
      local: { b: "2", "d/a": "1" },
      remote: { b: "2", "d/a": "1", "": "", "d/": "", "empty/": "" },
    },
  },
  {
    name: "a directory that stands for one in the bucket goes on when its file is deleted",
    elsewhere: "the marker keeps the directory alive on all clients",
    given: { "d/a": "1", b: "2", c: "3" },
    when: (pair) => {
      pair.put("d/", "");
      pair.local.remove("d/a");
    },
    expected: { local: { b: "2", c: "3" }, remote: { b: "2", c: "3", "d/": "" } },
  },
  {
    name: "a name that is no UTF-8 is left alone, and all others go on",
    elsewhere: "rclone mangles names (rclone#1472)",
    given: { b: "2" },
    when: (pair) => {
      writeFileSync(Buffer.concat([Buffer.from(`${pair.local.root}/bad`), Buffer.from([0xff])]), "1");
      mkdirSync(pair.at("d"));
      pair.write("local", { "d/c": "3" });
    },
    expected: {
      local: { b: "2", "d/c": "3", "bad\ufffd": "?" },
      remote: { b: "2", "d/c": "3" },
      left: ["bad\ufffd"],
      code: 1,
    },
  },
]);

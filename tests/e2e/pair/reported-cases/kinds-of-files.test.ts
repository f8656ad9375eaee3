import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { expect } from "vitest";
import { playCases } from "../../../harness/pair/reported-case.js";

const OTHERS = { x: "24", y: "25" };
const modeOf = (path: string) => statSync(path).mode & 0o777;

playCases([
  {
    name: "a link is left alone, and neither followed nor taken away",
    elsewhere: "Syncthing removes links with impunity (syncthing#5125, #3802)",
    given: OTHERS,
    when: (pair) => {
      pair.write("local", { "../outside/secret": "1", new: "2" });
      symlinkSync("../outside", pair.at("link"));
      symlinkSync("nowhere", pair.at("dangling"));
    },
    expected: {
      local: { ...OTHERS, new: "2", link: "-> ../outside", dangling: "-> nowhere" },
      remote: { ...OTHERS, new: "2" },
      left: ["dangling", "link"],
      code: 1,
    },
  },
  {
    name: "a file that is a link now is left alone on the other side",
    elsewhere: "bitpocket and Unison take it for a deletion, or for the older one (unison#29, bitpocket#51)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "../a");
      symlinkSync("../a", pair.at("a"));
    },
    expected: { local: { a: "-> ../a", ...OTHERS }, remote: { a: "1", ...OTHERS }, left: ["a"], code: 1 },
  },
  {
    name: "nothing is written through a link in a file's place",
    elsewhere: "pulls that follow links overwrite files outside of the folder",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "../a");
      symlinkSync("../a", pair.at("a"));
      pair.put("a", "edited");
    },
    expected: {
      local: { a: "-> ../a", ...OTHERS },
      remote: { a: "edited", ...OTHERS },
      left: ["a"],
      code: 1,
      check: (pair) => expect(readFileSync(pair.at("../a"), "utf8")).toBe("1"),
    },
  },
  {
    name: "a file that was a link until now is synced",
    elsewhere: "bitpocket replaces the file by the old link (bitpocket#51)",
    given: OTHERS,
    when: async (pair) => {
      symlinkSync("x", pair.at("a"));
      expect((await pair.sync()).code).toBe(1);
      pair.local.remove("a");
      pair.write("local", { a: "1" });
    },
    expected: { both: { a: "1", ...OTHERS }, done: 1 },
  },
  {
    name: "a side that is reached by a link is that directory",
    elsewhere: "Syncthing: all files deleted on the first sync if the root is a link (syncthing#276)",
    when: (pair) => {
      renameSync(pair.local.root, `${pair.local.root}-real`);
      symlinkSync(`${pair.local.root}-real`, pair.local.root);
      pair.write("local", { a: "1" });
      pair.put("b", "2");
    },
    expected: { both: { a: "1", b: "2" }, done: 2 },
  },
  {
    name: "a pipe and a socket are left alone, and nobody waits for them",
    elsewhere: "gsutil rsync, Duplicati and others hang (gsutil#497, duplicati#876)",
    given: OTHERS,
    when: async (pair) => {
      execFileSync("mkfifo", [pair.at("pipe")]);
      const server = createServer().unref();
      await new Promise<void>((resolve) => server.listen(pair.at("socket"), resolve));
      pair.write("local", { new: "1" });
    },
    expected: { both: { ...OTHERS, new: "1" }, left: ["pipe", "socket"], code: 1 },
  },
  {
    name: "names of one file are files of their own: an edit there changes one of them",
    elsewhere: "writing in place changes all names at once (Syncthing, unison without -copyonconflict)",
    given: OTHERS,
    when: async (pair) => {
      pair.write("local", { a: "1" });
      linkSync(pair.at("a"), pair.at("b"));
      await pair.sync();
      pair.put("a", "edited");
    },
    expected: { both: { a: "edited", b: "1", ...OTHERS }, done: 1 },
  },
  {
    name: "an edit of a file with two names is an edit of both",
    elsewhere: "tools that know files by inode bring one of them alone",
    given: OTHERS,
    when: async (pair) => {
      pair.write("local", { a: "1" });
      linkSync(pair.at("a"), pair.at("b"));
      await pair.sync();
      pair.local.write("b", "edited", "in-place");
    },
    expected: { both: { a: "edited", b: "edited", ...OTHERS }, done: 2 },
  },
  {
    name: "a file with holes has all its bytes on the other side",
    elsewhere: "sparse files come short or blown up",
    with: "directory",
    given: OTHERS,
    when: (pair) => {
      writeFileSync(pair.at("sparse"), "begin");
      truncateSync(pair.at("sparse"), 3_000_000);
    },
    expected: {
      both: { ...OTHERS, sparse: `begin${"\0".repeat(2_999_995)}` },
      done: 1,
    },
  },
  {
    name: "a read-only file is replaced by its next version",
    elsewhere: "permission denied for the sync client (owncloud/client#4445)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      chmodSync(pair.at("a"), 0o444);
      pair.put("a", "edited");
    },
    expected: { both: { a: "edited", ...OTHERS } },
  },
  {
    name: "a read-only file is deleted",
    elsewhere: "it stays, and comes back later (owncloud/client#4445, #7434)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      chmodSync(pair.at("a"), 0o444);
      pair.remote.remove("a");
    },
    expected: { both: OTHERS },
  },
  {
    name: "a program that may be executed may be so on another machine",
    elsewhere: "rclone and aws s3 sync lose the bit",
    given: OTHERS,
    when: (pair) => {
      pair.write("local", { program: "#!/bin/sh" });
      chmodSync(pair.at("program"), 0o755);
    },
    expected: {
      both: { ...OTHERS, program: "#!/bin/sh" },
      check: async (pair) => {
        const other = pair.otherMachine();
        await other.sync();
        expect(modeOf(other.at("program"))).toBe(0o755);
      },
    },
  },
  {
    name: "permissions alone come to the other directory",
    elsewhere: "a change of the mode alone is not seen by size and time",
    with: "directory",
    given: { a: "1", ...OTHERS },
    when: (pair) => chmodSync(pair.at("a"), 0o750),
    expected: { both: { a: "1", ...OTHERS }, check: (pair) => expect(modeOf(pair.there("a"))).toBe(0o750) },
  },
  {
    name: "permissions that both sides have changed are no conflict: the local ones win",
    elsewhere: "Unison stops at it: props changed on both",
    with: "directory",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      chmodSync(pair.at("a"), 0o750);
      chmodSync(pair.there("a"), 0o604);
    },
    expected: {
      both: { a: "1", ...OTHERS },
      check: (pair) => expect([modeOf(pair.at("a")), modeOf(pair.there("a"))]).toEqual([0o750, 0o750]),
    },
  },
  {
    name: "permissions here and an edit there are no conflict",
    elsewhere: "Syncthing makes a conflict of other metadata (syncthing#2584)",
    with: "directory",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      chmodSync(pair.at("a"), 0o640);
      pair.remote.write("a", "edited", "in-place");
    },
    expected: { both: { a: "edited", ...OTHERS }, done: 1 },
  },
]);

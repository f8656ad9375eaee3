import { createHash } from "node:crypto";
import { statSync, utimesSync, writeFileSync } from "node:fs";
import { expect } from "vitest";
import { type Pair, playCases } from "../../../harness/pair/reported-case.js";

const HOUR_MS = 3_600_000;
const HOUR_AGO = new Date(Date.now() - HOUR_MS);
const FUTURE = new Date("2099-06-01T12:00:00Z");
const TWELVE = Object.fromEntries(Array.from({ length: 12 }, (_, at) => [`f${at}`, `text ${at}`]));

/** Sets the modification time of every local file. */
function touchAll(pair: Pair, timeOf: (mtimeMs: number) => number): void {
  for (const name of Object.keys(TWELVE)) pair.touch(name, new Date(timeOf(statSync(pair.at(name)).mtimeMs)));
}

const KMS = { "x-amz-server-side-encryption": "aws:kms" };
const NO_MD5 = { ...KMS, etag: '"0123456789abcdef0123456789abcdef"' };

playCases([
  {
    name: "an edit that keeps size and modification time is seen",
    elsewhere: "rclone bisync, aws s3 sync and unison's fastcheck miss it (aws-cli#406, rclone#5164)",
    given: { a: "version 1", b: "2" },
    when: (pair) => {
      const { atime, mtime } = statSync(pair.at("a"));
      writeFileSync(pair.at("a"), "version 2");
      utimesSync(pair.at("a"), atime, mtime);
    },
    expected: { both: { a: "version 2", b: "2" }, done: 1 },
  },
  {
    name: "an object of the same size that is older than the local file is pulled",
    elsewhere: "aws s3 sync does not download it without --exact-timestamps (aws-cli#1074, #3273)",
    given: { a: "version 1", b: "2" },
    when: (pair) => pair.put("a", "version 2", { at: new Date("2020-01-01") }),
    expected: { both: { a: "version 2", b: "2" }, done: 1 },
  },
  {
    name: "a file that was only touched is not copied",
    elsewhere: "aws s3 sync uploads it again and again (aws-cli#5216)",
    given: { a: "1", b: "2" },
    when: (pair) => pair.touch("a", HOUR_AGO),
    expected: { both: { a: "1", b: "2" }, done: 0 },
  },
  {
    name: "a file that was only touched is no conflict with an edit there",
    elsewhere: "Nextcloud makes conflicts without a reason of time stamps (nextcloud/desktop#943)",
    given: { a: "1", b: "2" },
    when: (pair) => {
      pair.touch("a", FUTURE);
      pair.put("a", "edited");
    },
    expected: { both: { a: "edited", b: "2" }, done: 1 },
  },
  {
    name: "a file that was saved again with the same bytes is not copied",
    elsewhere: "rclone bisync takes a new time for a change (rclone#5164)",
    given: { a: "1", b: "2" },
    when: ({ local }) => local.write("a", "1", "rename"),
    expected: { both: { a: "1", b: "2" }, done: 0 },
  },
  {
    name: "times that all shift by an hour are no changes",
    elsewhere:
      "ownCloud uploads a FAT disk again when the clocks change (owncloud/client#2438, syncthing#9227)",
    given: TWELVE,
    when: (pair) => touchAll(pair, (mtimeMs) => mtimeMs - HOUR_MS),
    expected: { both: TWELVE, done: 0 },
  },
  {
    name: "times that are cut to two seconds are no changes",
    elsewhere: "ownCloud uploads after each download on exFAT (owncloud/client#3103)",
    given: TWELVE,
    when: (pair) => touchAll(pair, (mtimeMs) => Math.floor(mtimeMs / 2000) * 2000),
    expected: { both: TWELVE, done: 0 },
  },
  {
    name: "an older version that was restored here is pushed",
    elsewhere: "MEGAsync and ownCloud overwrite it by the newer one (MEGAsync#70, owncloud/client#4538)",
    given: { a: "version 2", b: "2" },
    when: (pair) => pair.writeAt("a", "version 1", new Date("2019-03-01")),
    expected: { both: { a: "version 1", b: "2" }, done: 1 },
  },
  {
    name: "an older version that was restored there is pulled",
    elsewhere: "Filen changes the cloud's file alone (filen-desktop#158)",
    given: { a: "version 2", b: "2" },
    when: (pair) => pair.put("a", "version 1", { headers: { "x-amz-meta-mtime": "1551398400" } }),
    expected: { both: { a: "version 1", b: "2" }, done: 1 },
  },
  {
    name: "a file of the year 1970 is synced",
    elsewhere: "Nextcloud refuses it: invalid modification time (nextcloud/desktop#4332, #4378)",
    given: { b: "2" },
    when: (pair) => pair.writeAt("a", "1", new Date(0)),
    expected: { both: { a: "1", b: "2" }, done: 1 },
  },
  {
    name: "a file from before 1970 is synced, and has its time on the other side",
    elsewhere: "Nextcloud cannot sync it (nextcloud/desktop#5196)",
    with: "directory",
    given: { b: "2" },
    when: (pair) => pair.writeAt("a", "1", new Date("1965-05-05T05:05:05Z")),
    expected: {
      both: { a: "1", b: "2" },
      done: 1,
      check: (pair) => expect(statSync(pair.there("a")).mtime).toEqual(new Date("1965-05-05T05:05:05Z")),
    },
  },
  {
    name: "a conflict with a file from before 1970 keeps both",
    elsewhere: "Nextcloud: impossible to get modification time for file in conflict (nextcloud/desktop#4016)",
    given: { b: "2" },
    when: (pair) => {
      pair.writeAt("a.txt", "old photo", new Date("1965-05-05T05:05:05Z"));
      pair.put("a.txt", "other photo");
    },
    sync: ["--conflict", "backup-both"],
    expected: { both: { "a.txt": "other photo", "a.conflict-local.txt": "old photo", b: "2" } },
  },
  {
    name: "a file from the future is synced once",
    elsewhere: "aws s3 sync and make-like tools copy it each time, for it is always newer",
    given: { b: "2" },
    when: (pair) => pair.writeAt("a", "1", FUTURE),
    expected: { both: { a: "1", b: "2" }, done: 1 },
  },
  {
    name: "a file from the future does not win for that",
    elsewhere: "a time that was bumped counts for the newest edit (FreeShow#3556)",
    given: { "a.txt": "1" },
    when: (pair) => {
      pair.writeAt("a.txt", "local edit", FUTURE);
      pair.put("a.txt", "remote edit");
    },
    expected: { both: { "a.txt": "remote edit", "a.conflict-local.txt": "local edit" } },
  },
  {
    name: "an object cannot have been edited after it was uploaded, whatever its metadata say",
    elsewhere: "tools that prefer the newer time believe it, however wrong it is",
    given: { "a.txt": "1" },
    when: (pair) => {
      pair.writeAt("a.txt", "local edit", new Date(Date.now() - 60_000));
      pair.put("a.txt", "remote edit", {
        at: HOUR_AGO,
        headers: { "x-amz-meta-mtime": String(FUTURE.getTime() / 1000) },
      });
    },
    expected: { both: { "a.txt": "local edit" }, kept: ["remote edit"] },
  },
  {
    name: "with clocks that are a day and more apart no conflict is decided by time",
    elsewhere: "Dropbox and others sort versions by clocks that are wrong",
    given: { "a.txt": "1" },
    when: (pair) => {
      pair.s3.fault = (_request, answer) => {
        answer.setHeader("date", new Date(Date.now() + 30 * HOUR_MS).toUTCString());
        return false;
      };
      pair.writeAt("a.txt", "local edit", HOUR_AGO);
      pair.put("a.txt", "remote edit");
    },
    expected: { both: { "a.txt": "remote edit", "a.conflict-local.txt": "local edit" } },
  },
  {
    name: "a modification time goes along with its file",
    elsewhere: "Nextcloud set many to 31 December 1969 (nextcloud/desktop#4341)",
    with: "directory",
    given: { b: "2" },
    when: (pair) => pair.writeAt("a", "1", new Date("2001-02-03T04:05:06.789Z")),
    expected: {
      both: { a: "1", b: "2" },
      check: (pair) => expect(statSync(pair.there("a")).mtime).toEqual(new Date("2001-02-03T04:05:06.789Z")),
    },
  },
  {
    name: "a modification time goes through the bucket to another machine",
    elsewhere: "aws s3 sync gives every file the time of its upload (aws-cli#3273)",
    given: { b: "2" },
    when: (pair) => pair.writeAt("a", "1", new Date("2001-02-03T04:05:06.789Z")),
    expected: {
      both: { a: "1", b: "2" },
      check: async (pair) => {
        const other = pair.otherMachine();
        await other.sync();
        expect(statSync(other.at("a")).mtime).toEqual(new Date("2001-02-03T04:05:06.789Z"));
      },
    },
  },
  {
    name: "an object that was encrypted with another key is the same",
    elsewhere: "s3cmd uploads it with each sync, for its ETag is no MD5 (s3cmd#611)",
    given: { a: "version 1", b: "2" },
    when: (pair) => pair.put("a", "version 1", { headers: NO_MD5 }),
    expected: { both: { a: "version 1", b: "2" }, done: 0 },
  },
  {
    name: "an encrypted object with other bytes of the same size is pulled",
    elsewhere: "an ETag that looks like an MD5 and is none misleads (aeroftp#792)",
    given: { a: "version 1", b: "2" },
    when: (pair) => pair.put("a", "version 2", { headers: NO_MD5 }),
    expected: { both: { a: "version 2", b: "2" }, done: 1 },
  },
  {
    name: "an object that was uploaded in parts is equal to the file of its bytes",
    elsewhere: "s5cmd and others compare its ETag with an MD5 (s5cmd#561)",
    when: (pair) => {
      pair.write("local", { a: "version 1" });
      pair.put("a", "version 1", { headers: { etag: '"0123456789abcdef0123456789abcdef-3"' } });
    },
    expected: { both: { a: "version 1" }, done: 0 },
  },
  {
    name: "an object with other bytes of the same size in parts is not equal to the file",
    elsewhere: "size and time make them the same for rclone without a common hash (rclone#9939)",
    when: (pair) => {
      pair.writeAt("a.txt", "version 1", HOUR_AGO);
      pair.put("a.txt", "version 2", {
        at: HOUR_AGO,
        headers: { etag: '"0123456789abcdef0123456789abcdef-3"' },
      });
    },
    sync: ["--conflict", "backup-both"],
    expected: { both: { "a.txt": "version 2", "a.conflict-local.txt": "version 1" } },
  },
  {
    name: "an edit by a tool that keeps the SHA-256 of the former version in the metadata is told of",
    elsewhere: "mounts such as s3fs write objects in parts and keep their x-amz-meta headers",
    given: { a: "version 1", b: "2" },
    when: (pair) => {
      const headers = Object.entries(pair.s3.stored(pair.key("a"))?.headers ?? {});
      const kept = Object.fromEntries(headers.filter(([name]) => name.startsWith("x-amz-meta-")));
      expect(Object.values(kept)).toContain(createHash("sha256").update("version 1").digest("hex"));
      pair.put("a", "version 2", { headers: { ...kept, etag: '"0123456789abcdef0123456789abcdef-2"' } });
    },
    // It is seen. What does not match its own checksum is not published.
    expected: { done: 1, code: 3, goesOn: true },
  },
  {
    name: "a file that was emptied is empty on the other side, not deleted",
    elsewhere:
      "TorpedoSync deletes it there (TorpedoSync#14), ownCloud ends in an error (owncloud/client#743)",
    given: { a: "1", b: "2" },
    when: ({ local }) => local.write("a", "", "in-place"),
    expected: { both: { a: "", b: "2" }, kept: ["1"], done: 1 },
  },
  {
    name: "new files without a byte are synced in both directions",
    elsewhere: "Nextcloud's client blocks at them (nextcloud/desktop#4157)",
    given: { b: "2" },
    when: (pair) => {
      pair.write("local", { here: "" });
      pair.put("there", "");
    },
    expected: { both: { b: "2", here: "", there: "" }, done: 2 },
  },
  {
    name: "a side of which every file has other bytes stops the sync",
    elsewhere: "Nextcloud and Dropbox spread what ransomware has encrypted",
    given: TWELVE,
    when: (pair) => {
      for (const name of Object.keys(TWELVE)) pair.write("local", { [name]: `encrypted ${name}` });
    },
    expected: { stopped: "max-change" },
  },
  {
    name: "a side of which every file has other bytes goes with --max-change 100%",
    elsewhere: "a guard that cannot be told it is meant makes users switch it off",
    given: TWELVE,
    when: (pair) => {
      for (const name of Object.keys(TWELVE)) pair.write("local", { [name]: "new" });
    },
    sync: ["--max-change", "100%"],
    expected: {
      both: Object.fromEntries(Object.keys(TWELVE).map((name) => [name, "new"])),
      kept: ["text 0", "text 11"],
    },
  },
]);

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { expect } from "vitest";
import { sendError } from "../../../harness/fake-s3.js";
import { type Pair, playCases } from "../../../harness/pair/reported-case.js";

const TEN = Object.fromEntries(Array.from({ length: 10 }, (_, at) => [`f${at}`, `text ${at}`]));
const HOUR_AGO = new Date(Date.now() - 3_600_000);

/** All of the local side, its marker too. */
function unmount({ local }: Pair): void {
  for (const name of readdirSync(local.root)) rmSync(`${local.root}/${name}`, { recursive: true });
}

function without(files: Record<string, string>, ...names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(files).filter(([name]) => !names.includes(name)));
}

playCases([
  {
    name: "what is deleted here is deleted there, and does not come back",
    elsewhere: "rclone bisync --resync brings deleted files back (rclone#7042)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local }) => local.remove("a"),
    expected: { both: { b: "2", c: "3" }, kept: ["1"], done: 1 },
  },
  {
    name: "what is deleted there is deleted here",
    elsewhere: "copies in both directions bring every deletion back (rclonesync-V2#8)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ remote }) => remote.remove("a"),
    expected: { both: { b: "2", c: "3" }, kept: ["1"], done: 1 },
  },
  {
    name: "what is deleted on both sides is forgotten without a word",
    elsewhere: "osync fails at it in every further sync (osync#45)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local, remote }) => {
      local.remove("a");
      remote.remove("a");
    },
    expected: { both: { b: "2", c: "3" }, done: 0 },
  },
  {
    name: "a file with brackets in its name is deleted as any other",
    elsewhere: "osync cannot move fonts[find-font] to its deletion directory (osync#45)",
    given: { "fonts[find-font]/x*?": "1", b: "2", c: "3" },
    when: ({ local }) => local.remove("fonts[find-font]/x*?"),
    expected: { both: { b: "2", c: "3" }, kept: ["1"] },
  },
  {
    name: "a file that was deleted and made again is new",
    elsewhere: "RetroArch's cloud sync deletes it again for ever (RetroArch#17204)",
    given: { a: "1", b: "2", c: "3" },
    when: async (pair) => {
      pair.local.remove("a");
      await pair.sync();
      pair.write("local", { a: "1" });
    },
    expected: { both: { a: "1", b: "2", c: "3" }, done: 1 },
  },
  {
    name: "what is deleted here and edited there stays, as it was edited",
    elsewhere:
      "Syncthing wants to make a conflict copy of the file that is gone, and never ends (syncthing#1722)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local, remote }) => {
      local.remove("a");
      remote.write("a", "edited", "rename");
    },
    expected: { both: { a: "edited", b: "2", c: "3" }, done: 1 },
  },
  {
    name: "what is edited here and deleted there stays, as it was edited",
    elsewhere: "ownCloud deletes the only copy that is left (owncloud/client#1014)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local, remote }) => {
      local.write("a", "edited", "rename");
      remote.remove("a");
    },
    expected: { both: { a: "edited", b: "2", c: "3" }, done: 1 },
  },
  {
    name: "a deletion wins where its side wins, and the edit is kept in the backup",
    elsewhere: "Syncthing loses the edit without a trace, with versioning on (syncthing-android#1260)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local, remote }) => {
      local.write("a", "edited", "rename");
      remote.remove("a");
    },
    sync: ["--conflict", "remote-wins"],
    expected: { both: { b: "2", c: "3" }, kept: ["edited"] },
  },
  {
    name: "a deletion wins where the local side wins, and the edit is kept in the backup",
    elsewhere: "the same the other way round (syncthing-android#1260)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local, remote }) => {
      local.remove("a");
      remote.write("a", "edited", "rename");
    },
    sync: ["--conflict", "local-wins"],
    expected: { both: { b: "2", c: "3" }, kept: ["edited"] },
  },
  {
    name: "a deletion never beats an edit that nobody would keep",
    elsewhere: "rclone bisync handles a deletion against an edit without a backup (rclone#5691)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local, remote }) => {
      local.write("a", "edited", "rename");
      remote.remove("a");
    },
    sync: ["--conflict", "remote-wins", "--backup", "none"],
    expected: { both: { a: "edited", b: "2", c: "3" } },
  },
  {
    name: "--no-delete leaves both sides as they are, and a later sync deletes",
    elsewhere: "Syncthing's ignoreDelete makes false conflicts of later edits (syncthing#2076)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local }) => local.remove("a"),
    sync: ["--no-delete"],
    expected: {
      local: { b: "2", c: "3" },
      remote: { a: "1", b: "2", c: "3" },
      left: ["a"],
      done: 0,
      check: async (pair) => {
        expect((await pair.sync("--no-delete")).items).toMatchObject([{ path: "a", action: "left" }]);
      },
    },
  },
  {
    name: "a file that was only touched here goes when it is deleted there",
    elsewhere: "MEGAsync takes the newer time for an edit and brings the file back (MEGAsync#70)",
    given: { a: "1", b: "2", c: "3" },
    when: (pair) => {
      pair.touch("a", HOUR_AGO);
      pair.remote.remove("a");
    },
    expected: { both: { b: "2", c: "3" } },
  },
  {
    name: "an object that was only written again goes when the file is deleted here",
    elsewhere: "aws s3 sync downloads whatever has a newer time (aws-cli#5216)",
    given: { a: "1", b: "2", c: "3" },
    when: (pair) => {
      pair.local.remove("a");
      pair.put("a", "1");
    },
    expected: { both: { b: "2", c: "3" } },
  },
  {
    name: "a new file in a directory that was deleted here comes, the others go",
    elsewhere: "Syncthing's directory neither goes nor comes back (syncthing#4475)",
    given: { "d/a": "1", b: "2", c: "3" },
    when: (pair) => {
      rmSync(pair.at("d"), { recursive: true });
      pair.put("d/new", "4");
    },
    expected: { both: { "d/new": "4", b: "2", c: "3" } },
  },
  {
    name: "of a directory that was deleted here, what was edited there stays",
    elsewhere: "mutagen waits for a person: directory against non-existent (mutagen#533)",
    given: { "d/a": "1", "d/b": "2", c: "3", e: "4", f: "5" },
    when: (pair) => {
      rmSync(pair.at("d"), { recursive: true });
      pair.put("d/a", "edited");
    },
    expected: { both: { "d/a": "edited", c: "3", e: "4", f: "5" } },
  },
  {
    name: "a directory that is deleted there keeps what the filters leave out here",
    elsewhere: "Syncthing stays out of sync: the directory is not empty (syncthing#1362, #4336)",
    given: { "d/a": "1", b: "2", c: "3" },
    when: (pair) => {
      pair.write("local", { "d/.DS_Store": "own" });
      pair.remote.remove("d/a");
    },
    sync: ["--exclude", ".DS_Store"],
    expected: { local: { "d/.DS_Store": "own", b: "2", c: "3" }, remote: { b: "2", c: "3" } },
  },
  {
    name: "filters that are new leave both sides alone",
    elsewhere: "osync deletes what an exclusion list names from both sides (osync#201)",
    given: { "a.txt": "1", "b.log": "2" },
    when: () => {},
    sync: ["--exclude", "*.log"],
    expected: { both: { "a.txt": "1", "b.log": "2" }, done: 0 },
  },
  {
    name: "a deletion that the filters hid is made up for without them, and nothing comes back",
    elsewhere: "rclone bisync forgets excluded files, so that they come back (rclone#5986)",
    given: { "a.txt": "1", "b.log": "2", "c.txt": "3" },
    when: async (pair) => {
      pair.local.remove("b.log");
      const told = await pair.sync("--exclude", "*.log");
      expect(told).toMatchObject({ code: 0, items: [] });
      expect(pair.remote.read("b.log")).toBe("2");
    },
    expected: { both: { "a.txt": "1", "c.txt": "3" }, done: 1 },
  },
  {
    name: "a disk that is not mounted stops the sync",
    elsewhere:
      "Syncthing deletes everything everywhere (syncthing#1496), ownCloud too (owncloud/client#4293)",
    given: { a: "1", b: "2" },
    when: unmount,
    expected: { stopped: "marker" },
  },
  {
    name: "a directory that is empty although its marker is there stops the sync",
    elsewhere: "a disk that shows up empty for a moment empties all others (syncthing#4345)",
    given: { a: "1", b: "2" },
    when: ({ local }) => {
      local.remove("a");
      local.remove("b");
    },
    expected: { stopped: "empty-side" },
  },
  {
    name: "a bucket that was emptied stops the sync",
    elsewhere: "a server without its data makes clients delete theirs (owncloud/core#13006)",
    given: { a: "1", b: "2" },
    when: ({ s3, prefix }) => {
      for (const key of s3.keys.filter((each) => each.startsWith(`${prefix}/`))) s3.remove(key);
    },
    expected: { stopped: "marker" },
  },
  {
    name: "objects that a lifecycle rule has expired stop the sync",
    elsewhere: "expired objects are deletions for aws s3 sync --delete and its like",
    given: { a: "1", b: "2" },
    when: ({ remote }) => {
      remote.remove("a");
      remote.remove("b");
    },
    expected: { stopped: "empty-side" },
  },
  {
    name: "another tree in the place of the one that was synced stops the sync",
    elsewhere: "mutagen replaces the first side by what a restarted container holds (mutagen#275)",
    given: { a: "1", b: "2" },
    with: "directory",
    when: ({ remote }) => {
      renameSync(remote.root, `${remote.root}-before`);
      mkdirSync(remote.root);
      writeFileSync(`${remote.root}/other`, "raw");
    },
    expected: { stopped: "marker" },
  },
  {
    name: "a side that was emptied on purpose empties the other one with --allow-empty",
    elsewhere: "Filen brings all back after 'delete all files' (filen-desktop#113)",
    given: { a: "1", b: "2" },
    when: ({ local }) => {
      local.remove("a");
      local.remove("b");
    },
    sync: ["--allow-empty", "local"],
    expected: { both: {}, kept: ["1", "2"], done: 2 },
  },
  {
    name: "more deletions than half of the files stop the sync",
    elsewhere: "s3cmd, launched from the wrong directory, empties the bucket (s3cmd#156)",
    given: TEN,
    when: ({ local }) => {
      for (const name of ["f0", "f1", "f2", "f3", "f4", "f5"]) local.remove(name);
    },
    expected: { stopped: "max-delete" },
  },
  {
    name: "--max-delete is a number of files where it has no percent sign",
    elsewhere: "rclone bisync takes it for percent (rclone#5680)",
    given: TEN,
    when: ({ local }) => {
      for (const name of ["f0", "f1", "f2"]) local.remove(name);
    },
    sync: ["--max-delete", "2"],
    expected: { stopped: "max-delete" },
  },
  {
    name: "as many deletions as --max-delete allows go on",
    elsewhere: "rsync-like tools were off by one with directories (oferchen/rsync#6440)",
    given: TEN,
    when: ({ local }) => {
      for (const name of ["f0", "f1", "f2"]) local.remove(name);
    },
    sync: ["--max-delete", "3"],
    expected: { both: without(TEN, "f0", "f1", "f2"), done: 3 },
  },
  {
    name: "a directory that is a link now is left alone on the other side",
    elsewhere: "lsyncd deletes its files there (lsyncd#290), Syncthing those it leads to (syncthing#2571)",
    given: { "d/a": "1", "d/b": "2", c: "3" },
    when: (pair) => {
      pair.rename("d", "../elsewhere");
      symlinkSync("../elsewhere", pair.at("d"));
    },
    expected: {
      local: { c: "3", d: "-> ../elsewhere" },
      remote: { "d/a": "1", "d/b": "2", c: "3" },
      left: ["d", "d/a", "d/b"],
      code: 1,
    },
  },
  {
    name: "what is behind a link is not deleted when the objects are",
    elsewhere: "Nextcloud's client deletes files outside of its folder (nextcloud/desktop#1295)",
    given: { "d/a": "1", b: "2", c: "3" },
    when: (pair) => {
      pair.rename("d", "../elsewhere");
      symlinkSync("../elsewhere", pair.at("d"));
      pair.remote.remove("d/a");
    },
    expected: {
      local: { b: "2", c: "3", d: "-> ../elsewhere" },
      remote: { b: "2", c: "3" },
      left: ["d", "d/a"],
      code: 1,
      check: (pair) => {
        expect(existsSync(pair.at("../elsewhere/a"))).toBe(true);
        expect(readFileSync(pair.at("d/a"), "utf8")).toBe("1");
      },
    },
  },
  {
    name: "a bucket that cannot be listed is not an empty one",
    elsewhere: "errors made s5cmd delete all of the destination (s5cmd#699)",
    given: { a: "1", b: "2" },
    when: ({ s3 }) => {
      s3.fault = ({ query }, answer) => {
        if (!query.has("list-type")) return false;
        sendError(answer, 403, "AccessDenied");
        return true;
      };
    },
    expected: { stopped: "listing" },
  },
  {
    name: "a listing of many pages has no deletions between them",
    elsewhere: "wrongly continued listings make sync tools delete what is on later pages",
    given: TEN,
    when: (pair) => {
      pair.s3.pageKeys = 2;
      pair.local.remove("f4");
    },
    expected: { both: without(TEN, "f4"), done: 1 },
  },
]);

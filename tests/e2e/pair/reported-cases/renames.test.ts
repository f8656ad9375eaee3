import { mkdirSync, rmSync } from "node:fs";
import { playCases } from "../../../harness/pair/reported-case.js";

/** Files that stay: else half of the files would be deleted, which stops a sync. */
const OTHERS = { x: "24", y: "25", z: "26" };

playCases([
  {
    name: "a file that is renamed here has its new name alone on both sides",
    elsewhere: "copies in both directions leave both names everywhere (rclonesync-V2#8)",
    given: { a: "1", ...OTHERS },
    when: (pair) => pair.rename("a", "b"),
    expected: { both: { b: "1", ...OTHERS }, done: 2 },
  },
  {
    name: "a file that is renamed there has its new name alone on both sides",
    elsewhere: "Syncthing deletes the renamed file (syncthing#9890)",
    given: { a: "1", ...OTHERS },
    when: (pair) => pair.renameObject("a", "b"),
    expected: { both: { b: "1", ...OTHERS }, done: 2 },
  },
  {
    name: "a directory that is renamed comes whole, although more than half of the files are in it",
    elsewhere: "rclone bisync counts them as deletions, and aborts (rclone#8685)",
    given: { "old/a": "1", "old/b": "2", "old/c/d": "3", x: "24" },
    when: (pair) => pair.rename("old", "new"),
    expected: { both: { "new/a": "1", "new/b": "2", "new/c/d": "3", x: "24" } },
  },
  {
    name: "a directory that is renamed there comes whole, although more than half of the files are in it",
    elsewhere: "the same in the other direction (rclone#8685)",
    given: { "old/a": "1", "old/b": "2", "old/c/d": "3", x: "24" },
    when: (pair) => pair.renameObject("old/", "new/"),
    expected: { both: { "new/a": "1", "new/b": "2", "new/c/d": "3", x: "24" } },
  },
  {
    name: "a file that both sides rename to the same name is one file",
    elsewhere: "rclonesync tags both copies with _Path1 and _Path2 (rclonesync-V2#71)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "b");
      pair.renameObject("a", "b");
    },
    expected: { both: { b: "1", ...OTHERS }, done: 0 },
  },
  {
    name: "a directory that both sides rename to the same name is one directory",
    elsewhere: "rclonesync: two tagged copies of all contents on both sides (rclonesync-V2#71)",
    given: { "d/a": "1", "d/b": "2", ...OTHERS },
    when: (pair) => {
      pair.rename("d", "e");
      pair.renameObject("d/", "e/");
    },
    expected: { both: { "e/a": "1", "e/b": "2", ...OTHERS }, done: 0 },
  },
  {
    name: "a file that both sides rename differently has both names",
    elsewhere: "mutagen and Unison stop at a conflict of deletions (unison#456)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "b");
      pair.renameObject("a", "c");
    },
    expected: { both: { b: "1", c: "1", ...OTHERS }, done: 2 },
  },
  {
    name: "a file that is renamed here and edited there is there in both versions",
    elsewhere: "the edit goes to the old name, where the rename deletes it (git-annex, remotely-save#422)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "b");
      pair.put("a", "edited");
    },
    expected: { both: { a: "edited", b: "1", ...OTHERS } },
  },
  {
    name: "a file that is renamed and edited here is edited on both sides",
    elsewhere: "renames found by inode take the old content along",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "b");
      pair.local.write("b", "edited", "in-place");
    },
    expected: { both: { b: "edited", ...OTHERS } },
  },
  {
    name: "a directory that is renamed here while a file in it is edited there loses nothing",
    elsewhere: "ownCloud: moved files reappear in the old place, or edits are gone (owncloud/client#5437)",
    given: { "old/a": "1", "old/b": "2", ...OTHERS },
    when: (pair) => {
      pair.rename("old", "new");
      pair.put("old/b", "edited");
    },
    expected: { both: { "new/a": "1", "new/b": "2", "old/b": "edited", ...OTHERS } },
  },
  {
    name: "two files that swap their names swap their contents on the other side",
    elsewhere: "tools that go by inode and size see no change, or delete one",
    given: { a: "1", b: "2", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "t");
      pair.rename("b", "a");
      pair.rename("t", "b");
    },
    expected: { both: { a: "2", b: "1", ...OTHERS }, done: 2 },
  },
  {
    name: "two directories that swap their names swap on the other side",
    elsewhere: "tools make conflicts of all files in them",
    given: { "d/f": "1", "e/f": "2", "e/g": "3", ...OTHERS },
    when: (pair) => {
      pair.rename("d", "t");
      pair.rename("e", "d");
      pair.rename("t", "e");
    },
    expected: { both: { "d/f": "2", "d/g": "3", "e/f": "1", ...OTHERS } },
  },
  {
    name: "logs that are rotated are those logs on the other side",
    elsewhere: "Syncthing: renamed quickly, the file is deleted (syncthing#3526)",
    given: { log: "third day", "log.1": "second day", "log.2": "first day", ...OTHERS },
    when: (pair) => {
      pair.rename("log.2", "log.3");
      pair.rename("log.1", "log.2");
      pair.rename("log", "log.1");
      pair.write("local", { log: "fourth day" });
    },
    expected: {
      both: {
        log: "fourth day",
        "log.1": "third day",
        "log.2": "second day",
        "log.3": "first day",
        ...OTHERS,
      },
    },
  },
  {
    name: "a directory that moves into one that is new keeps its files",
    elsewhere: "osync left both replicas without them (osync#49)",
    given: { "a/x": "1", ...OTHERS },
    when: (pair) => {
      pair.rename("a", "t");
      pair.rename("t", "a/b/a");
    },
    expected: { both: { "a/b/a/x": "1", ...OTHERS } },
  },
  {
    name: "a file that is a directory now is one on the other side",
    elsewhere: "aws s3 sync: is a directory (aws-cli#3218)",
    given: { p: "1", ...OTHERS },
    when: (pair) => {
      pair.local.remove("p");
      pair.write("local", { "p/a": "2", "p/b": "3" });
    },
    expected: { both: { "p/a": "2", "p/b": "3", ...OTHERS } },
  },
  {
    name: "an object that is a prefix now is a directory here",
    elsewhere: "s3sync: mkdir: not a directory (s3sync#50)",
    given: { p: "1", ...OTHERS },
    when: (pair) => pair.renameObject("p", "p/a"),
    expected: { both: { "p/a": "1", ...OTHERS } },
  },
  {
    name: "a directory that is a file now is one on the other side",
    elsewhere: "Unison fails at it once, and at all others afterwards (unison#30)",
    given: { "p/a": "1", "p/d/b": "2", ...OTHERS },
    when: (pair) => {
      rmSync(pair.at("p"), { recursive: true });
      pair.write("local", { p: "3" });
    },
    expected: { both: { p: "3", ...OTHERS } },
  },
  {
    name: "a prefix that is an object now is a file here",
    elsewhere: "aws s3 sync --delete cannot: is a directory (aws-cli#3218)",
    given: { "p/a": "1", ...OTHERS },
    when: (pair) => {
      pair.remote.remove("p/a");
      pair.put("p", "2");
    },
    expected: { both: { p: "2", ...OTHERS } },
  },
  {
    name: "a new file here and a new directory of the name there are both there afterwards",
    elsewhere: "mutagen: conflict in the mode that resolves all (mutagen#271, #533)",
    given: OTHERS,
    when: (pair) => {
      pair.write("local", { "p.d": "a file" });
      pair.put("p.d/a", "below");
    },
    expected: { both: { "p.d/a": "below", "p.conflict-local.d": "a file", ...OTHERS } },
  },
  {
    name: "an edited file here and a directory in its place there are both there afterwards",
    elsewhere: "the type changes, and the edited file is gone",
    given: { "p.d": "1", ...OTHERS },
    when: (pair) => {
      pair.write("local", { "p.d": "edited" });
      pair.renameObject("p.d", "p.d/a");
    },
    expected: { both: { "p.d/a": "1", "p.conflict-local.d": "edited", ...OTHERS } },
  },
  {
    name: "a bucket with an object and a prefix of one name leaves both alone",
    elsewhere: "aws s3 sync dies at it (aws-cli#1538)",
    given: OTHERS,
    when: (pair) => {
      pair.put("something", "a file");
      pair.put("something/page.html", "below");
      pair.put("new", "1");
    },
    expected: {
      local: { new: "1", ...OTHERS },
      remote: { new: "1", something: "a file", "something/page.html": "below", ...OTHERS },
      left: ["something", "something/page.html"],
      code: 1,
    },
  },
  {
    name: "a file that the bucket has a prefix of the name beside is synced on",
    elsewhere: "aws s3 sync --delete deletes it and uploads it in turn (aws-cli#431)",
    given: { something: "1", ...OTHERS },
    when: (pair) => {
      pair.put("something/page.html", "below");
      pair.write("local", { something: "2" });
    },
    expected: {
      local: { something: "2", ...OTHERS },
      remote: { something: "2", "something/page.html": "below", ...OTHERS },
      left: ["something/page.html"],
      code: 1,
    },
  },
  {
    name: "empty directories are nothing, and stay",
    elsewhere: "plugins skip them, and delete what comes into them later (remotely-save#578)",
    given: OTHERS,
    when: (pair) => void mkdirSync(pair.at("empty/e"), { recursive: true }),
    expected: { both: OTHERS, done: 0 },
  },
]);

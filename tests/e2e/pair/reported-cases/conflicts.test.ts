import { expect } from "vitest";
import { sendError } from "../../../harness/fake-s3.js";
import { type Pair, playCases } from "../../../harness/pair/reported-case.js";

const MINUTE_AGO = new Date(Date.now() - 60_000);
const HOUR_AGO = new Date(Date.now() - 3_600_000);

/** Both sides edit `a.txt` at the same moment. */
function editBoth({ local, remote }: Pair): void {
  local.write("a.txt", "local edit", "rename");
  remote.write("a.txt", "remote edit", "rename");
}

playCases([
  {
    name: "the local version is newer: it wins, and the other one is kept",
    elsewhere: "ownCloud overwrites local files with outdated ones of the server (owncloud/client#3276)",
    given: { "a.txt": "1" },
    when: (pair) => {
      pair.writeAt("a.txt", "local edit", MINUTE_AGO);
      pair.put("a.txt", "remote edit", { at: HOUR_AGO });
    },
    expected: { both: { "a.txt": "local edit" }, kept: ["remote edit"], done: 1 },
  },
  {
    name: "the remote version is newer: it wins, and the other one is kept",
    elsewhere: "Syncthing for Android: no conflict file and no backup of what lost (syncthing-android#1260)",
    given: { "a.txt": "1" },
    when: (pair) => {
      pair.writeAt("a.txt", "local edit", HOUR_AGO);
      pair.put("a.txt", "remote edit", { at: MINUTE_AGO });
    },
    expected: { both: { "a.txt": "remote edit" }, kept: ["local edit"], done: 1 },
  },
  {
    name: "edits at the same moment are both there afterwards",
    elsewhere: "Syncthing: one node wins, the other's data are lost (syncthing#220, #6446)",
    given: { "a.txt": "1" },
    when: editBoth,
    expected: { both: { "a.txt": "remote edit", "a.conflict-local.txt": "local edit" } },
  },
  {
    name: "the conflict copy comes to both sides",
    elsewhere: "ownCloud and Nextcloud never upload it (owncloud/client#3869, #1930)",
    given: { "a.txt": "1" },
    when: (pair) => {
      pair.writeAt("a.txt", "local edit", HOUR_AGO);
      pair.put("a.txt", "remote edit");
    },
    sync: ["--conflict", "backup-both"],
    expected: { both: { "a.txt": "remote edit", "a.conflict-local.txt": "local edit" } },
  },
  {
    name: "the same edit on both sides is none",
    elsewhere: "rclone bisync renamed both to ..path1 and ..path2 (rclone#6082)",
    given: { "a.txt": "1" },
    when: ({ local, remote }) => {
      local.write("a.txt", "the same edit", "rename");
      remote.write("a.txt", "the same edit", "rename");
    },
    expected: { both: { "a.txt": "the same edit" }, done: 0 },
  },
  {
    name: "sides that are the same already are synced for the first time without a conflict",
    elsewhere: "ownCloud litters the folder with conflict files that are identical (owncloud/client#18)",
    when: (pair) => {
      for (const name of ["a", "b", "d/c"]) {
        pair.writeAt(name, `text of ${name}`, HOUR_AGO);
        pair.put(name, `text of ${name}`);
      }
    },
    expected: { both: { a: "text of a", b: "text of b", "d/c": "text of d/c" }, done: 0 },
  },
  {
    name: "a first sync brings together what each side has, and deletes nothing",
    elsewhere: "Nextcloud and others empty a folder that a fresh server does not know (owncloud/core#13006)",
    when: (pair) => {
      pair.write("local", { a: "1", "d/b": "2" });
      pair.put("c", "3");
    },
    expected: { both: { a: "1", "d/b": "2", c: "3" }, done: 3 },
  },
  {
    name: "files of two sides that never were the same end with a winner, and stay there",
    elsewhere: "mutagen lists them as conflicts in the mode that resolves all (mutagen#271)",
    when: (pair) => {
      pair.writeAt("a", "of here", HOUR_AGO);
      pair.put("a", "of there, newer");
    },
    sync: ["--conflict", "local-wins"],
    expected: { both: { a: "of here" }, kept: ["of there, newer"] },
  },
  {
    name: "an edit of one side alone is no conflict after a time without network",
    elsewhere: "mutagen detects conflicts of files that one side alone has changed (mutagen#180)",
    given: { a: "1", b: "2" },
    when: async (pair) => {
      pair.write("local", { a: "first edit" });
      pair.s3.fault = (_request, answer) => {
        sendError(answer, 403, "AccessDenied");
        return true;
      };
      expect((await pair.sync()).code).toBe(1);
      pair.s3.fault = () => false;
      pair.write("local", { a: "second edit" });
    },
    expected: { both: { a: "second edit", b: "2" }, done: 1 },
  },
  {
    name: "a file that one machine edits and another one takes is never in conflict",
    elsewhere: "Syncthing: many conflicts while one client alone modifies (syncthing#2584)",
    given: { a: "1", b: "2" },
    when: async (pair) => {
      const other = pair.otherMachine();
      await other.sync();
      for (const text of ["edit 1", "edit 2"]) {
        other.write("local", { a: text });
        expect((await other.sync()).items).toHaveLength(1);
        expect((await pair.sync()).items).toMatchObject([{ path: "a", action: "pull" }]);
      }
      other.write("local", { a: "edit 3" });
      await other.sync();
    },
    expected: { both: { a: "edit 3", b: "2" }, done: 1 },
  },
  {
    name: "a conflict copy that is edited on both sides is no copy of a copy",
    elsewhere: "Seafile adds a name to the name for ever (seafile-client#243)",
    given: { "a.txt": "1" },
    when: async (pair) => {
      editBoth(pair);
      await pair.sync();
      const [copy = ""] = [...(await pair.local.all()).keys()].filter((name) => name !== "a.txt");
      pair.local.write(copy, "copy, edited here", "rename");
      pair.remote.write(copy, "copy, edited there", "rename");
    },
    expected: {
      both: {
        "a.txt": "remote edit",
        "a.conflict-local.txt": "copy, edited here",
        "a.conflict-local.txt#2": "copy, edited there",
      },
      check: async ({ local }) => {
        for (const name of (await local.all()).keys())
          expect(name.split(".conflict-").length).toBeLessThan(3);
      },
    },
  },
  {
    name: "a conflict copy that is deleted stays deleted",
    elsewhere: "Syncthing's come back when they are deleted (syncthing#2282)",
    given: { "a.txt": "1", "b.txt": "2" },
    when: async (pair) => {
      editBoth(pair);
      await pair.sync();
      for (const name of (await pair.local.all()).keys())
        if (name.includes("conflict")) pair.local.remove(name);
    },
    expected: { both: { "a.txt": "remote edit", "b.txt": "2" }, done: 1 },
  },
  {
    name: "two conflicts of a file leave two copies and no more",
    elsewhere: "Syncthing's grow in number, uncontrollably (syncthing#2282)",
    given: { "a.txt": "1" },
    when: async (pair) => {
      editBoth(pair);
      await pair.sync();
      pair.write("local", { "a.txt": "second local edit" });
      pair.write("remote", { "a.txt": "second remote edit" });
      await pair.sync();
      pair.touch("a.txt", HOUR_AGO);
    },
    expected: {
      both: {
        "a.txt": "second remote edit",
        "a.conflict-local.txt": "local edit",
        "a.conflict-local.txt#2": "second local edit",
      },
      done: 0,
    },
  },
  {
    name: "names without an extension have conflict copies, too",
    elsewhere: "suffixes of conflict copies make other names of dot files",
    given: { ".env": "1", Makefile: "2", "v1.2/notes": "3" },
    when: (pair) => {
      for (const name of [".env", "Makefile", "v1.2/notes"]) {
        pair.local.write(name, `local ${name}`, "rename");
        pair.remote.write(name, `remote ${name}`, "rename");
      }
    },
    sync: ["--conflict", "BACKUP_BOTH", "--max-change", "100%"],
    expected: {
      both: {
        ".env": "remote .env",
        ".env.conflict-local": "local .env",
        Makefile: "remote Makefile",
        "Makefile.conflict-local": "local Makefile",
        "v1.2/notes": "remote v1.2/notes",
        "v1.2/notes.conflict-local": "local v1.2/notes",
      },
    },
  },
  {
    name: "an empty version does not take the other one away",
    elsewhere: "ownCloud: synced data overwritten with 0 bytes (owncloud/client#1218)",
    given: { a: "1" },
    when: (pair) => {
      pair.writeAt("a", "", MINUTE_AGO);
      pair.put("a", "an hour of work", { at: HOUR_AGO });
    },
    expected: { both: { a: "" }, kept: ["an hour of work"] },
  },
  {
    name: "a conflict that waits for a person lets all others go on",
    elsewhere: "one conflict stops the whole sync",
    given: { "a.txt": "1", b: "2" },
    when: (pair) => {
      editBoth(pair);
      pair.write("local", { new: "3" });
    },
    sync: ["--conflict", "manual"],
    expected: {
      local: { "a.txt": "local edit", b: "2", new: "3" },
      remote: { "a.txt": "remote edit", b: "2", new: "3" },
      listed: ["a.txt"],
      code: 1,
    },
  },
  {
    name: "a conflict is resolved by making both sides the same by hand",
    elsewhere: "mutagen's conflict stays after the file was removed or overwritten (mutagen#94)",
    given: { "a.txt": "1", b: "2" },
    when: async (pair) => {
      editBoth(pair);
      expect((await pair.sync("--conflict", "manual")).code).toBe(1);
      pair.write("local", { "a.txt": "remote edit" });
    },
    sync: ["--conflict", "manual"],
    expected: { both: { "a.txt": "remote edit", b: "2" }, done: 0 },
  },
  {
    name: "a conflict is resolved by removing one of its versions by hand",
    elsewhere: "mutagen: neither deleting the file nor flushing ends it (mutagen#94)",
    given: { "a.txt": "1", b: "2" },
    when: async (pair) => {
      editBoth(pair);
      expect((await pair.sync("--conflict", "manual")).code).toBe(1);
      pair.local.remove("a.txt");
    },
    sync: ["--conflict", "manual"],
    expected: { both: { "a.txt": "remote edit", b: "2" }, done: 1 },
  },
  {
    name: "an edit against a deletion that was listed waits on",
    elsewhere: "it is decided by itself in the next run",
    given: { "a.txt": "1", b: "2" },
    when: async (pair) => {
      pair.write("local", { "a.txt": "edited" });
      pair.remote.remove("a.txt");
      expect((await pair.sync("--conflict", "manual")).code).toBe(1);
    },
    sync: ["--conflict", "manual"],
    expected: { local: { "a.txt": "edited", b: "2" }, remote: { b: "2" }, listed: ["a.txt"], code: 1 },
  },
  {
    name: "a conflict that was resolved is none in the next sync, and what lost is kept",
    elsewhere: "conflict copies come without a reason (nextcloud/desktop#943)",
    given: { "a.txt": "1", b: "2" },
    when: async (pair) => {
      editBoth(pair);
      await pair.sync("--conflict", "manual");
      expect((await pair.run("resolve", pair.local.root, "a.txt", "--take", "local", "--json")).code).toBe(0);
    },
    sync: ["--conflict", "manual"],
    expected: { both: { "a.txt": "local edit", b: "2" }, kept: ["remote edit"], done: 0 },
  },
  {
    name: "the remote version wins if that is wanted, even if it is older",
    elsewhere: "rclone bisync --conflict-resolve was not kept to (rclone#9417)",
    given: { "a.txt": "1" },
    when: (pair) => {
      pair.writeAt("a.txt", "local edit", MINUTE_AGO);
      pair.put("a.txt", "remote edit", { at: HOUR_AGO });
    },
    sync: ["--conflict", "REMOTE_WINS"],
    expected: { both: { "a.txt": "remote edit" }, kept: ["local edit"] },
  },
  {
    name: "pull takes what was changed or deleted here back from there, and keeps it",
    elsewhere: "lsyncd does not restore what was deleted or tampered with on its target (lsyncd#142, #638)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ local }) => {
      local.write("a", "tampered with", "rename");
      local.remove("b");
    },
    sync: ["--direction", "pull", "--conflict", "remote-wins"],
    expected: { both: { a: "1", b: "2", c: "3" }, kept: ["tampered with"] },
  },
  {
    name: "pull leaves files alone that are only here",
    elsewhere: "Nextcloud deletes files that were saved into a read-only folder (nextcloud/desktop#10099)",
    given: { a: "1" },
    when: (pair) => {
      pair.write("local", { mine: "2" });
      pair.put("theirs", "3");
    },
    sync: ["--direction", "pull"],
    expected: { local: { a: "1", mine: "2", theirs: "3" }, remote: { a: "1", theirs: "3" }, left: ["mine"] },
  },
  {
    name: "push restores what was deleted there",
    elsewhere: "lsyncd: a file that was deleted on the target is not synced up (lsyncd#314)",
    given: { a: "1", b: "2", c: "3" },
    when: ({ remote }) => {
      remote.remove("a");
      remote.write("b", "changed there", "rename");
    },
    sync: ["--direction", "push", "--conflict", "local-wins"],
    expected: { both: { a: "1", b: "2", c: "3" }, kept: ["changed there"] },
  },
]);

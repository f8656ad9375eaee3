import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { sendError } from "../../../harness/fake-s3.js";
import { type Pair, playCases } from "../../../harness/pair/reported-case.js";

const OTHERS = { x: "24", y: "25" };
const MANY = Object.fromEntries(Array.from({ length: 8 }, (_, at) => [`f${at}`, `text ${at}`]));

/** Every request of the method for the file is answered by an error, so many times. */
function refuse(
  pair: Pair,
  method: string,
  name: string,
  { status = 403, code = "AccessDenied", times = 1e9 } = {},
) {
  let left = times;
  pair.s3.fault = (request, answer) => {
    if (request.method !== method || request.key !== pair.key(name) || left-- <= 0) return false;
    sendError(answer, status, code);
    return true;
  };
}

/** Names of all that lies in the local directory, Drover's own too. */
const rawNames = ({ local }: Pair) => readdirSync(local.root, { recursive: true }).map(String);

playCases([
  {
    name: "a first sync that is killed needs nothing but the next one",
    elsewhere: "rclone bisync: must run --resync to recover (rclone#7470, #9352)",
    when: async (pair) => {
      pair.write("local", MANY);
      pair.put("there", "1");
      await pair.killedAt("committed:3");
    },
    expected: { both: { ...MANY, there: "1" } },
  },
  {
    name: "what was sent when a first sync was killed is no conflict",
    elsewhere: "ownCloud makes conflicts of partial uploads (owncloud/client#84)",
    when: async (pair) => {
      pair.write("local", MANY);
      await pair.killedAt("settled:2");
    },
    sync: ["--conflict", "backup-both"],
    expected: { both: MANY },
  },
  {
    name: "a sync that is killed leaves no lock that a later one waits for",
    elsewhere: "osync: there is already a local instance (osync#207), rclone's lock file (rclone#9290)",
    given: OTHERS,
    when: async (pair) => {
      pair.write("local", { a: "1" });
      await pair.killedAt("admit:1");
    },
    sync: ["--timeout", "1"],
    expected: { both: { a: "1", ...OTHERS } },
  },
  {
    name: "a deletion that was under way when the sync was killed is done by the next one",
    elsewhere: "both sides are left in a messy state (rclone#7332)",
    given: { a: "1", b: "2", ...OTHERS },
    when: async (pair) => {
      pair.local.remove("a");
      pair.remote.remove("b");
      await pair.killedAt("pair-delete:1");
    },
    expected: { both: OTHERS },
  },
  {
    name: "what is edited after the sync was killed is a plain edit",
    elsewhere: "mutagen: conflict after a session was resumed (mutagen#180)",
    given: { a: "1", ...OTHERS },
    when: async (pair) => {
      pair.write("local", { a: "edit 1" });
      await pair.killedAt("committed:1");
      pair.write("local", { a: "edit 2" });
    },
    sync: ["--conflict", "backup-both"],
    expected: { both: { a: "edit 2", ...OTHERS }, done: 1 },
  },
  {
    name: "a conflict copy that was made when the sync was killed is made once",
    elsewhere: "each attempt leaves another conflict file (owncloud/client#129)",
    given: { "a.txt": "1", ...OTHERS },
    when: async (pair) => {
      pair.write("local", { "a.txt": "local edit" });
      pair.write("remote", { "a.txt": "remote edit" });
      await pair.killedAt("set-aside:1");
    },
    expected: { both: { "a.txt": "remote edit", "a.conflict-local.txt": "local edit", ...OTHERS } },
  },
  {
    name: "a service that is busy for a moment fails nothing",
    elsewhere: "rclone bisync needs --resync after one answer (rclone#9352)",
    given: OTHERS,
    when: (pair) => {
      pair.write("local", { a: "1" });
      refuse(pair, "PUT", "a", { status: 503, code: "SlowDown", times: 1 });
    },
    expected: { both: { a: "1", ...OTHERS }, done: 1 },
  },
  {
    name: "a file that may not be written there fails alone, and says so",
    elsewhere: "after one error rclone and others leave all deletions out (rclone#7555)",
    given: { gone: "0", ...OTHERS },
    when: (pair) => {
      pair.write("local", { a: "1", b: "2" });
      pair.local.remove("gone");
      refuse(pair, "PUT", "a");
    },
    expected: { local: { a: "1", b: "2", ...OTHERS }, remote: { b: "2", ...OTHERS }, code: 1, goesOn: true },
  },
  {
    name: "a quota that is exceeded is told of, and the former version stays",
    elsewhere:
      "ownCloud says nothing (owncloud/client#362), or has 0 bytes afterwards (owncloud/client#1218)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.write("local", { a: "a longer version" });
      refuse(pair, "PUT", "a", { code: "QuotaExceeded" });
    },
    expected: { code: 3, goesOn: true, done: 1 },
  },
  {
    name: "a download that breaks off leaves the former version, and nothing that is uploaded later",
    elsewhere:
      "Nextcloud: empty files of a full disk are synced back (nextcloud/desktop#359, owncloud/client#192)",
    given: { a: "1", ...OTHERS },
    when: async (pair) => {
      pair.put("a", "a longer version");
      pair.s3.fault = ({ method, key }, answer) => {
        if (method !== "GET" || key !== pair.key("a")) return false;
        const { etag, modified } = pair.s3.stored(key) as { etag: string; modified: Date };
        answer.writeHead(200, { etag, "last-modified": modified.toUTCString(), "content-length": 16 });
        answer.write("a lo", () => answer.destroy());
        return true;
      };
      const told = await pair.sync("--retries", "1");
      expect(told).toMatchObject({ code: 3, in_sync: false });
      expect(pair.local.read("a")).toBe("1");
      pair.s3.fault = () => false;
    },
    expected: {
      both: { a: "a longer version", ...OTHERS },
      check: (pair) => {
        const own = rawNames(pair).filter((name) => /(^|\/)\.drover-(?!pair-)/.test(name));
        expect(own).toEqual([]);
      },
    },
  },
  {
    name: "an upload whose answer was lost is no conflict",
    elsewhere: "Mutagen and ownCloud make one of their own upload (mutagen#180, owncloud/client#84)",
    given: { a: "1", ...OTHERS },
    when: (pair) => {
      pair.write("local", { a: "edited", new: "2" });
      let lost = 2;
      pair.s3.writes.after = (_request, answer) => {
        if (lost-- <= 0) return false;
        answer.destroy();
        return true;
      };
    },
    sync: ["--conflict", "backup-both"],
    expected: { both: { a: "edited", new: "2", ...OTHERS } },
  },
  {
    name: "a file that is written while it is uploaded arrives whole, in its last version",
    elsewhere: "ownCloud uploads what is half written (owncloud/client#2210)",
    given: OTHERS,
    when: async (pair) => {
      pair.write("local", { a: "first version" });
      let isEdited = false;
      pair.s3.before = ({ method, key }) => {
        if (method === "PUT" && key === pair.key("a") && !isEdited) {
          isEdited = true;
          pair.local.write("a", "second version", "in-place");
        }
        return undefined;
      };
      await pair.sync();
      expect(isEdited).toBe(true);
      expect([undefined, "first version", "second version"]).toContain(pair.remote.read("a"));
    },
    expected: { both: { a: "second version", ...OTHERS } },
  },
  {
    name: "a file that is moved away while the sync goes on does not come back",
    elsewhere: "ownCloud brings moved files back to their old place (owncloud/client#5437)",
    given: { a: "1", b: "2", ...OTHERS },
    when: async (pair) => {
      pair.put("b", "edited");
      let isMoved = false;
      pair.s3.before = ({ method, key }) => {
        if (method === "GET" && key === pair.key("b") && !isMoved) {
          isMoved = true;
          pair.rename("a", "moved/a");
        }
        return undefined;
      };
      await pair.sync();
      expect(isMoved).toBe(true);
    },
    expected: { both: { "moved/a": "1", b: "edited", ...OTHERS } },
  },
  {
    name: "a dry run changes nothing, and no later sync",
    elsewhere: "a dry run that leaves listings makes the next run delete or abort",
    when: async (pair) => {
      pair.write("local", { a: "1" });
      pair.put("b", "2");
      const told = await pair.sync("--dry-run");
      expect(told).toMatchObject({ code: 0, in_sync: false, run: null });
      expect(told.items.map(({ path, action, status }) => [path, action, status])).toEqual([
        ["a", "push", "planned"],
        ["b", "pull", "planned"],
      ]);
      expect(rawNames(pair)).toEqual(["a"]);
      expect(pair.s3.keys.filter((key) => key.startsWith(`${pair.prefix}/`))).toEqual([pair.key("b")]);
    },
    expected: { both: { a: "1", b: "2" }, done: 2 },
  },
  {
    name: "a dry run of deletions and conflicts changes nothing",
    elsewhere: "what a dry run would do is not clear (rclone#7029)",
    given: { a: "1", "b.txt": "2", ...OTHERS },
    when: (pair) => {
      pair.local.remove("a");
      pair.write("local", { "b.txt": "local edit" });
      pair.write("remote", { "b.txt": "remote edit" });
    },
    sync: ["--dry-run", "--conflict", "backup-both"],
    expected: { done: 2, goesOn: true },
  },
  {
    name: "a state that was lost is made anew without a transfer",
    elsewhere:
      "rclone bisync --resync copies all again (rclone#5681), ownCloud makes conflicts (owncloud/client#797)",
    given: MANY,
    when: (pair) => {
      pair.stateDir = join(pair.directory, "new-state");
    },
    expected: { both: MANY, done: 0 },
  },
  {
    name: "a state that was lost deletes nothing",
    elsewhere: "what is missing in a listing that is no longer true counts as deleted",
    given: { a: "1", b: "2", ...OTHERS },
    when: (pair) => {
      pair.local.remove("a");
      pair.remote.remove("b");
      pair.stateDir = join(pair.directory, "new-state");
    },
    expected: { both: { a: "1", b: "2", ...OTHERS } },
  },
  {
    name: "a directory that was set back by a backup stops the sync",
    elsewhere: "a Time Machine roll-back is propagated to all (owncloud/client#5388)",
    given: { a: "1", ...OTHERS },
    when: async (pair) => {
      cpSync(pair.local.root, `${pair.local.root}-saved`, { recursive: true, preserveTimestamps: true });
      pair.write("local", { a: "a week of work", b: "more" });
      await pair.sync();
      rmSync(pair.local.root, { recursive: true });
      cpSync(`${pair.local.root}-saved`, pair.local.root, { recursive: true, preserveTimestamps: true });
    },
    expected: { stopped: "generation" },
  },
  {
    name: "a bucket that was set back by a backup stops the sync",
    elsewhere: "Nextcloud's clients delete what is newer than the backup (nextcloud/desktop#171, #1015)",
    given: { a: "1", ...OTHERS },
    when: async (pair) => {
      const keys = pair.s3.keys.filter((key) => key.startsWith(`${pair.prefix}/`));
      const saved = keys.map((key) => ({ key, ...(pair.s3.stored(key) as { content: Buffer }) }));
      pair.write("local", { b: "2" });
      await pair.sync();
      pair.remote.remove("b");
      for (const { key, content } of saved) pair.s3.put(key, content);
    },
    expected: { stopped: "generation" },
  },
  {
    name: "--adopt goes on with a side that was set back, and deletes nothing",
    elsewhere: "ownCloud replaces modified files by old ones (owncloud/client#6978)",
    given: { a: "1", ...OTHERS },
    when: async (pair) => {
      const keys = pair.s3.keys.filter((key) => key.startsWith(`${pair.prefix}/`));
      const saved = keys.map((key) => ({ key, ...(pair.s3.stored(key) as { content: Buffer }) }));
      pair.write("local", { b: "2" });
      await pair.sync();
      pair.remote.remove("b");
      for (const { key, content } of saved) pair.s3.put(key, content);
      expect((await pair.sync("--adopt")).code).toBe(0);
    },
    expected: { both: { a: "1", b: "2", ...OTHERS }, done: 0 },
  },
  {
    name: "who tidies up hidden files is asked to look, not punished",
    elsewhere:
      "without .stfolder Syncthing stops as well (syncthing#4345), bisync's check files are optional",
    given: { a: "1", ...OTHERS },
    when: async (pair) => {
      for (const name of readdirSync(pair.local.root).filter((each) => each.startsWith(".")))
        rmSync(pair.at(name));
      expect((await pair.sync()).stopped?.code).toBe("marker");
    },
    sync: ["--adopt"],
    expected: { both: { a: "1", ...OTHERS }, done: 0, goesOn: true },
  },
  {
    name: "a backup directory within a side is refused",
    elsewhere: "rclone bisync did not look, and synced its backups (rclone#7515)",
    given: OTHERS,
    when: (pair) => {
      pair.write("local", { a: "1" });
      mkdirSync(pair.at("backups"));
    },
    sync: (pair) => ["--backup-dir", pair.at("backups")],
    expected: { code: 2 },
  },
  {
    name: "a remote backup directory within the side is refused",
    elsewhere: "the same on the other side (rclone#7515)",
    given: OTHERS,
    when: (pair) => pair.write("local", { a: "1" }),
    sync: (pair) => ["--remote-backup-dir", `${pair.remote.root}/backups`],
    expected: { code: 2 },
  },
  {
    name: "backups of one sync are no files of the next one",
    elsewhere: "versions are synced as files (rclone#5685)",
    given: { a: "1", ...OTHERS },
    when: async (pair) => {
      pair.write("local", { a: "2" });
      await pair.sync();
      expect(await pair.kept()).toContain("1");
    },
    expected: { both: { a: "2", ...OTHERS }, done: 0 },
  },
]);

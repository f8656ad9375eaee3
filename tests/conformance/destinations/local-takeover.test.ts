import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { TransferError } from "@drover/shared/errors";
import type { ResumeRecord } from "@drover/worker/attempt/resume-record";
import { describe, expect } from "vitest";
import { sha256 } from "../../harness/content.js";
import { ENTRY, it } from "../helpers/ground.js";

const NOBODY = 65534;

describe("taking over", () => {
  it.for(["released", "dead", "expired"])(
    "the part of a predecessor whose lease is %s",
    async (origin, { ground }) => {
      const { fence, record, path } = ground.leave("dir/file", "0123456789 and what was not noted");
      record.contiguousBytes = 10;
      const inode = statSync(path).ino;
      const staging = ground.stage("dir/file");
      expect(staging.adopt([fence], record, origin === "expired")).toBe(true);
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
    const { fence, record } = ground.leave("file", "0123456789");
    const staging = ground.stage("file");
    expect(staging.adopt([fence], record, false)).toBe(true);
    staging.create(0o600); // the source has another version by now
    staging.writeWhole([Buffer.from("new")], 3);
    await staging.commit(ENTRY, false, () => {});
    staging.close();
    expect(ground.read("file")).toBe("new");
    expect(statSync(ground.to("file")).mode & 0o777).toBe(0o600);
    expect(ground.names()).toEqual(["file"]);
  });

  // Root may open anything, so that the mode tells what another user may do.
  it.for([
    ["0444", 0o444],
    ["0500", 0o500],
  ] as const)(
    "is possible when the source is not writable: mode %s, which the file has once it is published",
    async ([, mode], { ground }) => {
      for (const alive of [true, false]) {
        const lease = ground.lease();
        const left = ground.stage("file", undefined, lease);
        left.create(mode);
        await left.write([Buffer.from("0123456789")], 0);
        left.keep();
        left.close();
        const [part] = ground.names().filter((name) => name !== "file") as [string];
        expect(statSync(ground.to(part)).mode & 0o777).toBe(mode | 0o600);
        const { record } = ground.leave("other/file", "0123456789");
        const staging = ground.stage("file");
        expect(staging.adopt([lease.fence], { ...record, fence: lease.fence }, alive)).toBe(true);
        const [taken] = ground.names().filter((name) => name.startsWith(".drover-")) as [string];
        expect(statSync(ground.to(taken)).mode & 0o777).toBe(mode | 0o600);
        const entry = { ...ENTRY, mode };
        const received = { sizeBytes: 10, sha256: sha256("0123456789"), sourceDigest: "", lengthBytes: 10 };
        const published = await staging.publish(received, entry);
        staging.close();
        // The second time the same bytes are there, with the same mode.
        expect(published.outcome).toBe(alive ? "copied" : "unchanged");
        expect(statSync(ground.to("file")).mode & 0o777).toBe(mode);
      }
    },
  );

  it.skipIf(process.getuid?.() !== 0)(
    "does not go on with a part that its user may not write, and removes it",
    ({ ground }) => {
      const { fence, record, path } = ground.leave("file", "0123456789");
      for (const each of [ground.path, ground.root]) chownSync(each, NOBODY, NOBODY);
      chmodSync(path, 0o444);
      chownSync(path, NOBODY, NOBODY);
      process.seteuid?.(NOBODY);
      try {
        const staging = ground.stage("file");
        expect(staging.adopt([fence], record, false)).toBe(false);
        expect(ground.names()).toEqual([]);
        staging.close();
      } finally {
        process.seteuid?.(0);
      }
    },
  );

  it("gets a copy that its predecessor, still alive, cannot write to", async ({ ground }) => {
    const { fence, record, path } = ground.leave("file", "0123456789");
    const alive = openSync(path, "r+");
    const staging = ground.stage("file");
    expect(staging.adopt([fence], record, true)).toBe(true);
    writeSync(alive, "XXXXXXXXXX", 0);
    closeSync(alive);
    await staging.commit(ENTRY, false, () => {});
    staging.close();
    expect(ground.read("file")).toBe("0123456789");
  });

  it("keeps what is behind the noted bytes where that is noted too", ({ ground }) => {
    const { fence, record } = ground.leave("file", "0123456789abcdef");
    const staging = ground.stage("file");
    expect(
      staging.adopt(
        [fence],
        { ...record, contiguousBytes: 4, spans: [{ startByte: 12, endByte: 16 }] },
        false,
      ),
    ).toBe(true);
    expect(readFileSync(staging.fd, "utf8")).toBe("0123456789abcdef");
    staging.discard();
    staging.close();
  });

  it.for<[string, (record: ResumeRecord) => ResumeRecord | undefined]>([
    ["nothing is known of it", () => undefined],
    ["it is shorter than what was noted", (record) => ({ ...record, contiguousBytes: 1_000 })],
    ["the note is of another one", (record) => ({ ...record, fence: "777" })],
    ["nothing of it is noted", (record) => ({ ...record, contiguousBytes: 0 })],
  ])("does not go on with a part when %s, and removes it", ([, change], { ground }) => {
    for (const alive of [true, false]) {
      const { fence, record } = ground.leave("file", "0123456789");
      const staging = ground.stage("file");
      expect(staging.adopt([fence], change(record), alive)).toBe(false);
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
    expect(staging.adopt([...fences, "gone"], left[1]?.record, true)).toBe(true);
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
      const record: ResumeRecord = {
        fence: staleLease.fence,
        version: "",
        strongEtag: "",
        sizeBytes: undefined,
        contiguousBytes: 5,
        spans: [],
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
        successor.adopt([staleLease.fence], known ? record : undefined, true);
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
      const { fence, record, path } = ground.leave("file", "0123456789");
      rmSync(path);
      symlinkSync(join(ground.path, "secret"), path);
      const staging = ground.stage("file");
      let adopted = false;
      try {
        adopted = staging.adopt([fence], record, alive);
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

import { Catalog, catalogKey } from "@drover/shared/protocol/catalog";
import { ListingError } from "@drover/shared/storage/listing-error";
import { admit } from "@drover/worker/attempt/admit";
import { Attempt } from "@drover/worker/attempt/attempt";
import { workFile } from "@drover/worker/attempt/context";
import { lost, now } from "@drover/worker/attempt/leases";
import type { ResumeRecord } from "@drover/worker/attempt/resume-record";
import { StoppingError } from "@drover/worker/attempt/stopping";
import { verify } from "@drover/worker/bytes/verify";
import { mayRun, type OpenedBody, type Staging } from "@drover/worker/destinations/destination";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { Gate, until } from "../../harness/gate.js";
import { it as base } from "../../harness/redis.js";
import { realS3 } from "../../harness/s3.js";
import { FileWorker, type FileWorkerOptions } from "../../integration/helpers/file-worker.js";
import { expireLease } from "../../integration/helpers/fleet.js";
import { type Backup, type Kind, kindsOf, type Place } from "../helpers/destination-kinds.js";

const ABSENT = undefined;
const OTHERS = Buffer.from("written by somebody else");
const pathError = expect.objectContaining({ name: "TransferError", class: "path", permanent: true });

/** Names that lead elsewhere, name no file, or are Drover's own. */
const HOSTILE = [
  ...["", ".", "..", "../up", "a/..", "a/../../up", "a/./b", "dir/", "/", "a\0b"],
  ...[".drover-0123456789abcdef", "dir/.drover-0123456789abcdef"],
];

/** Names that look as if they led elsewhere, or as if they were something else on their way. */
const ODD = [
  ...[" ", "-rf", "~", "...", "..a", "a..", ".hidden", "dir/.hidden/-x", "a\\b", ".drover-mine"],
  ...["%2e%2e%2f", "a%00b", "a+b", "a&b=c#d;e,f?g", "*?[x]{y}", "quote\"'`$(x)", "<key>&amp;</key>"],
  ...["new\nline", "tab\t", "grüße", "u\u0308", "日本語", "😀", "x".repeat(255)],
];

/** In the order of their bytes. That of JavaScript's strings has the last two the other way round. */
const ORDERED = ["A", "B/z", "a-b", "a.b", "a/b", "a/c/d", "a0", "aa", "b", "é", "ﬀ", "😀"];

const real = await realS3();

interface Fixtures {
  origin: FaultOrigin;
  /** Makes the test's destination, once. */
  placeWith: (backup: Backup) => Promise<Place>;
  place: Place;
  /** Makes workers of runs of their own that write there. */
  make: (options?: FileWorkerOptions) => Promise<FileWorker>;
}

function fixturesOf(kind: Kind) {
  return base.extend<Fixtures>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    origin: async ({}, use) => {
      const origin = await FaultOrigin.start();
      await use(origin);
      await origin.stop();
    },
    // biome-ignore lint/correctness/noEmptyPattern: see above
    placeWith: async ({}, use) => {
      let place: Promise<Place> | undefined;
      await use((backup) => {
        place ??= kind.make(backup);
        return place;
      });
      await (await place)?.end();
    },
    place: async ({ placeWith }, use) => use(await placeWith("none")),
    make: async ({ redis, keys, placeWith }, use) => {
      const made: FileWorker[] = [];
      await use(async (options) => {
        const { root, open } = await placeWith("none");
        const fileWorker = await FileWorker.make(redis, keys, root, { open, retries: 3, ...options });
        made.push(fileWorker);
        return fileWorker;
      });
      for (const fileWorker of made) await fileWorker.close();
    },
  });
}

/** Takes the lease of a file that is registered, for a test that goes through an attempt step by step. */
async function begin({ context }: FileWorker, name: string, url: string): Promise<Attempt> {
  const job = { i: 0, s: url, d: name };
  const file = workFile(job, context);
  const askedAt = now();
  const admitted = await admit(file, context);
  if (admitted.is !== "admitted") throw new Error(`not admitted: ${JSON.stringify(admitted)}`);
  const lease = context.leases.hold(file.lease, admitted.fence, askedAt, file.host);
  const delivery = { job, attempt: 1, sinceMs: Date.now(), releaseSlot() {} };
  return new Attempt(delivery, context, file, admitted, lease);
}

/** What an attempt has staged, and how it is published or dropped. */
interface Staged {
  staging: Staging;
  publish(): ReturnType<Staging["publish"]>;
  drop(): Promise<void>;
}

/** Brings the bytes of an attempt's file to its staging. */
async function stage(
  attempt: Attempt,
  staging = attempt.context.destination.stage(attempt),
): Promise<Staged> {
  const { context, job, record, lease } = attempt;
  const source = await context.source(job);
  const opened = (await source.open("", lease.signal)) as OpenedBody;
  const { version, strongEtag, sizeBytes } = opened.entry;
  Object.assign(record, { version, strongEtag, sizeBytes });
  const received = await staging.receive(opened, source);
  verify(received, opened.entry, received.lengthBytes, undefined);
  const close = () => {
    staging.close();
    context.leases.drop(lease);
  };
  return {
    staging,
    publish: () => staging.publish(received, opened.entry),
    async drop() {
      await staging.discard();
      close();
    },
  };
}

/** Stamp that the listing of a destination gives for a file. */
async function listedStamp(place: Place, wanted: string): Promise<string | undefined> {
  const lister = await place.openLister();
  try {
    for await (const { name, stamp } of lister.names(place.root)) if (name === wanted) return stamp();
    return undefined;
  } finally {
    await lister.close();
  }
}

/** Names of all files that the listing of a destination gives, in its order. */
async function listedNames(place: Place): Promise<string[]> {
  const lister = await place.openLister();
  try {
    const names: string[] = [];
    for await (const { name, isFile } of lister.names(place.root)) if (isFile) names.push(name);
    return names;
  } finally {
    await lister.close();
  }
}

function compareBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

describe.for(kindsOf(real))("$name", (kind) => {
  const it = fixturesOf(kind);
  const large = (seed: number) => toBuffer(pattern(kind.largeBytes, seed));
  const contents = { empty: Buffer.alloc(0), small: Buffer.from("content"), large: large(1) };
  const sizes = ["empty", "small", "large"] as const;

  describe("stages and publishes", () => {
    it.for(sizes)(
      "a file, with a stamp for the catalog: %s",
      async (size, { make, origin, place, redis, keys }) => {
        const content = contents[size];
        const fileWorker = await make();
        const outcome = await fileWorker.through("dir/f", origin.route("/f", does.file(content)));
        expect(outcome).toMatchObject({
          outcome: "copied",
          bytes: content.length,
          checksum: sha256(content),
        });
        expect((await place.read("dir/f"))?.equals(content)).toBe(true);
        const [entry] = await new Catalog(redis, keys).lookUp(fileWorker.context.tree.id, ["dir/f"]);
        expect(entry).toMatchObject({ sizeBytes: content.length, sha256: sha256(content) });
        expect(entry?.stamp).toBe(await listedStamp(place, "dir/f"));
        expect(await place.leftovers()).toEqual([]);
      },
    );

    it.for(sizes)("nothing before it is told to: %s", async (size, { make, origin, place }) => {
      const url = origin.route("/f", does.file(contents[size]));
      const fileWorker = await make();
      await fileWorker.add("f", url);
      const staged = await stage(await begin(fileWorker, "f", url));
      expect(await place.read("f")).toBe(ABSENT);
      await staged.drop();
      expect([await place.read("f"), await place.leftovers()]).toEqual([ABSENT, []]);
    });

    it("another version over the one that is there", async ({ make, origin, place }) => {
      const url = origin.route("/f", does.file("one"), does.file("another"));
      expect(await (await make()).through("f", url)).toMatchObject({ outcome: "copied" });
      expect(await (await make()).through("f", url)).toMatchObject({ outcome: "copied" });
      expect(String(await place.read("f"))).toBe("another");
    });

    it("nothing where its copy is of the version that the source has", async ({ make, origin, place }) => {
      const url = origin.route("/f", does.file("content"));
      await (await make()).through("f", url);
      const stamp = await listedStamp(place, "f");
      const outcome = await (await make()).through("f", url);
      expect(outcome).toMatchObject({ outcome: "unchanged", verifiedBy: "not-modified" });
      expect(await listedStamp(place, "f")).toBe(stamp);
    });

    it("nothing where the same bytes are, which nobody knew of", async ({
      make,
      origin,
      place,
      redis,
      keys,
    }) => {
      const url = origin.route("/f", does.file("content"));
      const fileWorker = await make();
      await fileWorker.through("f", url);
      const stamp = await listedStamp(place, "f");
      await redis.del(catalogKey(keys, fileWorker.context.tree.id, "f"));
      expect(await (await make()).through("f", url)).toMatchObject({ outcome: "unchanged" });
      expect(await listedStamp(place, "f")).toBe(stamp);
      expect(await place.leftovers()).toEqual([]);
    });

    it("a file again whose copy somebody else has changed", async ({ make, origin, place }) => {
      const url = origin.route("/f", does.file("content"));
      await (await make()).through("f", url);
      await place.write("f", OTHERS);
      expect(await (await make()).through("f", url)).toMatchObject({ outcome: "copied" });
      expect(String(await place.read("f"))).toBe("content");
    });
  });

  describe("verifies", () => {
    it.for(["small", "large"] as const)(
      "a checksum: a wrong one publishes nothing and leaves nothing (%s)",
      async (size, { make, origin, place }) => {
        const url = origin.route("/f", does.file(contents[size]));
        for (const there of [ABSENT, OTHERS]) {
          if (there) await place.write("f", there);
          const outcome = await (await make()).through("f", url, { sha256: sha256("other bytes") });
          expect(outcome).toMatchObject({ outcome: "failed", error: { class: "checksum" } });
          expect([await place.read("f"), await place.leftovers()]).toEqual([there, []]);
        }
        const outcome = await (await make()).through("f", url, { sha256: sha256(contents[size]) });
        expect(outcome).toMatchObject({ outcome: "copied", verifiedBy: "sha256" });
      },
    );

    it("that a file has come whole", async ({ make, origin, place }) => {
      const cut = does.cutAt(contents.large, kind.largeBytes - 100, "close", { etag: null });
      const fileWorker = await make();
      const outcome = await fileWorker.through("f", origin.route("/f", cut));
      expect(outcome.outcome).toBe("failed");
      expect([await place.read("f"), await place.leftovers()]).toEqual([ABSENT, []]);
    });
  });

  describe("takes over the part of a large file", () => {
    const { resumes } = kind;
    const plain = { lastModified: null } as const;

    /** A worker that is stopped in the middle; answers with what it has noted. */
    async function stopped(first: FileWorker, place: Place, url: string, gate: Gate): Promise<ResumeRecord> {
      let record: ResumeRecord | undefined;
      first.context.receiving = (_job, receiving) => {
        record = receiving;
      };
      const result = first.once("f", url);
      await gate.reached;
      const begun = await until("the answer", () => record);
      if ("stagedBytes" in resumes)
        await until("a part", async () => (await place.stagedBytes()) >= resumes.stagedBytes);
      first.context.leases.abortAll(new StoppingError("stopping"));
      gate.open();
      expect(await result).toEqual({ is: "returned" });
      return begun;
    }

    /** What a worker has noted when bytes come in, and in the end. */
    function watch({ context }: FileWorker): { begun: ResumeRecord; ended: ResumeRecord } {
      const seen = {} as { begun: ResumeRecord; ended: ResumeRecord };
      context.receiving = (_job, record) => {
        seen.begun = structuredClone(record);
        seen.ended = record;
      };
      return seen;
    }

    const sentBytes = "never" in resumes ? kind.largeBytes >> 1 : resumes.sentBytes;

    it(
      "never" in resumes ? `never: ${resumes.never}` : "and goes on where it stopped",
      async ({ make, origin, place }) => {
        const gate = new Gate();
        const content = large(1);
        const url = origin.route("/f", does.pausedAt(content, sentBytes, gate), does.file(content, plain));
        const first = await make();
        const left = await stopped(first, place, url, gate);
        expect(await place.read("f")).toBe(ABSENT);
        const successor = await first.other({ open: place.open });
        const seen = watch(successor);
        expect(await successor.through("f", url)).toMatchObject({
          outcome: "copied",
          checksum: sha256(content),
        });
        const resumed = left.contiguousBytes > 0 || left.upload !== undefined;
        expect(resumed).toBe(!("never" in resumes));
        expect(seen.begun.contiguousBytes).toBe(left.contiguousBytes);
        expect(seen.ended.upload?.id).toBe(left.upload?.id);
        if (left.contiguousBytes > 0)
          expect(origin.requests.at(-1)?.headers.range).toBe(`bytes=${left.contiguousBytes}-`);
        expect((await place.read("f"))?.equals(content)).toBe(true);
        expect(await place.leftovers()).toEqual([]);
      },
    );

    it("and drops it where the source has another version", async ({ make, origin, place }) => {
      const gate = new Gate();
      const content = large(2);
      const changed = does.file(content, { headers: { "content-type": "text/x-another" } });
      const url = origin.route("/f", does.pausedAt(large(1), sentBytes, gate), changed);
      const first = await make();
      const left = await stopped(first, place, url, gate);
      const successor = await first.other({ open: place.open });
      const seen = watch(successor);
      expect(await successor.through("f", url)).toMatchObject({
        outcome: "copied",
        checksum: sha256(content),
      });
      expect(seen.begun.contiguousBytes).toBe(0);
      if (left.upload) expect(seen.ended.upload?.id).not.toBe(left.upload.id);
      expect((await place.read("f"))?.equals(content)).toBe(true);
      expect(await place.leftovers()).toEqual([]);
    });
  });

  describe("publishes under a condition", () => {
    const { conditions } = kind;

    it.for(["appeared where nothing was", "changed"])(
      conditions === "refuse"
        ? "and not over what somebody else has written in between: it %s"
        : `never, ${conditions.never}: it %s`,
      async (how, { make, origin, place }) => {
        const url = origin.route("/f", does.file("first"));
        if (how === "changed") await (await make()).through("f", url);
        const content = large(1);
        origin.route("/f", does.file(content));
        const fileWorker = await make();
        await fileWorker.add("f", url);
        const staged = await stage(await begin(fileWorker, "f", url));
        await place.write("f", OTHERS);
        if (conditions === "refuse") {
          await expect(staged.publish()).rejects.toMatchObject({ class: "changed", permanent: false });
          expect(await place.read("f")).toEqual(OTHERS);
        } else {
          expect(await staged.publish()).toMatchObject({ outcome: "copied" });
          expect((await place.read("f"))?.equals(content)).toBe(true);
        }
        await staged.drop();
        expect(await place.leftovers()).toEqual([]);
      },
    );

    it("and leaves alone what has become the same in between", async ({ make, origin, place }) => {
      const url = origin.route("/f", does.file("content"));
      const fileWorker = await make();
      await fileWorker.add("f", url);
      const staged = await stage(await begin(fileWorker, "f", url));
      await place.write("f", Buffer.from("content"));
      const stamp = await listedStamp(place, "f");
      expect(await staged.publish()).toMatchObject({ outcome: "unchanged", stamp });
      await staged.drop();
      expect(await listedStamp(place, "f")).toBe(stamp);
      expect(await place.leftovers()).toEqual([]);
    });
  });

  describe("refuses who is fenced off", () => {
    const { fences } = kind;

    it.for([
      ["has fenced it off", "small"],
      ["has fenced it off", "large"],
      ["has published", "small"],
      ["has published", "large"],
    ] as const)("once its successor %s (%s)", async ([when, size], { make, origin, place }) => {
      const url = origin.route("/f", does.file(size === "small" ? "stale" : large(1)));
      const first = await make();
      await first.add("f", url);
      const old = await begin(first, "f", url);
      const stale = await stage(old);
      await expireLease(first.member, old.file);

      const fresh = size === "small" ? Buffer.from("fresh!") : large(2);
      origin.route("/f", does.file(fresh));
      const successor = await first.other({ open: place.open });
      const attempt = await begin(successor, "f", url);
      const { admitted, noted } = attempt;
      expect(BigInt(admitted.fence)).toBeGreaterThan(BigInt(old.admitted.fence));
      expect(admitted.predecessors).toEqual([old.admitted.fence]);
      const staging = successor.context.destination.stage(attempt);
      await staging.adopt(admitted.predecessors, noted, mayRun(admitted));
      const publish = async () => {
        const newer = await stage(attempt, staging);
        expect(await newer.publish()).toMatchObject({ outcome: "copied" });
      };
      if (when === "has published") await publish();
      if (when === "has fenced it off" && size === "small" && fences !== "at once") {
        expect(await stale.publish(), fences.never).toMatchObject({ outcome: "copied" });
      } else {
        const refused = expect.stringMatching(/^(locked|changed)$/);
        await expect(stale.publish()).rejects.toMatchObject({ class: refused, permanent: false });
        if (when !== "has published") expect(await place.read("f")).toBe(ABSENT);
      }
      await stale.drop();
      if (when !== "has published") await publish();
      staging.close();
      expect((await place.read("f"))?.equals(fresh)).toBe(true);
      expect(await place.leftovers()).toEqual([]);
    });
  });

  describe("removes", () => {
    const deleted = { is: "settled", outcome: { outcome: "deleted" } };

    it("a file", async ({ make, place }) => {
      await place.write("dir/f", OTHERS);
      const stamp = (await listedStamp(place, "dir/f")) as string;
      expect(await (await make()).removal("dir/f", stamp)).toMatchObject(deleted);
      expect([await place.read("dir/f"), await place.leftovers()]).toEqual([ABSENT, []]);
      // Again, as after an answer that was lost.
      expect(await (await make()).removal("dir/f", stamp)).toMatchObject(deleted);
    });

    it("a file that is kept elsewhere", async ({ make, placeWith }) => {
      const place = await placeWith("works");
      await place.write("dir/f", OTHERS);
      const stamp = (await listedStamp(place, "dir/f")) as string;
      expect(await (await make()).removal("dir/f", stamp)).toMatchObject(deleted);
      expect([await place.read("dir/f"), await place.kept("dir/f")]).toEqual([ABSENT, OTHERS]);
      expect(await place.leftovers()).toEqual([]);
    });

    it("nothing that cannot be kept first", async ({ make, placeWith }) => {
      const place = await placeWith("broken");
      await place.write("dir/f", OTHERS);
      const stamp = (await listedStamp(place, "dir/f")) as string;
      const result = await (await make()).removal("dir/f", stamp);
      expect(result).not.toMatchObject(deleted);
      expect([await place.read("dir/f"), await place.leftovers()]).toEqual([OTHERS, []]);
    });

    it.for(["none", "works"] as const)(
      "no file that has changed since (backup: %s)",
      async (backup, { make, placeWith }) => {
        const place = await placeWith(backup);
        await place.write("dir/f", Buffer.from("old"));
        const stamp = (await listedStamp(place, "dir/f")) as string;
        await place.write("dir/f", OTHERS);
        const result = await (await make()).removal("dir/f", stamp);
        expect(result).toMatchObject({ outcome: { outcome: "failed", error: { class: "changed" } } });
        expect([await place.read("dir/f"), await place.kept("dir/f")]).toEqual([OTHERS, ABSENT]);
        expect(await place.leftovers()).toEqual([]);
      },
    );

    it("nothing without its lease", async ({ make, place }) => {
      await place.write("f", OTHERS);
      const stamp = (await listedStamp(place, "f")) as string;
      const fileWorker = await make();
      await fileWorker.add("f", "/f");
      const attempt = await begin(fileWorker, "f", "/f");
      attempt.lease.abort(lost());
      await expect(fileWorker.context.destination.remove(attempt, stamp)).rejects.toThrow();
      expect([await place.read("f"), await place.leftovers()]).toEqual([OTHERS, []]);
    });
  });

  describe("lists", () => {
    const { lists } = kind;
    if (lists !== "in order") {
      it(`never, ${lists.never}: what comes in another order is refused`, async ({ place }) => {
        for (const name of ORDERED) await place.write(name, Buffer.from(name));
        await expect(listedNames(place)).rejects.toThrow(ListingError);
      });
      return;
    }

    it("names in the order of their bytes, with stamps, and goes on behind a mark", async ({ place }) => {
      for (const name of ORDERED.toReversed()) await place.write(name, Buffer.from(name));
      expect(await listedNames(place)).toEqual(ORDERED);
      for (const name of ORDERED) expect(await listedStamp(place, name)).toEqual(expect.any(String));
      const lister = await place.openLister();
      const marks: string[] = [];
      const list = async (after?: string) => {
        const found: [string, number][] = [];
        const options = { wanted: (name: string) => name !== "b", after };
        for await (const listed of lister.list(place.root, options)) {
          if (listed.is !== "file") continue;
          found.push([listed.name, listed.sizeBytes]);
          marks.push(listed.mark);
        }
        return found;
      };
      const wanted = ORDERED.filter((name) => name !== "b");
      const all = wanted.map((name) => [name, Buffer.byteLength(name)]);
      expect(await list()).toEqual(all);
      expect(await list(marks[4])).toEqual(all.slice(5));
      await lister.close();
    });
  });

  describe("names", () => {
    it.for([...HOSTILE, ...kind.refuses])("refuses %j", (name, { place }) => {
      expect(() => place.checkName(name)).toThrow(pathError);
    });

    it("takes odd ones exactly as they are", async ({ make, origin, place }) => {
      const fileWorker = await make();
      const odd = ODD.filter((name) => !kind.lacks?.(name));
      for (const [at, name] of odd.entries()) {
        place.checkName(name);
        const outcome = await fileWorker.through(name, origin.route(`/${at}`, does.file(name)));
        expect([name, outcome.outcome]).toEqual([name, "copied"]);
        expect(String(await place.read(name))).toBe(name);
      }
      const listed = odd.filter((name) => !kind.hides?.(name));
      if (kind.lists === "in order") expect(await listedNames(place)).toEqual(listed.toSorted(compareBytes));
      expect(await place.leftovers()).toEqual([]);
    });
  });
});

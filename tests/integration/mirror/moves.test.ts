import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { it as base, MirrorInProcess } from "../../harness/mirror-in-process.js";
import { MIRROR_PLACES, type MirrorPlace, type MirrorPlaceKind } from "../../harness/mirror-places.js";

interface Ground {
  mirror: MirrorInProcess;
  place: MirrorPlace;
  put(key: string, content: string, headers?: Record<string, string>): void;
  rename(from: string, to: string): string;
  source(): Record<string, string>;
}

function itAt(kind: MirrorPlaceKind) {
  return base.extend<{ ground: Ground }>({
    ground: async ({ engine, s3 }, use) => {
      const place = await kind.start(s3);
      const mirror = await MirrorInProcess.open(engine, s3, { prefix: "in/", root: place.root });
      const put: Ground["put"] = (key, content, headers) => s3.put(`in/${key}`, content, headers);
      await use({
        mirror,
        place,
        put,
        rename(from, to) {
          const there = s3.stored(`in/${from}`);
          if (there) put(to, String(there.content), there.headers);
          s3.remove(`in/${from}`);
          return mirror.event("rename", { from: `in/${from}`, to: `in/${to}` });
        },
        source: () =>
          Object.fromEntries(
            s3.keys
              .filter((key) => key.startsWith("in/"))
              .map((key) => [key.slice("in/".length), String(s3.stored(key)?.content)]),
          ),
      });
      await place.stop();
      rmSync(mirror.path, { recursive: true, force: true });
    },
  });
}

const isGet = ({ method, query }: { method: string; query: URLSearchParams }) =>
  method === "GET" && !query.has("list-type");

for (const kind of MIRROR_PLACES) {
  const it = itAt(kind);
  describe.skipIf(kind.absent !== undefined)(`renames at ${kind.name}`, { timeout: 60_000 }, () => {
    it("are moves: nothing is read at the source", async ({ ground, s3 }) => {
      const { mirror, place, put } = ground;
      put("a", "content of a");
      put("dir/b ü", "content of b");
      await mirror.sync("initial");
      s3.requests.length = 0;
      await mirror.tell(ground.rename("a", "deep/er/a"), ground.rename("dir/b ü", "b #2"));
      const report = await mirror.sync("incremental");
      expect(report).toMatchObject({
        status: "success",
        changes: { renamed: 2 },
        operations: { copied: 0, moved: 2, removed: 0 },
        records: 2,
        pending: 0,
      });
      expect(place.tree()).toEqual(ground.source());
      expect(place.leftovers()).toEqual([]);
      const gets = s3.requests.filter((each) => isGet(each) && each.key.startsWith("in/"));
      expect(gets.filter(({ key }) => s3.stored(key))).toEqual([]);
      // The catalog has followed: nothing is copied again.
      expect(await mirror.sync("reconcile")).toMatchObject({ operations: { copied: 0, removed: 0 } });
    });

    it("take the shortest way in a chain, and go over a file that is there", async ({ ground }) => {
      const { mirror, place, put } = ground;
      put("a", "A");
      put("there", "to be replaced");
      await mirror.sync("initial");
      await mirror.tell(ground.rename("a", "b"), ground.rename("b", "c"), ground.rename("c", "there"));
      expect(await mirror.sync("incremental")).toMatchObject({
        status: "success",
        operations: kind.replacesByMove
          ? { copied: 0, moved: 1, removed: 0 }
          : { copied: 1, moved: 0, removed: 1 },
        pending: 0,
      });
      expect(place.tree()).toEqual({ there: "A" });
      expect(place.leftovers()).toEqual([]);
    });

    it("end as the bucket says: cycles, what changed meanwhile, what never was, what is still there", async ({
      ground,
      s3,
    }) => {
      const { mirror, place, put } = ground;
      for (const key of ["a", "b", "changed", "back", "kept"]) put(key, `content of ${key}`);
      await mirror.sync("initial");
      const [a, b] = ["a", "b"].map((key) => String(s3.stored(`in/${key}`)?.content));
      put("a", b as string);
      put("b", a as string);
      const events = [
        mirror.event("rename", { from: "in/a", to: "in/b" }),
        mirror.event("rename", { from: "in/b", to: "in/a" }),
        ground.rename("changed", "changed too"),
        ground.rename("back", "and"),
        ground.rename("and", "back"),
        ground.rename("never", "nor this"),
        mirror.event("move", { from: "in/kept", to: "in/not there" }),
      ];
      put("changed too", "other content");
      await mirror.tell(...events);
      expect(await mirror.sync("incremental")).toMatchObject({ status: "success", records: 5, pending: 0 });
      expect(place.tree()).toEqual(ground.source());
      expect(place.leftovers()).toEqual([]);
    });

    it("carry permissions along", async ({ ground }) => {
      const { mirror, place, put } = ground;
      put("a", "A", { "x-amz-meta-mode": "100640" });
      await mirror.sync("initial");
      await mirror.tell(
        ground.rename("a", "b"),
        mirror.event("change_permission", { key: "in/b", mode: "0600" }, Date.now() + 1),
      );
      expect(await mirror.sync("incremental")).toMatchObject({
        operations: { moved: 1, permissions: kind.keepsModes ? 1 : 0, not_kept: kind.keepsModes ? 0 : 1 },
      });
      if (kind.keepsModes) expect(place.modeOf("b")).toBe(0o600);
    });
  });
}

describe("what is moved", () => {
  const it = itAt(MIRROR_PLACES[0] as MirrorPlaceKind);

  it("is not what somebody else has put in its place, nor over what is somebody else's", async ({
    ground,
  }) => {
    const { mirror, place, put } = ground;
    put("mine", "1");
    put("other", "2");
    await mirror.sync("initial");
    writeFileSync(join(place.root, "mine"), "somebody else's");
    writeFileSync(join(place.root, "free"), "somebody else's, too");
    await mirror.tell(ground.rename("mine", "moved"), ground.rename("other", "free"));
    expect(await mirror.sync("incremental")).toMatchObject({ operations: { moved: 0, copied: 2 } });
    // An object has the name `free`, so its copy has it, too; `mine` is nobody's but the writer's.
    expect(place.tree()).toEqual({ mine: "somebody else's", moved: "1", free: "2" });
    expect(existsSync(join(place.root, "other"))).toBe(false);
  });
});

import { Catalog } from "@drover/shared/protocol/catalog";
import { encodeCatalog, markUncertain, versionBefore } from "@drover/shared/protocol/catalog-entry";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { DEAD_PROCESS, expireLease, keysOf, Member, request, settling } from "../helpers/fleet.js";

const ENTRY = {
  ...{ source: "source-hash_", version: 's"etag";5;1700000000', sha256: "5".repeat(64), stamp: "stamp" },
  ...{ sizeBytes: 5, mode: 0o640, access: "access-hash_" },
};

const it = base.extend<{ fleet: Member; run: string }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
});

const hold = (run: string, delivery = "d:1") => {
  const { lease, tree, name } = keysOf(run, "http://host/former", "former");
  return { lease, tree, name, delivery, sourceHash: "former" };
};

describe("a file that is moved", () => {
  it("holds its former path, and both change in the catalog in one settlement, sent once or twice", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const former = await fleet.file(run, "former");
    await fleet.admission.settle(
      settling(former, await fleet.admit(former), { catalog: encodeCatalog(ENTRY) }),
    );
    const file = await fleet.file(run, "now");
    const other = await fleet.file(run, "other");
    const admitted = await fleet.admit(file);
    const held = await fleet.admission.hold(hold(run));
    if (held.is !== "held") throw new Error(held.is);
    expect([held.origin, held.predecessors, held.catalog]).toEqual(["new", [], encodeCatalog(ENTRY)]);
    const { lease, tree, name } = hold(run);
    const request = settling(file, admitted, {
      catalog: encodeCatalog({ ...ENTRY, stamp: "other" }),
      from: { lease, tree, name, fence: held.fence },
    });
    const answers = await Promise.all([
      fleet.admission.settle(request),
      fleet.admission.settle(settling(other, await fleet.admit(other))),
    ]);
    expect(answers.map(({ is }) => is)).toEqual(["ok", "ok"]);
    const expected = [undefined, { ...ENTRY, stamp: "other" }];
    expect(await new Catalog(redis, keys).lookUp(tree, [name, "now"])).toEqual(expected);
    expect(await redis.exists(keys.lease(lease), keys.lease(file.lease))).toBe(0);
    expect((await fleet.admission.settle(request)).is).toBe("already");
    expect(await new Catalog(redis, keys).lookUp(tree, [name, "now"])).toEqual(expected);
  });

  it("does not end without the lease of its former path", async ({ fleet, run }) => {
    const file = await fleet.file(run, "now");
    const admitted = await fleet.admit(file);
    const held = await fleet.admission.hold(hold(run));
    if (held.is !== "held") throw new Error(held.is);
    expect((await fleet.admission.hold(hold(run, "d:2"))).is).toBe("busy");
    await expireLease(fleet, keysOf(run, "http://host/former", "former"));
    const next = await fleet.admission.hold(hold(run, "d:2"));
    expect(next).toMatchObject({ is: "held", origin: "expired", predecessors: [held.fence] });
    const { lease, tree, name } = hold(run);
    const from = { lease, tree, name, fence: held.fence };
    expect((await fleet.admission.settle(settling(file, admitted, { from }))).is).toBe("stale");
    expect((await fleet.admission.hold(hold(run, "d:3"))).is).toBe("busy");
  });

  it("takes the former path over from a holder that is known to be dead, and shares it with files", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const dead = new Member(redis, keys, DEAD_PROCESS);
    const theirs = await dead.admission.hold(hold(run));
    const answer = await fleet.admission.hold(hold(run, "d:2"));
    expect(answer).toMatchObject({ is: "busy", owner: DEAD_PROCESS });
    if (answer.is !== "busy" || theirs.is !== "held") throw new Error(answer.is);
    const ours = await fleet.admission.hold({ ...hold(run, "d:2"), deadFence: answer.fence });
    expect(ours).toMatchObject({ is: "held", origin: "dead", predecessors: [theirs.fence] });
    const former = await fleet.file(run, "former");
    expect((await fleet.admission.admit(request(former))).is).toBe("busy");
  });
});

describe("the entry of a file that is being moved", () => {
  it("has a version that is equal to none, and is still known", () => {
    const moving = markUncertain(markUncertain(ENTRY));
    expect(moving.version).not.toBe(ENTRY.version);
    expect({ ...moving, version: versionBefore(moving) }).toEqual(ENTRY);
  });
});

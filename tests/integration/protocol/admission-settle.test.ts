import { isSuccess, OUTCOMES } from "@drover/shared/outcome";
import { NO_ENTRY } from "@drover/shared/protocol/admission";
import { Catalog, catalogKey } from "@drover/shared/protocol/catalog";
import { encodeCatalog } from "@drover/shared/protocol/catalog-entry";
import { scanFailures } from "@drover/shared/protocol/run-failures";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { collect, dump, expireLease, failureOf, Member, RULES, request, settling } from "../helpers/fleet.js";

const KNOWN = {
  source: "source-hash_",
  version: "version",
  sha256: "5".repeat(64),
  stamp: "stamp",
  sizeBytes: 5,
};
const ENTRY = encodeCatalog(KNOWN);
const OTHER = encodeCatalog({ ...KNOWN, version: "older", sizeBytes: 4 });

const it = base.extend<{ fleet: Member; run: string }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
});

describe("settling", () => {
  it("records outcome, bytes and catalog entry, and frees flight and lease", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    await redis.script("FLUSH");
    const answer = await fleet.admission.settle(settling(file, admitted, { bytes: 5, catalog: ENTRY }));
    expect(answer).toEqual({ is: "ok", blockedUntilMs: 0 });
    expect(await redis.exists(keys.flight(file.flight), keys.lease(file.lease))).toBe(0);
    expect(await fleet.ledger.counts(run)).toEqual({
      files: 1,
      settled: 1,
      copied: 1,
      unchanged: 0,
      deleted: 0,
      failed: 0,
      blocked: 0,
      locked: 0,
      cancelled: 0,
    });
    expect((await fleet.ledger.get(run)).bytes).toBe(5);
    expect(await new Catalog(redis, keys).lookUp(file.tree, [file.name, "b"])).toEqual([KNOWN, undefined]);
  });

  it("drops the catalog entry of a file that was removed", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    await fleet.admission.settle(settling(file, await fleet.admit(file), { catalog: ENTRY }));
    const again = await fleet.file(await fleet.newRun());
    await fleet.admission.settle(settling(again, await fleet.admit(again), { catalog: NO_ENTRY }));
    expect(await redis.exists(catalogKey(keys, file.tree, file.name))).toBe(0);
  });

  it("drops the secret of the file, and of no other file", async ({ fleet, run }) => {
    const [file, other] = await fleet.files(run, { a: "http://host/a", b: "http://host/b" });
    if (!file || !other) throw new Error("two files");
    await fleet.secrets.keepSources(run, new Map([file, other].map((each) => [each.flight, "secret"])));
    const stale = await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    const holder = await fleet.admit(file, "d:2");
    await fleet.admission.settle(settling(file, stale, { forget: file.flight }));
    expect(await fleet.secrets.source(run, file.flight)).toBe("secret");
    await fleet.admission.settle(settling(file, holder, { forget: file.flight }));
    expect(await fleet.secrets.source(run, file.flight)).toBeUndefined();
    expect(await fleet.secrets.source(run, other.flight)).toBe("secret");
  });

  it("records every outcome", async ({ fleet, run }) => {
    const names = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, `http://host/${outcome}`]));
    const files = await fleet.files(run, names);
    await Promise.all(
      files.map(async (file, index) => {
        const outcome = OUTCOMES[index] as (typeof OUTCOMES)[number];
        const good = isSuccess(outcome);
        const failure = good ? "" : failureOf(names[outcome] as string, outcome);
        await fleet.admission.settle(settling(file, await fleet.admit(file), { index, outcome, failure }));
      }),
    );
    const ones = Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 1]));
    expect(await fleet.ledger.counts(run)).toEqual({ files: 7, settled: 7, ...ones });
    const failures = (await collect(scanFailures(fleet.redis, fleet.keys, run))).flat();
    expect(failures.map((each) => [each.index, each.job.d]).sort()).toEqual([
      [3, "failed"],
      [4, "blocked"],
      [5, "locked"],
      [6, "cancelled"],
    ]);
  });

  it("changes nothing the second time", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    await fleet.admission.settle(settling(file, admitted, { bytes: 5, catalog: ENTRY }));
    const before = await dump(redis, keys);
    const again = settling(file, admitted, {
      bytes: 9,
      catalog: OTHER,
      outcome: "failed",
      failure: failureOf("http://host/a", "a"),
      verdict: "fail",
      openBreaker: true,
    });
    expect(await fleet.admission.settle(again)).toEqual({ is: "already", blockedUntilMs: 0 });
    expect(await dump(redis, keys)).toEqual(before);
  });

  it("counts a file once that is settled twice in one call", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    const answers = await Promise.all([
      fleet.admission.settle(settling(file, admitted, { bytes: 5 })),
      fleet.admission.settle(settling(file, admitted, { bytes: 5 })),
      fleet.admission.settle(settling(file, admitted, { bytes: 5, outcome: "failed", failure: "{}" })),
    ]);
    expect(answers.map((answer) => answer.is)).toEqual(["ok", "already", "already"]);
    expect((await fleet.ledger.get(run)).bytes).toBe(5);
    expect(await fleet.ledger.counts(run)).toMatchObject({ settled: 1, copied: 1, failed: 0 });
  });

  it("counts the bytes of each of several runs in one call", async ({ fleet, run }) => {
    const runs = [run, await fleet.newRun(), await fleet.newRun()];
    const all = await Promise.all(
      runs.map((id, nth) => fleet.files(id, { [`x${nth}`]: "http://host/x", [`y${nth}`]: "http://host/y" })),
    );
    const admitted = await Promise.all(
      all.map((files) => Promise.all(files.map((file) => fleet.admit(file)))),
    );
    await Promise.all(
      all.flatMap((files, nth) =>
        files.map((file, index) => {
          const bytes = nth === 2 ? 0 : 10 ** nth * (index + 1);
          return fleet.admission.settle(settling(file, admitted[nth]?.[index], { index, bytes }));
        }),
      ),
    );
    const sums = await Promise.all(runs.map(async (id) => (await fleet.ledger.get(id)).bytes));
    expect(sums).toEqual([3, 30, 0]);
  });

  it("frees the destination for the next run", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    const next = await fleet.file(await fleet.newRun());
    expect((await fleet.admission.admit(request(next, "e:1"))).is).toBe("busy");
    await fleet.admission.settle(settling(file, admitted));
    expect((await fleet.admit(next, "e:1")).origin).toBe("new");
  });

  it("ends a file without a lease, and leaves the lease of another holder alone", async ({ fleet, run }) => {
    const held = await fleet.file(run);
    const holder = await fleet.admit(held);
    const other = await fleet.newRun();
    const file = await fleet.file(other);
    const over = { outcome: "locked", failure: failureOf("http://host/a", "a", "locked") } as const;
    expect((await fleet.admission.settle(settling(file, undefined, over))).is).toBe("ok");
    expect(await fleet.admission.admit(request(file, "e:1"))).toEqual({ is: "done" });
    expect(await fleet.ledger.counts(other)).toMatchObject({ settled: 1, locked: 1 });
    expect((await fleet.admit(held)).fence).toBe(holder.fence);
    expect((await fleet.admission.settle(settling(held, holder))).is).toBe("ok");
  });

  it("frees the destination of a file that failed with staged bytes", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    await fleet.admission.renew([{ lease: file.lease, fence: admitted.fence, staged: "staged" }]);
    const over = { outcome: "failed", failure: failureOf("http://host/a", "a") } as const;
    expect((await fleet.admission.settle(settling(file, admitted, over))).is).toBe("ok");
    const next = await fleet.file(await fleet.newRun());
    expect(await fleet.admit(next, "e:1")).toMatchObject({ origin: "new", staged: "", predecessors: [] });
  });

  it("handles indexes and sizes of more than 14 digits", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    const bytes = 6 * 2 ** 40;
    await redis.set(keys.flight(file.flight), "1000000");
    await fleet.admission.settle(settling(file, admitted, { bytes, index: 1_000_000 }));
    expect((await fleet.ledger.get(run)).bytes).toBe(bytes);
    expect(await redis.getbit(keys.done(run), 1_000_000)).toBe(1);
  });
});

describe("a worker that was taken over", () => {
  it("cannot settle and changes nothing", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const stale = await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    const holder = await fleet.admit(file, "d:2");
    const before = await dump(redis, keys);
    const late = settling(file, stale, {
      bytes: 7,
      catalog: OTHER,
      outcome: "failed",
      failure: failureOf("http://host/a", "a"),
    });
    expect(await fleet.admission.settle(late)).toEqual({ is: "stale", blockedUntilMs: 0 });
    expect(await dump(redis, keys)).toEqual(before);

    await fleet.admission.settle(settling(file, holder, { bytes: 5, catalog: ENTRY }));
    expect((await fleet.admission.settle(late)).is).toBe("already");
    expect((await new Catalog(redis, keys).lookUp(file.tree, [file.name]))[0]?.version).toBe("version");
  });

  it("loses against its successor in the same call, in either order", async ({ fleet, run, redis, keys }) => {
    for (const order of ["stale first", "successor first"]) {
      const file = await fleet.file(run, order);
      const stale = await fleet.admit(file, "d:1");
      await expireLease(fleet, file);
      const holder = await fleet.admit(file, "d:2");
      const requests = [
        settling(file, stale, { index: 0, catalog: OTHER }),
        settling(file, holder, { index: 0, catalog: ENTRY }),
      ];
      if (order === "successor first") requests.reverse();
      const answers = await Promise.all(requests.map((each) => fleet.admission.settle(each)));
      expect(answers.filter((answer) => answer.is === "ok")).toHaveLength(1);
      expect((await new Catalog(redis, keys).lookUp(file.tree, [file.name]))[0]?.version).toBe("version");
    }
  });

  it("cannot settle after another run's file was copied to the same destination", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const file = await fleet.file(run);
    const stale = await fleet.admit(file, "d:1");
    await expireLease(fleet, file);
    const other = await fleet.file(await fleet.newRun());
    const holder = await fleet.admit(other, "e:1");
    await fleet.admission.settle(settling(other, holder, { catalog: ENTRY }));
    // Its flight is still there and nobody holds the destination: still it is refused.
    expect((await fleet.admission.settle(settling(file, stale, { catalog: OTHER }))).is).toBe("stale");
    expect((await new Catalog(redis, keys).lookUp(file.tree, [file.name]))[0]?.version).toBe("version");
    expect((await fleet.ledger.counts(run)).settled).toBe(0);
  });

  it("cannot settle when Redis has lost the lease", async ({ fleet, run, redis, keys }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file, "d:1");
    await redis.del(keys.lease(file.lease));
    expect((await fleet.admission.settle(settling(file, admitted))).is).toBe("stale");
    // The file is not lost: the same delivery starts again.
    const again = await fleet.admit(file, "d:1");
    expect(again.origin).toBe("new");
    expect((await fleet.admission.settle(settling(file, again))).is).toBe("ok");
  });

  it("may settle after its lease expired while nobody has taken over", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const admitted = await fleet.admit(file);
    await expireLease(fleet, file);
    expect((await fleet.admission.settle(settling(file, admitted))).is).toBe("ok");
  });

  it("cannot settle after it released its lease to another worker", async ({ fleet, run }) => {
    const file = await fleet.file(run);
    const first = await fleet.admit(file, "d:1");
    await fleet.admission.release({
      ...file,
      fence: first.fence,
      staged: "",
      verdict: "none",
      epoch: "0",
      rules: RULES,
      retryAfterMs: 0,
      fencedOff: true,
    });
    const second = await fleet.admit(file, "d:2");
    expect((await fleet.admission.settle(settling(file, first))).is).toBe("stale");
    expect((await fleet.admission.settle(settling(file, second))).is).toBe("ok");
  });
});

describe("many files at once", () => {
  it("are each settled once, although every call is made twice and Redis is killed in between", async ({
    fleet,
    run,
    server,
  }) => {
    const names = Object.fromEntries(
      Array.from({ length: 400 }, (_, at) => [`f${at}`, `http://h${at % 5}/${at}`]),
    );
    const files = await fleet.files(run, names);
    const copyAll = (round: number) =>
      Promise.all(
        files.map(async (file, index) => {
          const admitted = await fleet.admission.admit(request(file, `d${index}:1`));
          if (admitted.is !== "admitted") return admitted.is;
          const asked = settling(file, admitted, { index, bytes: 3, catalog: ENTRY, verdict: "ok" });
          if (round === 0 && index % 3 === 0) return "left";
          const [once] = await Promise.all([fleet.admission.settle(asked), fleet.admission.settle(asked)]);
          return once?.is;
        }),
      );
    const first = copyAll(0);
    await server.restart();
    const ended = (await first).filter((each) => each === "ok").length;
    expect(ended).toBeGreaterThan(0);
    const second = await copyAll(1);
    expect(second.filter((each) => each !== "ok" && each !== "done" && each !== "already")).toEqual([]);
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 400, settled: 400, copied: 400 });
    expect((await fleet.ledger.get(run)).bytes).toBe(1_200);
    await fleet.ledger.seal(run);
    expect(await fleet.ledger.finish(run)).toBe("done");
  });
});

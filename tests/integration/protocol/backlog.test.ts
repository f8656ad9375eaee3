import { shortHash } from "@drover/shared/ids";
import { type EnqueueFile, RunLostError } from "@drover/shared/protocol/backlog";
import { flightHash } from "@drover/shared/protocol/flights";
import { scanFailures } from "@drover/shared/protocol/run-failures";
import { describe, expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import {
  collect,
  dump,
  FAR_PROCESS,
  failureOf,
  Member,
  queued,
  request,
  settling,
} from "../helpers/fleet.js";

const it = base.extend<{ fleet: Member; run: string }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
});

/** Files of all chunks in the backlog, by chunk. */
async function backlog(fleet: Member, run: string) {
  const chunks: Record<string, [number, Record<string, unknown>, 1?][]> = {};
  for (const id of await fleet.backlog.chunkIds(run)) chunks[id] = await fleet.backlog.chunk(run, id);
  return chunks;
}

describe("a batch", () => {
  it("registers indexes, flights, a chunk per host, counts and the cursor at once", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const answers = await fleet.backlog.enqueue(run, 1, '{"at":3}', [
      queued(run, "http://one/a", "a"),
      queued(run, "http://two:81/b", "b"),
      queued(run, "http://one/c", "c"),
    ]);
    expect(answers).toEqual([0, 1, 2].map((index) => ({ is: "index", index })));
    expect(await backlog(fleet, run)).toEqual({
      "1|one:80": [
        [0, { s: "http://one/a", d: "a" }],
        [2, { s: "http://one/c", d: "c" }],
      ],
      "1|two:81": [[1, { s: "http://two:81/b", d: "b" }]],
    });
    expect(await fleet.ledger.get(run)).toMatchObject({ batch: 1, cursor: '{"at":3}', bytes: 0 });
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 3, settled: 0 });
    for (const name of ["a", "c"]) {
      expect(await redis.exists(keys.flight(flightHash(run, `http://one/${name}`, name, 0)))).toBe(1);
    }
  });

  it("continues the indexes of the last batch", async ({ fleet, run, redis }) => {
    await fleet.backlog.enqueue(run, 1, "", [queued(run, "http://h/a", "a"), queued(run, "http://h/b", "b")]);
    await redis.script("FLUSH");
    const answers = await fleet.backlog.enqueue(run, 2, "", [queued(run, "http://h/c", "c")]);
    expect(answers).toEqual([{ is: "index", index: 2 }]);
    expect(await fleet.backlog.chunkIds(run)).toEqual(["1|h:80", "2|h:80"]);
  });

  it("settles files at once that are unchanged or have failed", async ({ fleet, run, redis, keys }) => {
    const failure = failureOf("http://h/c", "c", "path");
    const answers = await fleet.backlog.enqueue(run, 1, "", [
      queued(run, "/data/a", "a", { kind: "unchanged", bytes: 7 }),
      queued(run, "http://h/b", "b"),
      queued(run, "http://h/c", "c", { kind: "failed", failure }),
      queued(run, "/data/d", "d", { kind: "unchanged", bytes: 0 }),
    ]);
    expect(answers).toHaveLength(4);
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 4, settled: 3, unchanged: 2, failed: 1 });
    expect((await fleet.ledger.get(run)).bytes).toBe(7);
    const [failures] = await collect(scanFailures(fleet.redis, fleet.keys, run));
    expect(failures).toEqual([{ ...JSON.parse(failure), index: 2 }]);
    expect(Object.keys(await backlog(fleet, run))).toEqual(["1|h:80"]);
    // Only queued files have flights.
    expect(await redis.exists(keys.flight(flightHash(run, "/data/a", "a", 0)))).toBe(0);
  });

  it("gets its first answer when it is sent again, and changes nothing", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    const files: EnqueueFile[] = [
      queued(run, "http://h/a", "a"),
      queued(run, "http://h/a", "a"),
      queued(run, "http://h/b", "a"),
      queued(run, "http://h/c", "c", { kind: "unchanged", bytes: 5 }),
    ];
    const first = await fleet.backlog.enqueue(run, 1, "x", files);
    const before = await dump(redis, keys);
    expect(await fleet.backlog.enqueue(run, 1, "x", files)).toEqual(first);
    expect(await dump(redis, keys)).toEqual(before);
  });

  it("does not bring files back that were copied before it was sent again", async ({ fleet, run }) => {
    const files = [queued(run, "http://h/a", "a"), queued(run, "http://h/b", "b")];
    await fleet.backlog.enqueue(run, 1, "", files);
    const file = { ...(files[0] as EnqueueFile), runId: run, lease: "l", tree: "t", name: "a" };
    const admitted = await fleet.admit(file);
    await fleet.admission.settle(settling(file, admitted));
    await fleet.backlog.dropChunk(run, "1|h:80");
    await fleet.backlog.enqueue(run, 1, "", files);
    expect(await fleet.admission.admit(request(file, "d:2"))).toEqual({ is: "done" });
    expect(await backlog(fleet, run)).toEqual({});
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 2, settled: 1 });
  });

  it("is refused after a gap, and when it is older than the last one", async ({
    fleet,
    run,
    redis,
    keys,
  }) => {
    await fleet.backlog.enqueue(run, 1, "", [queued(run, "http://h/a", "a")]);
    await fleet.backlog.enqueue(run, 2, "", [queued(run, "http://h/b", "b")]);
    const before = await dump(redis, keys);
    for (const batch of [1, 4, 9]) {
      await expect(fleet.backlog.enqueue(run, batch, "", [queued(run, "http://h/z", "z")])).rejects.toThrow(
        /forgot/,
      );
    }
    expect(await dump(redis, keys)).toEqual(before);
  });

  it("is refused for a run that Redis does not know", async ({ fleet, redis, keys }) => {
    await expect(fleet.backlog.enqueue("gone", 1, "", [queued("gone", "http://h/a", "a")])).rejects.toThrow();
    expect(await dump(redis, keys)).toEqual({});
  });

  it("is refused for a cancelled run, and registers nothing", async ({ fleet, run, redis, keys }) => {
    await fleet.ledger.cancel(run);
    const before = await dump(redis, keys);
    const batch = fleet.backlog.enqueue(run, 1, "", [queued(run, "http://h/a", "a")]);
    await expect(batch).rejects.toThrow(RunLostError);
    expect(await dump(redis, keys)).toEqual(before);
  });

  it("is refused to a producer that lost the run to another", async ({ fleet, run, redis, keys }) => {
    await fleet.ledger.leave(run);
    const other = new Member(redis, keys, FAR_PROCESS);
    await other.ledger.take(await other.ledger.get(run));
    const before = await dump(redis, keys);
    const batch = fleet.backlog.enqueue(run, 1, "", [queued(run, "http://h/a", "a")]);
    await expect(batch).rejects.toThrow(RunLostError);
    expect(await dump(redis, keys)).toEqual(before);
    await other.backlog.enqueue(run, 1, "", [queued(run, "http://h/a", "a")]);
  });

  it("may have thousands of files with any names", async ({ fleet, run }) => {
    const names = Array.from({ length: 3_000 }, (_, at) => `déjà "vu" \\ ${at} 文件\n\t%s {}`);
    const answers = await fleet.backlog.enqueue(
      run,
      1,
      JSON.stringify({ listByte: 2 ** 40 }),
      names.map((name) => queued(run, `/data/${name}`, name)),
    );
    expect(answers.map((answer) => answer.is === "index" && answer.index)).toEqual(names.map((_, at) => at));
    const chunks = await backlog(fleet, run);
    expect(Object.keys(chunks)).toEqual(["1|"]);
    expect(chunks["1|"]?.map(([, job]) => job.d)).toEqual(names);
    expect((await fleet.ledger.get(run)).cursor).toBe(JSON.stringify({ listByte: 2 ** 40 }));
  });

  it("is registered once although Redis was killed meanwhile", async ({ fleet, run, server }) => {
    const batches = Array.from({ length: 20 }, (_, nth) =>
      Array.from({ length: 50 }, (__, at) => queued(run, `http://h/${nth}-${at}`, `${nth}-${at}`)),
    );
    const sending = (async () => {
      for (const [nth, files] of batches.entries()) await fleet.backlog.enqueue(run, nth + 1, "", files);
    })();
    await server.restart();
    await sending;
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 1_000, settled: 0 });
    const indexes = Object.values(await backlog(fleet, run)).flatMap((files) =>
      files.map(([index]) => index),
    );
    expect(indexes.sort((a, b) => a - b)).toEqual(Array.from({ length: 1_000 }, (_, at) => at));
  });
});

describe("destinations of a run", () => {
  it("register the same source once, in one batch and across batches", async ({ fleet, run }) => {
    const a = queued(run, "http://h/a", "a");
    expect(await fleet.backlog.enqueue(run, 1, "", [a, a])).toEqual([
      { is: "index", index: 0 },
      { is: "duplicate" },
    ]);
    expect(await fleet.backlog.enqueue(run, 2, "", [a, queued(run, "http://h/b", "b")])).toEqual([
      { is: "duplicate" },
      { is: "index", index: 1 },
    ]);
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 2, settled: 0 });
  });

  it("record another source for the same destination as a failed collision", async ({ fleet, run }) => {
    const answers = await fleet.backlog.enqueue(run, 1, "", [
      queued(run, "http://h/a", "a"),
      queued(run, "http://other/a", "a"),
    ]);
    expect(answers).toEqual([
      { is: "index", index: 0 },
      { is: "collision", index: 1 },
    ]);
    expect(await fleet.backlog.enqueue(run, 2, "", [queued(run, "http://third/a", "a")])).toEqual([
      { is: "collision", index: 2 },
    ]);
    expect(await fleet.ledger.counts(run)).toMatchObject({ files: 3, settled: 2, failed: 2 });
    const failures = (await collect(scanFailures(fleet.redis, fleet.keys, run))).flat();
    expect(failures.map((each) => [each.index, each.error.class, each.job.s]).sort()).toEqual([
      [1, "collision", "http://other/a"],
      [2, "collision", "http://third/a"],
    ]);
    // The first one is not affected.
    const chunks = await backlog(fleet, run);
    expect(Object.values(chunks).flat()).toEqual([[0, { s: "http://h/a", d: "a" }]]);
  });

  it("do not collide with those of another run", async ({ fleet, run }) => {
    const other = await fleet.newRun();
    await fleet.backlog.enqueue(run, 1, "", [queued(run, "http://h/a", "a")]);
    expect(await fleet.backlog.enqueue(other, 1, "", [queued(other, "http://other/a", "a")])).toEqual([
      { is: "index", index: 0 },
    ]);
  });

  it("are forgotten once the run is sealed", async ({ fleet, run, redis, keys }) => {
    await fleet.backlog.enqueue(run, 1, "", [queued(run, "http://h/a", "a")]);
    const claims = async () => (await redis.keys(`${keys.namespace}:run:${run}:claim:*`)).length;
    expect(await claims()).toBe(1);
    await fleet.ledger.forgetClaims(run, undefined);
    expect(await claims()).toBe(0);
  });
});

describe("requeuing files", () => {
  const all = ["failed", "blocked", "locked", "cancelled"] as const;

  /** Six files: the first five end with the given outcomes, the sixth is left open. */
  async function sixFiles(fleet: Member, run: string) {
    const names = ["copied", "unchanged", "failed", "blocked", "cancelled", "open"] as const;
    const files = await fleet.files(run, Object.fromEntries(names.map((name) => [name, `http://h/${name}`])));
    for (const [index, file] of files.entries()) {
      const outcome = names[index];
      if (outcome === undefined || outcome === "open") continue;
      const good = outcome === "copied" || outcome === "unchanged";
      const failure = good ? "" : failureOf(`http://h/${outcome}`, outcome);
      await fleet.admission.settle(settling(file, await fleet.admit(file), { index, outcome, failure }));
    }
    for (const chunk of await fleet.backlog.chunkIds(run)) await fleet.backlog.dropChunk(run, chunk);
    return names.map((name, index) => ({
      index,
      flight: flightHash(run, `http://h/${name}`, name, 1),
      job: JSON.stringify({ s: `http://h/${name}`, d: name, g: 1 }),
    }));
  }

  it("for a resume puts back open files alone", async ({ fleet, run, redis, keys }) => {
    const files = await sixFiles(fleet, run);
    const counts = await fleet.ledger.counts(run);
    expect(await fleet.backlog.requeue(run, "1.1.q|h:80", files, [])).toBe(1);
    expect(await fleet.ledger.counts(run)).toEqual(counts);
    expect(await backlog(fleet, run)).toEqual({
      "1.1.q|h:80": [[5, { s: "http://h/open", d: "open", g: 1 }]],
    });
    expect(await redis.exists(...files.slice(0, 5).map((file) => keys.flight(file.flight)))).toBe(0);
    expect(await redis.exists(keys.flight(files[5]?.flight as string))).toBe(1);
  });

  it("for a retry puts back failed files, and clears their outcomes", async ({ fleet, run }) => {
    const files = await sixFiles(fleet, run);
    expect(await fleet.backlog.requeue(run, "1.1.f|h:80", files, all)).toBe(4);
    expect(await fleet.ledger.counts(run)).toEqual({
      files: 6,
      settled: 2,
      copied: 1,
      unchanged: 1,
      deleted: 0,
      failed: 0,
      blocked: 0,
      locked: 0,
      cancelled: 0,
    });
    expect(await collect(scanFailures(fleet.redis, fleet.keys, run))).toEqual([]);
    const [chunk] = Object.values(await backlog(fleet, run));
    expect(chunk?.map(([index]) => index)).toEqual([2, 3, 4, 5]);
  });

  it("changes nothing the second time", async ({ fleet, run, redis, keys }) => {
    const files = await sixFiles(fleet, run);
    await fleet.backlog.requeue(run, "c|h:80", files, all);
    const before = await dump(redis, keys);
    await redis.script("FLUSH");
    await fleet.backlog.requeue(run, "c|h:80", files, all);
    expect(await dump(redis, keys)).toEqual(before);
  });

  it("does not bring back files that have ended since", async ({ fleet, run, redis, keys }) => {
    const files = await sixFiles(fleet, run);
    await fleet.backlog.requeue(run, "c|h:80", files, all);
    const again = { runId: run, lease: shortHash("failed"), tree: "tree", name: "failed", host: "h:80" };
    const file = { ...again, flight: files[2]?.flight as string };
    const admitted = await fleet.admit(file, "retry:1");
    await fleet.admission.settle(settling(file, admitted, { index: 2 }));
    await fleet.backlog.requeue(run, "d|h:80", files.slice(2, 3), all);
    expect(await fleet.backlog.chunkIds(run)).toEqual(["c|h:80"]);
    expect(await redis.exists(keys.flight(file.flight))).toBe(0);
    expect(await fleet.ledger.counts(run)).toMatchObject({ settled: 3, copied: 2, failed: 0 });
  });

  it("is refused to a process that lost the run", async ({ fleet, run, redis, keys }) => {
    const files = await sixFiles(fleet, run);
    await fleet.ledger.leave(run);
    await new Member(redis, keys, FAR_PROCESS).ledger.take(await fleet.ledger.get(run));
    const before = await dump(redis, keys);
    await expect(fleet.backlog.requeue(run, "c|h:80", files, all)).rejects.toThrow(RunLostError);
    expect(await dump(redis, keys)).toEqual(before);
  });

  it("without files leaves no chunk", async ({ fleet, run }) => {
    expect(await fleet.backlog.requeue(run, "c|h:80", [], all)).toBe(0);
    expect(await fleet.backlog.chunkIds(run)).toEqual([]);
  });
});

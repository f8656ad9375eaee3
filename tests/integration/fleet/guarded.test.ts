import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openEngine, planRun, type RunHandle, SILENT, startLeader, submit } from "@drover/producer";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import type { Outcome } from "@drover/shared/outcome";
import { type RunningWorker, startLocalPool, startWorker } from "@drover/worker";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { it as base } from "../../harness/redis.js";

interface Asked {
  guarded?: boolean;
  carriedBy?: "process" | "fleet";
  /** Whether threads carry the run's files, however few they are. */
  threads?: boolean;
}

interface Fixtures {
  origin: FaultOrigin;
  out: string;
  engine: Engine;
  /** Starts a worker, which is stopped with the test. */
  work: (...allowAddresses: string[]) => Promise<void>;
  /** Makes a run, by default of the fleet. */
  run: (sources: string[], asked?: Asked) => Promise<RunHandle>;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  origin: async ({}, use) => {
    const origin = await FaultOrigin.start();
    await use(origin);
    await origin.stop();
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  out: async ({}, use) => {
    const directory = mkdtempSync(join(tmpdir(), "drover-guarded-"));
    const out = join(directory, "out");
    mkdirSync(out);
    await use(out);
    rmSync(directory, { recursive: true });
  },
  engine: async ({ server: { address }, keys, out }, use) => {
    const redis = "url" in address ? address.url : `unix://${address.socketPath}`;
    const engine = await openEngine({ redis, stateDir: out, namespace: keys.namespace });
    await use(engine);
    engine.close();
  },
  work: async ({ engine, out }, use) => {
    let worker: RunningWorker | undefined;
    await use(async (...allowAddresses) => {
      const onError = () => {};
      worker = await startWorker({
        engine,
        concurrency: 4,
        roots: [out],
        allowAddresses,
        onError,
        startLeader: (id) => startLeader(engine, id, { onError }),
      });
    });
    await worker?.drain(1_000);
  },
  run: async ({ engine, out }, use) => {
    await use(async (sources, { guarded = false, carriedBy = "fleet", threads = false } = {}) => {
      const planned = await planRun({
        directory: out,
        stateDir: out,
        carriedBy,
        guarded,
        selection: { sources },
        destination: { root: out },
        breaker: { threshold: 1, ttlMs: 60_000, waitMs: 0 },
      });
      return await submit(engine, planned, {
        startPool: (options) => {
          const pool = startLocalPool(options);
          if (threads) pool.expect(1_000_000);
          return pool;
        },
        stateDir: out,
        warn: () => {},
      });
    });
  },
});

async function follow(handle: RunHandle, sealed = () => {}): Promise<Outcome[]> {
  const told: Outcome[] = [];
  const settled = (outcome: Outcome) => void told.push(outcome);
  await handle.follow({ ...SILENT, settled, sealed }, new AbortController().signal);
  return told;
}

const REFUSED = {
  outcome: "failed",
  attempts: 1,
  error: {
    class: "address",
    message: "127.0.0.1 is a private address: the operator may allow it with --allow-address",
  },
};

describe("a worker", () => {
  it("refuses private addresses to guarded runs alone, and the host's breaker learns nothing", async ({
    origin,
    work,
    run,
  }) => {
    await work();
    const url = origin.route("/f", does.file("content"));
    expect(await follow(await run([url], { guarded: true }))).toMatchObject([REFUSED]);
    expect(origin.requests).toEqual([]);
    expect(await follow(await run([url]))).toMatchObject([{ outcome: "copied" }]);
  });

  it("refuses a redirect to them", async ({ origin, work, run }) => {
    await work(`localhost:${origin.port}`);
    origin.route("/secret", does.file("secret"));
    const url = origin.route("/f", does.redirect(origin.url("/secret")));
    const named = url.replace("127.0.0.1", "localhost");
    expect(await follow(await run([named], { guarded: true }))).toMatchObject([REFUSED]);
    expect(origin.requestsTo("/secret")).toEqual([]);
  });

  it("carries what it allows", async ({ origin, work, run, out }) => {
    await work("127.0.0.0/8");
    const url = origin.route("/f", does.file("content"));
    expect(await follow(await run([url], { guarded: true }))).toMatchObject([{ outcome: "copied" }]);
    expect(readFileSync(join(out, "f"), "utf8")).toBe("content");
  });

  it("does not start with what cannot be allowed", async ({ work }) => {
    await expect(work("10.0.0.0/64")).rejects.toThrow(SettingsError);
  });
});

it("a file of a guarded run does not travel with that of another run", async ({ origin, work, run }) => {
  const first = origin.route("/first", does.file("content"));
  const second = origin.route("/second", does.file("content"));
  const following: Promise<Outcome[]>[] = [];
  for (const [url, guarded] of [
    [first, true],
    [first, false],
    [second, false],
    [second, true],
  ] as const) {
    const handle = await run([url], { guarded });
    const { promise: submitted, resolve } = Promise.withResolvers<void>();
    following.push(follow(handle, resolve));
    await submitted; // and taken up by nobody yet, so that a file of the same terms would join it
  }
  await work();
  expect(await Promise.all(following)).toMatchObject([
    [REFUSED],
    [{ outcome: "copied" }],
    [{ outcome: "copied" }],
    [REFUSED],
  ]);
});

describe("a process that carries a guarded run itself", () => {
  it("asks no private address whether a file is unchanged", async ({ origin, run }) => {
    const url = origin.route("/f", does.file("content"));
    const here = { carriedBy: "process" } as const;
    expect(await follow(await run([url], here))).toMatchObject([{ outcome: "copied" }]);
    expect(await follow(await run([url], here))).toMatchObject([{ outcome: "unchanged" }]);
    const before = origin.requests.length;
    expect(await follow(await run([url], { ...here, guarded: true }))).toMatchObject([REFUSED]);
    expect(origin.requests).toHaveLength(before);
  });

  it("refuses private addresses in its threads, too", async ({ origin, run }) => {
    const urls = Array.from({ length: 100 }, (_, at) => origin.route(`/f${at}`, does.file("content")));
    const asked = { carriedBy: "process", guarded: true, threads: true } as const;
    const ended = await follow(await run(urls, asked));
    expect(ended).toHaveLength(100);
    for (const each of ended) expect(each).toMatchObject(REFUSED);
    expect(origin.requests).toEqual([]);
  });
});

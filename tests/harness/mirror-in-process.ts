import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { MirrorConfig } from "@drover/mirror/config";
import { type MirrorContext, openMirror } from "@drover/mirror/context";
import { type Holding, whileHolding } from "@drover/mirror/state/holding";
import type { SyncReport } from "@drover/mirror/sync/report";
import { incrementalSync, initialSync, reconcile } from "@drover/mirror/sync/sync";
import type { Engine } from "@drover/shared/engine";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Ledger } from "@drover/shared/protocol/ledger";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { filesBelow } from "./drover.js";
import { FakeS3 } from "./fake-s3.js";
import { it as base } from "./redis.js";

const SYNCS = { initial: initialSync, incremental: incrementalSync, reconcile };

/** A mirror of the bucket of a fake S3 in a directory, synced by this process. */
export class MirrorInProcess {
  #events = 0;
  readonly warnings: string[] = [];
  readonly out: string;

  private constructor(
    readonly s3: FakeS3,
    readonly context: MirrorContext,
    readonly path: string,
  ) {
    this.out = context.config.root;
  }

  static async open(
    engine: Engine,
    s3: FakeS3,
    change: Partial<MirrorConfig> = {},
    path = mkdtempSync("/tmp/dvm-"),
  ): Promise<MirrorInProcess> {
    const warnings: string[] = [];
    const config: MirrorConfig = {
      ...{ name: "test", bucket: "bucket", prefix: "", root: join(path, "out") },
      ...{ intervalMs: 1_000, reconcileMs: 3_600_000, reportUrls: [], reportSecret: undefined },
      ...{ database: join(path, "data/sync.db"), dataDir: join(path, "data") },
      ...{ backup: undefined, backupEndpoint: undefined, most: { percent: 100 } },
      request: {
        ...{ directory: path, stateDir: join(path, "state"), carriedBy: "process", label: "mirror test" },
        terms: { retries: 5, backoffFactor: 1 }, // the last removal in a directory may race a copy into it
        s3: { endpoint: s3.endpoint },
      },
      ...change,
    };
    const context = await openMirror({
      ...{ engine, config, startPool: startLocalPool, keepRuns: 1_000 },
      tell: () => {},
      warn: (message) => warnings.push(message),
    });
    const mirror = new MirrorInProcess(s3, context, path);
    mirror.warnings.push(...warnings);
    return mirror;
  }

  async holding<T>(use: (holding: Holding) => Promise<T>): Promise<T> {
    const { signal: stop } = new AbortController();
    const { engine, config } = this.context;
    return (await whileHolding(engine, config.name, { stop, wait: () => {} }, use)) as T;
  }

  async sync(kind: keyof typeof SYNCS): Promise<SyncReport> {
    return await this.holding((holding) => SYNCS[kind](this.context, holding));
  }

  /** An event in its envelope. @param timeMs default: now. */
  event(type: string, data: Record<string, unknown>, timeMs = Date.now()): string {
    return JSON.stringify({
      ...{ specversion: "1.0", id: `e${++this.#events}`, source: "test", type: `drover.mirror.${type}` },
      ...{ time: new Date(timeMs).toISOString(), data },
    });
  }

  async tell(...events: string[]): Promise<void> {
    await this.context.stream.add(events);
  }

  /** Content by name at the destination. */
  tree(): Record<string, string> {
    return Object.fromEntries(
      filesBelow(this.out).map((path) => [path.slice(this.out.length + 1), readFileSync(path, "utf8")]),
    );
  }

  /** Content by key at the source. */
  source(): Record<string, string> {
    return Object.fromEntries(this.s3.keys.map((key) => [key, String(this.s3.stored(key)?.content)]));
  }
}

interface Fixtures {
  s3: FakeS3;
  engine: Engine;
  mirror: MirrorInProcess;
}

export const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    const s3 = await FakeS3.start();
    const before = { ...process.env };
    Object.assign(process.env, s3.env, { AWS_ENDPOINT_URL_S3: "" });
    await use(s3);
    for (const name of Object.keys(s3.env)) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
    await s3.stop();
  },
  engine: async ({ server, redis, keys }, use) => {
    const ledger = new Ledger(redis, keys, PROCESS_NAME);
    await use({ redis, keys, ledger, address: server.address, close() {} });
  },
  mirror: async ({ engine, s3 }, use) => {
    const mirror = await MirrorInProcess.open(engine, s3);
    await use(mirror);
    rmSync(mirror.path, { recursive: true, force: true });
  },
});

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SyncOptions } from "@drover/cli/library-sync";
import type { Engine } from "@drover/shared/engine";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Ledger } from "@drover/shared/protocol/ledger";
import { filesBelow } from "./drover.js";
import { FakeS3 } from "./fake-s3.js";
import { it as base } from "./redis.js";

/** Directories of a test, and a program's cache. */
export class Ground {
  readonly root = mkdtempSync("/tmp/dsa-");
  #atMs = Date.now() - 3_600_000;

  constructor(
    /** What every sync of the test is given. */
    readonly options: SyncOptions,
    readonly s3: FakeS3,
  ) {}

  path(...names: string[]): string {
    return join(this.root, ...names);
  }

  /** Writes a file below the root. */
  write(name: string, content: string | Buffer): void {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }

  read(name: string): string {
    return readFileSync(this.path(name), "utf8");
  }

  /** Content by name of a directory, without what is Drover's own. */
  tree(directory: string): Record<string, string> {
    const root = this.path(directory);
    const paths = filesBelow(root).filter((path) => !path.includes("/.drover-"));
    return Object.fromEntries(paths.map((path) => [path.slice(root.length + 1), readFileSync(path, "utf8")]));
  }

  /** Puts an object that is newer than all before it, and older than every local file. */
  put(key: string, content: string): void {
    this.#atMs += 10_000;
    this.s3.put(key, content, {}, new Date(this.#atMs));
  }

  /** Content by key of the bucket, without what is Drover's own. */
  bucket(): Record<string, string> {
    const keys = this.s3.keys.filter((key) => !key.startsWith(".drover-"));
    return Object.fromEntries(keys.map((key) => [key, String(this.s3.stored(key)?.content)]));
  }
}

interface Fixtures {
  s3: FakeS3;
  engine: Engine;
  ground: Ground;
}

export const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    const s3 = await FakeS3.start();
    const before = { ...process.env };
    Object.assign(process.env, s3.env);
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
  ground: async ({ engine, server, s3 }, use) => {
    const { address } = server;
    const cache = "url" in address ? address.url : `unix://${address.socketPath}`;
    const ground = new Ground({ engine, cache }, s3);
    ground.options.stateDir = ground.path("state");
    for (const name of ["state", "templates", "settings"]) mkdirSync(ground.path(name));
    await engine.redis.flushdb();
    await use(ground);
    rmSync(ground.root, { recursive: true, force: true });
  },
});

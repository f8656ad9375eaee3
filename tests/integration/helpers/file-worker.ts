import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TransferJob } from "@drover/shared/job";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Flights } from "@drover/shared/protocol/flights";
import { HostBreakers } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http/client";
import { HttpSource } from "@drover/shared/storage/http/source";
import { LocalSource } from "@drover/shared/storage/local/source";
import type { LocalTree } from "@drover/shared/storage/local/tree";
import { openTree, storageOf } from "@drover/shared/storage/registry";
import { S3CopySource } from "@drover/shared/storage/s3/copy-source";
import type { CustomerKey, S3Keys } from "@drover/shared/storage/s3/object/customer-key";
import { parseS3 } from "@drover/shared/storage/s3/object/name";
import type { S3ObjectOptions } from "@drover/shared/storage/s3/object/object-options";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import type { S3Spec } from "@drover/shared/storage/s3/service/spec";
import { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Source } from "@drover/shared/storage/source";
import type { Tree } from "@drover/shared/storage/tree";
import type { RunContext } from "@drover/worker/attempt/context";
import type { AttemptResult } from "@drover/worker/attempt/delivery";
import { Leases } from "@drover/worker/attempt/leases";
import type { Terms } from "@drover/worker/attempt/terms";
import { BufferPool } from "@drover/worker/bytes/buffer-pool";
import { RateLimiter } from "@drover/worker/bytes/rate-limiter";
import { StallWatchdog } from "@drover/worker/bytes/stall-watchdog";
import type { Destination } from "@drover/worker/destinations/destination";
import { LocalDestination } from "@drover/worker/destinations/local/destination";
import { S3Destination, type S3DestinationOptions } from "@drover/worker/destinations/s3/destination";
import { perform } from "@drover/worker/operations/index";
import type { Redis } from "ioredis";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { it as base } from "../../harness/redis.js";
import { FAR_PROCESS, Member, queued } from "./fleet.js";

/** Opens the destination of a worker, with what it may need of its process. */
export type OpenDestination = (
  process: { http: HttpClient } & Pick<
    S3DestinationOptions,
    "redis" | "keys" | "leases" | "bufferPool" | "onError"
  >,
) => { tree: Tree; destination: Destination };

export interface FileWorkerOptions extends Partial<Terms> {
  /** Name of the process, as Redis sees it. */
  owner?: string;
  headers?: Record<string, string>;
  bytesPerSecond?: number;
  /** Id of an existing run to continue. */
  runId?: string;
  wrap?: (source: Source) => Source;
  /** Service of an s3:// root and of s3:// sources. */
  s3?: S3Spec;
  /** What the objects of an s3:// root are to have. */
  objects?: S3ObjectOptions;
  /** Keys that the objects of sources and of the root are encrypted with. */
  keysOf?: S3Keys;
  /** Size in bytes above which objects are copied in parts. */
  mostCopyBytes?: number;
  /** `s3://bucket/prefix` where removed files are kept. */
  backup?: string;
  /** Opens the destination. Defaults to what the root names. */
  open?: OpenDestination;
}

/** A worker without a queue: carries the files of one run to one tree. */
export class FileWorker {
  readonly #client: HttpClient;
  readonly #deliveries = new Map<string, number>();
  readonly #indexes = new Map<string, number>();
  readonly #others: FileWorker[] = [];
  /** Called with errors that do not belong to a file. */
  onError = (error: Error): void => {
    throw error;
  };
  #batch = 0;

  private constructor(
    readonly member: Member,
    readonly runId: string,
    readonly context: RunContext & { tree: Tree },
    client: HttpClient,
  ) {
    this.#client = client;
  }

  static async make(
    redis: Redis,
    keys: Keys,
    root: string,
    options: FileWorkerOptions = {},
  ): Promise<FileWorker> {
    const {
      owner = PROCESS_NAME,
      headers = {},
      bytesPerSecond,
      runId,
      wrap,
      s3,
      objects,
      keysOf = {},
      mostCopyBytes,
      backup,
      open,
      ...over
    } = options;
    const member = new Member(redis, keys, owner);
    const timeoutMs = over.timeoutMs ?? 10_000;
    const client = new HttpClient({ timeoutMs, connections: 16 });
    const clientOf = (key: CustomerKey | undefined) =>
      s3 && new S3Client(client, s3, async () => ({ accessKeyId: "A", secretAccessKey: "S" }), key);
    const s3Client = clientOf(keysOf.destination);
    const readingClient = clientOf(keysOf.source);
    const sources: Record<string, (location: string) => Source> = {
      s3: (location) => new S3CopySource(readingClient as S3Client, parseS3(location)),
      local: (location) => new LocalSource(location),
      http: (location) => new HttpSource(client, location, headers),
    };
    const plain = ({ s }: TransferJob): Source =>
      (sources[storageOf(s).name] as (location: string) => Source)(s);
    const terms: Terms = {
      retries: 5,
      backoffFactor: 1.5,
      jitter: "full",
      timeoutMs,
      rules: { threshold: 50, ttlMs: 60_000, probeMs: 10_000 },
      breakerWaitMs: 60_000,
      openWhenSpent: false,
      whenBusy: "wait",
      maxFileSizeBytes: undefined,
      resume: true,
      streams: 16,
      durable: false,
      ...over,
    };
    const services = { root, ...(s3 ? { s3 } : {}) };
    const leases = new Leases(member.admission);
    const onError = (error: Error) => fileWorker.onError(error);
    const shared = { redis, keys, leases, bufferPool: new BufferPool(64 << 20), onError };
    const openRoot: OpenDestination = () => {
      const tree = openTree(services);
      if (!(tree instanceof S3Tree)) return { tree, destination: new LocalDestination(tree as LocalTree) };
      const destination = new S3Destination({
        ...shared,
        tree,
        spec: { root, s3, s3Keys: keysOf, ...(objects ? { s3Objects: objects } : {}) } as RunSpec,
        client: s3Client as S3Client,
        ...(mostCopyBytes === undefined ? {} : { mostCopyBytes }),
        ...(backup === undefined ? {} : { backup: new S3Tree(backup, s3 as S3Spec) }),
      });
      return { tree, destination };
    };
    const { tree, destination } = (open ?? openRoot)({ http: client, ...shared });
    const id = runId ?? (await member.newRun());
    const context: RunContext & { tree: Tree } = {
      runId: id,
      keepsOutcomes: false,
      flights: new Flights(id, { ...services, fleet: false } as RunSpec),
      admission: member.admission,
      leases,
      watchdog: new StallWatchdog(timeoutMs),
      limiter: new RateLimiter(bytesPerSecond),
      tree,
      destination,
      services,
      terms,
      breakers: new HostBreakers(terms.breakerWaitMs, terms.rules.probeMs),
      source: (job) => (wrap ? wrap(plain(job)) : plain(job)),
    };
    const fileWorker: FileWorker = new FileWorker(member, context.runId, context, client);
    return fileWorker;
  }

  /** Registers a file with the run. */
  async add(name: string, source: string): Promise<void> {
    const [answer] = await this.member.backlog.enqueue(this.runId, ++this.#batch, "", [
      queued(this.runId, source, name),
    ]);
    if (answer?.is !== "index") throw new Error(`not registered: ${JSON.stringify(answer)}`);
    this.#indexes.set(name, answer.index);
  }

  /** One delivery of a file's job, which is registered if needed. */
  once(
    name: string,
    source: string,
    over: { sha256?: string; attempt?: number } = {},
  ): Promise<AttemptResult> {
    const carrying = this.#once(name, source, over);
    carrying.catch(() => {}); // a test that fails before it awaits this must not fail again for it
    return carrying;
  }

  async #once(
    name: string,
    source: string,
    over: { sha256?: string; attempt?: number },
  ): Promise<AttemptResult> {
    if (!this.#indexes.has(name)) await this.add(name, source);
    const started = (this.#deliveries.get(name) ?? 0) + 1;
    this.#deliveries.set(name, started);
    const job: TransferJob = { i: this.#indexes.get(name) as number, s: source, d: name };
    if (over.sha256 !== undefined) job.x = over.sha256;
    return await perform(
      { job, attempt: over.attempt ?? started, sinceMs: Date.now(), releaseSlot() {} },
      this.context,
    );
  }

  /** One delivery of a job that removes a file, which is registered if needed. */
  async removal(name: string, version: string): Promise<AttemptResult> {
    if (!this.#indexes.has(name)) await this.add(name, name);
    const started = (this.#deliveries.get(name) ?? 0) + 1;
    this.#deliveries.set(name, started);
    const index = this.#indexes.get(name) as number;
    const job: TransferJob = { op: "remove", i: index, s: name, d: name, v: version };
    return await perform({ job, attempt: started, sinceMs: Date.now(), releaseSlot() {} }, this.context);
  }

  /** Delivers a job again and again until it is settled, like a queue but without delays. */
  async through(name: string, source: string, over: { sha256?: string } = {}) {
    for (let attempt = 1; attempt < 20; attempt++) {
      const result = await this.once(name, source, { ...over, attempt });
      if (result.is === "settled") return result.outcome;
      if (result.is !== "retry")
        throw new Error(`neither settled nor to be tried again: ${JSON.stringify(result)}`);
    }
    throw new Error(`${name} was not settled`);
  }

  /** Another worker of the same run, apparently on another machine. */
  async other(options: FileWorkerOptions = {}): Promise<FileWorker> {
    const { redis, keys } = this.member;
    const { s3 } = this.context.services;
    const same = { ...this.context.terms, owner: FAR_PROCESS, runId: this.runId, ...(s3 ? { s3 } : {}) };
    const fileWorker = await FileWorker.make(redis, keys, this.context.tree.root, { ...same, ...options });
    for (const [name, index] of this.#indexes) fileWorker.#indexes.set(name, index);
    fileWorker.#batch = this.#batch;
    this.#others.push(fileWorker);
    return fileWorker;
  }

  async counts() {
    return await this.member.ledger.counts(this.runId);
  }

  async close(): Promise<void> {
    for (const other of this.#others) await other.close();
    this.context.leases.close();
    this.context.watchdog.close();
    this.context.destination.close();
    this.context.tree.close();
    await this.#client.close();
  }
}

/** The directory of one test. */
export class Space {
  readonly path = mkdtempSync(join(tmpdir(), "drover-carry-"));
  /** Root of the destination tree. */
  readonly root = join(this.path, "root");

  at(...names: string[]): string {
    return join(this.path, ...names);
  }

  to(name: string): string {
    return join(this.root, name);
  }

  read(name: string): string | undefined {
    return existsSync(this.to(name)) ? readFileSync(this.to(name), "utf8") : undefined;
  }

  /** All entries below the root except directories. */
  files(): string[] {
    return readdirSync(this.root, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.root.length + 1))
      .sort();
  }

  /** Remaining staging files. */
  staged(): string[] {
    return this.files().filter((name) => /(^|\/)\.drover-/.test(name));
  }
}

interface Fixtures {
  space: Space;
  origin: FaultOrigin;
  /** Makes workers for the test's root; they are closed with the test. */
  make: (options?: FileWorkerOptions) => Promise<FileWorker>;
  fileWorker: FileWorker;
}

export const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  space: async ({}, use) => {
    const space = new Space();
    await use(space);
    rmSync(space.path, { recursive: true, force: true });
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  origin: async ({}, use) => {
    const origin = await FaultOrigin.start();
    await use(origin);
    await origin.stop();
  },
  make: async ({ redis, keys, space }, use) => {
    const made: FileWorker[] = [];
    await use(async (options) => {
      const fileWorker = await FileWorker.make(redis, keys, space.root, options);
      made.push(fileWorker);
      return fileWorker;
    });
    for (const fileWorker of made) await fileWorker.close();
  },
  fileWorker: async ({ make }, use) => use(await make()),
});

import { TransferError } from "@drover/shared/errors";
import { hostOf, type TransferJob } from "@drover/shared/job";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Admission, flightHash, flightOf } from "@drover/shared/protocol/admission";
import { type HostBreakers, probeMsOf } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import type { RunSpec } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http/client";
import { HttpSource } from "@drover/shared/storage/http/source";
import { LocalSource } from "@drover/shared/storage/local/source";
import type { LocalTree } from "@drover/shared/storage/local/tree";
import { destinationService, openTree } from "@drover/shared/storage/open-tree";
import { S3Client } from "@drover/shared/storage/s3/client";
import { S3CopySource } from "@drover/shared/storage/s3/copy-source";
import { credentialsOf } from "@drover/shared/storage/s3/credentials";
import { isS3, parseS3 } from "@drover/shared/storage/s3/name";
import { S3Source } from "@drover/shared/storage/s3/source";
import { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Redis } from "ioredis";
import type { BufferPool } from "../bytes/buffer-pool.js";
import { RateLimiter } from "../bytes/rate-limiter.js";
import { StallWatchdog } from "../bytes/stall-watchdog.js";
import { LocalDestination } from "../destinations/local/destination.js";
import { S3Destination } from "../destinations/s3/destination.js";
import type { RunContext } from "./context.js";
import type { Leases } from "./leases.js";
import type { ResumeRecord } from "./resume-record.js";

/** To one origin: a large file comes in several pieces at once. */
const CONNECTIONS_PER_FILE = 4;

export interface RunContextOptions {
  redis: Redis;
  keys: Keys;
  runId: string;
  spec: RunSpec;
  /** The person's request headers. */
  headers: Record<string, string>;
  /** Files that are carried at once. */
  filesAtOnce: number;
  bytesPerSecond: number | undefined;
  leases: Leases;
  breakers: HostBreakers;
  /** Memory for uploads, of all runs and files of this thread. */
  bufferPool: BufferPool;
  receiving(job: TransferJob, record: ResumeRecord): void;
  onError(error: Error): void;
}

/** Everything that the files of one run need in this process; to be closed. */
export function openRunContext(options: RunContextOptions): { context: RunContext; close(): Promise<void> } {
  const { redis, keys, runId, spec, headers } = options;
  const probeMs = probeMsOf(spec);
  const ledger = new Ledger(redis, keys, PROCESS_NAME);
  const connections = options.filesAtOnce * CONNECTIONS_PER_FILE;
  const http = new HttpClient({ timeoutMs: spec.timeoutMs, connections });
  const secretSource = async (job: TransferJob) => {
    const url = await ledger.secretSource(runId, flightHash(runId, job.s, job.d, 0));
    if (url !== undefined) return new HttpSource(http, url, headers);
    const why = "the credentials of this run have expired: start a new sync";
    throw new TransferError("credentials", why, { permanent: true });
  };
  let s3: S3Client | undefined;
  const s3Destination = (tree: S3Tree) => {
    const service = destinationService(spec);
    const client = new S3Client(http, service, credentialsOf(service));
    const { leases, bufferPool, onError } = options;
    const backup = spec.delete?.backupDir;
    return new S3Destination({
      ...{ tree, spec, client, redis, keys, leases, bufferPool, onError },
      ...(backup === undefined ? {} : { backup: new S3Tree(backup, service) }),
    });
  };
  const s3Source = (job: TransferJob) => {
    if (!spec.s3) throw new TransferError("unsupported", "this run has no S3 settings", { permanent: true });
    s3 ??= new S3Client(http, spec.s3, credentialsOf(spec.s3));
    const name = parseS3(job.s);
    // A checksum that the person gives can only be held against bytes that come by.
    if (isS3(spec.root) && !spec.s3Destination && job.x === undefined) return new S3CopySource(s3, name);
    return new S3Source(s3, name);
  };
  const tree = openTree(spec);
  const context: RunContext = {
    runId,
    fleet: spec.fleet,
    admission: new Admission(redis, keys, PROCESS_NAME, probeMs, options.filesAtOnce),
    leases: options.leases,
    watchdog: new StallWatchdog(spec.timeoutMs),
    limiter: new RateLimiter(options.bytesPerSecond),
    tree,
    destination:
      tree instanceof S3Tree
        ? s3Destination(tree)
        : new LocalDestination(tree as LocalTree, spec.delete?.backupDir),
    root: spec.root,
    s3: spec.s3,
    s3Destination: spec.s3Destination,
    terms: {
      ...spec,
      rules: { threshold: spec.circuitThreshold, ttlMs: spec.circuitTtlMs, probeMs },
      maxFileSizeBytes: spec.maxFileSizeBytes,
    },
    breakers: options.breakers,
    flight: (job, lease) => flightOf(runId, spec, job, lease),
    receiving: options.receiving,
    source: (job) => {
      if (isS3(job.s)) return s3Source(job);
      if (hostOf(job.s) === "") return new LocalSource(job.s);
      return job.k === 1 ? secretSource(job) : new HttpSource(http, job.s, headers);
    },
  };
  return {
    context,
    async close() {
      context.watchdog.close();
      context.destination.close();
      await http.close();
      context.tree.close();
    },
  };
}

import { TransferError } from "@drover/shared/errors";
import type { TransferJob } from "@drover/shared/job";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Admission } from "@drover/shared/protocol/admission";
import { Flights } from "@drover/shared/protocol/flights";
import { type HostBreakers, probeMsOf } from "@drover/shared/protocol/host-breakers";
import type { Keys } from "@drover/shared/protocol/keys";
import { SecretStore } from "@drover/shared/protocol/secret-store";
import { type RunSpec, rootsWritten, suffixBeside } from "@drover/shared/run";
import { HttpClient } from "@drover/shared/storage/http/client";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { destinationOf, openTree, storageOf } from "@drover/shared/storage/registry";
import { type CustomerKeyTexts, withCustomerKeys } from "@drover/shared/storage/s3/object/customer-key";
import type { Source } from "@drover/shared/storage/source";
import type { Sources, SourcesOptions, Storage } from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";
import type { Redis } from "ioredis";
import type { RunContext } from "../attempt/context.js";
import type { Leases } from "../attempt/leases.js";
import type { ResumeRecord } from "../attempt/resume-record.js";
import type { BufferPool } from "../bytes/buffer-pool.js";
import { RateLimiter } from "../bytes/rate-limiter.js";
import { StallWatchdog } from "../bytes/stall-watchdog.js";
import type { Refuse } from "../destinations/destination.js";
import { RefusedDestination } from "../destinations/refused.js";
import { openDestination } from "../destinations/registry.js";
import { openPair } from "../pair/pair-context.js";

/** Connections per file and origin, besides those of the streams of one large file. */
const CONNECTIONS_PER_FILE = 4;
/** Why a file fails whose secrets are not there any more. */
const EXPIRED = "the credentials of this run have expired: start a new sync";
/** Streams of one large file, where its run says nothing else. */
const STREAMS = 16;

export interface RunContextOptions {
  redis: Redis;
  keys: Keys;
  runId: string;
  spec: RunSpec;
  /** The user's request headers. */
  headers: Record<string, string>;
  /** Keys of the user that objects are encrypted with. Default: none. */
  customerKeys?: CustomerKeyTexts | undefined;
  /** Files that are carried at once. */
  filesAtOnce: number;
  bytesPerSecond: number | undefined;
  leases: Leases;
  breakers: HostBreakers;
  /** Memory for uploads, shared by all runs and files of this thread. */
  bufferPool: BufferPool;
  /** Why this worker must not carry the run's files. Undefined, which is the default, if it may. */
  refused?: TransferError | undefined;
  /** Why this worker must not write below a root. By default it may write everywhere. */
  refuse?: Refuse;
  /** Where the URLs of a guarded run may lead. By default to public addresses alone. */
  guard?: AddressGuard;
  receiving(job: TransferJob, record: ResumeRecord): void;
  onError(error: Error): void;
}

/** Opens everything that the files of one run share in this process. The caller closes it. */
export function openRunContext(given: RunContextOptions): { context: RunContext; close(): Promise<void> } {
  const spec = withCustomerKeys(given.spec, given.customerKeys);
  const options = { ...given, spec, refused: given.refused ?? refusedWithoutKey(spec) };
  const { redis, keys, runId, headers } = options;
  const probeMs = probeMsOf(spec);
  const flights = new Flights(runId, spec);
  const secrets = new SecretStore(redis, keys);
  const streams = spec.streams ?? STREAMS;
  const connections = options.filesAtOnce * CONNECTIONS_PER_FILE + streams;
  const { timeoutMs, userAgent } = spec;
  const guard = spec.guarded ? (options.guard ?? new AddressGuard()) : undefined;
  const http = new HttpClient({ timeoutMs, connections, userAgent, guard });
  const secretLocation = async (job: TransferJob) => {
    const location = await secrets.source(runId, flights.secretOf(job));
    if (location !== undefined) return location;
    throw new TransferError("credentials", EXPIRED, { permanent: true });
  };
  const opened = openAllowed(options);
  const place =
    opened instanceof TransferError
      ? {
          tree: destinationOf(spec.root).namesOf(spec.root, spec),
          destination: new RefusedDestination(opened),
          refused: opened,
        }
      : { tree: opened, destination: openDestination({ ...options, tree: opened, http }) };
  const keptSuffix = suffixBeside(spec);
  const isPair = spec.pair !== undefined && !(opened instanceof TransferError);
  const pair = isPair ? openPair({ ...options, http }) : undefined;
  const context: RunContext = {
    runId,
    traceparent: spec.traceparent,
    flights,
    admission: new Admission(redis, keys, PROCESS_NAME, probeMs, options.filesAtOnce),
    leases: options.leases,
    watchdog: new StallWatchdog(spec.timeoutMs),
    limiter: new RateLimiter(options.bytesPerSecond),
    ...place,
    services: spec,
    terms: {
      ...spec,
      rules: { threshold: spec.circuitThreshold, ttlMs: spec.circuitTtlMs, probeMs },
      maxFileSizeBytes: spec.maxFileSizeBytes,
      streams,
    },
    keepsOutcomes: (spec.keepOutcomes?.most ?? 0) > 0,
    breakers: options.breakers,
    ...(keptSuffix === undefined ? {} : { keptSuffix }),
    ...(pair ? { pair } : {}),
    receiving: options.receiving,
    source: sourceOpener({ http, spec, headers, secretLocation }),
  };
  return {
    context,
    async close() {
      context.watchdog.close();
      context.destination.close();
      await pair?.close();
      await http.close();
      if (!(opened instanceof TransferError)) opened.close();
    },
  };
}

/** Nothing may be written unencrypted because a key is not there any more. */
function refusedWithoutKey({ s3CustomerKeys = [], s3Keys }: RunSpec): TransferError | undefined {
  if (s3CustomerKeys.every((which) => s3Keys?.[which])) return undefined;
  return new TransferError("credentials", EXPIRED, { permanent: true });
}

/**
 * Opens the tree of a run, unless this worker must not write there: then nothing is opened or made. What was opened is
 * looked at again, because a link may have appeared on the way to it.
 *
 * @returns the tree, or why it is refused or cannot be opened.
 * @throws TransferError if it cannot be opened for now.
 */
function openAllowed({ spec, refused, refuse = () => undefined }: RunContextOptions): Tree | TransferError {
  let why = refused;
  for (const root of rootsWritten(spec)) why ??= refuse(root);
  if (why) return why;
  let tree: Tree;
  try {
    tree = openTree(spec);
  } catch (error) {
    if (error instanceof TransferError && error.permanent) return error;
    throw error;
  }
  why = refuse(tree.root);
  if (!why) return tree;
  tree.close();
  return why;
}

/** Makes the function that opens a run's sources. The code of a storage is loaded for its first file. */
function sourceOpener(options: SourcesOptions): RunContext["source"] {
  const opened = new Map<Storage, Sources>();
  const openFirst = async (storage: Storage, job: TransferJob): Promise<Source> => {
    const sources = (await storage.loadSources())(options);
    if (!opened.has(storage)) opened.set(storage, sources);
    return (opened.get(storage) as Sources).open(job);
  };
  return (job) => {
    const storage = storageOf(job.s);
    return opened.get(storage)?.open(job) ?? openFirst(storage, job);
  };
}

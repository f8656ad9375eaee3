/**
 * Names of every key. All of a fleet's keys share one hash tag, so that a script may touch any of them on a Redis
 * Cluster. The namespace (default `{drover}`) is the fleet.
 */
export class Keys {
  constructor(readonly namespace = "{drover}") {}

  /** Sorted set of run ids by start time. */
  runs = () => `${this.namespace}:runs`;
  /** Hash: state, spec and counts of a run. */
  run = (id: string) => `${this.namespace}:run:${id}`;
  /** Bitmap of settled files of a run: the truth about what is done. */
  done = (id: string) => `${this.namespace}:run:${id}:done`;
  /** Bitmap of the files of a run with one outcome other than `copied`. */
  outcome = (id: string, outcome: string) => `${this.namespace}:run:${id}:is:${outcome}`;
  /** Hash index → file and error, of what did not succeed. */
  failed = (id: string) => `${this.namespace}:run:${id}:failed`;
  /** Hash chunk id → packed files that are not in BullMQ yet. */
  backlog = (id: string) => `${this.namespace}:run:${id}:backlog`;
  /** Hash flight → source with its secrets; and `headers` and `sources` of the command line; expires. */
  secrets = (id: string) => `${this.namespace}:run:${id}:secrets`;
  /** Hashes destination → source, so that two files of a run never share a destination. */
  claims = (id: string, bucket: number) => `${this.namespace}:run:${id}:claim:${bucket}`;
  /** Who waits for a file; one key per open file, hence the short name. */
  flight = (hash: string) => `${this.namespace}:f:${hash}`;
  lease = (hash: string) => `${this.namespace}:lease:${hash}`;
  breaker = (host: string) => `${this.namespace}:breaker:${host}`;
  /** Hash: limits of a host for the whole fleet, see limits.lua.ts; files on their way; files that were given a turn. */
  limit = (host: string) => `${this.namespace}:limit:${host}`;
  slots = (host: string) => `${this.namespace}:slots:${host}`;
  turns = (host: string) => `${this.namespace}:turns:${host}`;
  /** Hash relative path → last committed version, of one part of a destination tree. */
  catalog = (tree: string, bucket: number) => `${this.namespace}:c:${tree}:${bucket}`;
  /** Hash id of a destination tree → its root. */
  catalogTrees = () => `${this.namespace}:catalog`;
  /** Sorted set of objects of a destination tree that a multipart upload was begun for, by when it was (ms). */
  uploads = (tree: string) => `${this.namespace}:uploads:${tree}`;
  /** Hash key of an object that a service is tried with below a destination tree → who tries, and since when (ms). */
  probes = (tree: string) => `${this.namespace}:probes:${tree}`;
  /** Hash: what is known of an S3 service; expires. */
  service = (endpoint: string) => `${this.namespace}:s3:${endpoint}`;
  /** Stream of outcomes of a run that somebody follows; what all have read is trimmed. And who has read how far. */
  outcomes = (id: string) => `${this.namespace}:run:${id}:outcomes`;
  followers = (id: string) => `${this.namespace}:run:${id}:followers`;
  /** Hash chunk id → packed files that are in BullMQ. */
  inFlight = (id: string) => `${this.namespace}:run:${id}:flying`;
  /** Set of the fleet's runs that are not done. */
  active = () => `${this.namespace}:active`;
  /** Sorted set of workers by when they last said something (ms), and what each says of itself, which expires. */
  workers = () => `${this.namespace}:workers`;
  worker = (id: string) => `${this.namespace}:worker:${id}`;
  /** The worker that dispatches and sweeps. */
  leader = () => `${this.namespace}:leader`;
  /** The fleet's queue. */
  fleetQueue = () => "fleet";
  /** BullMQ's prefix and the queue of a run that one process serves by itself. */
  queuePrefix = () => `${this.namespace}:q`;
  queue = (runId: string) => runId;
}

/** Number of hashes that the claims of one run are spread over: small hashes stay in Redis's compact encoding. */
export const CLAIM_BUCKETS = 2048;
/**
 * The same for the catalog of one tree. A million files are 244 to a hash, which is compact and quick to search; ten
 * million outgrow the compact encoding and take a fifth more each, and ten thousand pay as much for the hashes.
 */
export const CATALOG_BUCKETS = 4096;

/** Which of `buckets` hashes a name falls into. */
export function bucketOf(name: string, buckets: number): number {
  let sum = 0;
  for (let at = 0; at < name.length; at++) sum = (Math.imul(sum, 31) + name.charCodeAt(at)) | 0;
  // Names that differ in a digit differ in the low bits alone: mixed as MurmurHash3 does at its end.
  sum = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
  sum = Math.imul(sum ^ (sum >>> 13), 0xc2b2ae35);
  return ((sum ^ (sum >>> 16)) >>> 0) % buckets;
}

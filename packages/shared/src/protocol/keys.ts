/**
 * Names of every key. All of a fleet's keys share one hash tag, so that a script may touch any of them on a Redis
 * Cluster. The namespace (default `{drover}`) is the fleet. Fields of the hashes are in fields.ts.
 */
export class Keys {
  constructor(readonly namespace = "{drover}") {}

  /** Number of the format of all records, see format.ts. */
  format = () => `${this.namespace}:format`;
  /** Sorted set of run ids by start time. */
  runs = () => `${this.namespace}:runs`;
  /**
   * Sorted sets of run ids, of which each run is in one: those that have not ended, by their start (ms); and by their end
   * (ms) syncs that went well, syncs that did not, fetches that went well, and fetches that did not.
   */
  runIndexes = () =>
    ["open", "ended:sync", "ended:sync:failed", "ended:fetch", "ended:fetch:failed"].map(
      (name) => `${this.namespace}:runs:${name}`,
    );
  /** Hash of a run: its state, its spec and some counts. */
  run = (id: string) => `${this.namespace}:run:${id}`;
  /** Bitmap of the files of a run that have ended, by index: the truth about what is done. */
  done = (id: string) => `${this.namespace}:run:${id}:done`;
  /** Bitmap of the files of a run with one outcome other than `copied`. */
  outcome = (id: string, outcome: string) => `${this.namespace}:run:${id}:is:${outcome}`;
  /** Hash of what did not succeed: index → job, error, attempts and host (JSON). */
  failed = (id: string) => `${this.namespace}:run:${id}:failed`;
  /** Hash of how much did not succeed: class of the error and host → number of files. */
  failureGroups = (id: string) => `${this.namespace}:run:${id}:failed:groups`;
  /** Hash of the files that are not in BullMQ yet: chunk id → files (JSON). */
  backlog = (id: string) => `${this.namespace}:run:${id}:backlog`;
  /** Hash of the chunks that are in BullMQ, as in the backlog. */
  inFlight = (id: string) => `${this.namespace}:run:${id}:flying`;
  /** Hash of a fleet's files that another run carries for this one too: chunk id → files, as in the backlog. */
  joined = (id: string) => `${this.namespace}:run:${id}:joined`;
  /** Hash of a run's secrets: flight → source with its secrets, and those of the command line. It expires. */
  secrets = (id: string) => `${this.namespace}:run:${id}:secrets`;
  /** Hashes of claims: destination → source, so that two files of a run never share a destination. */
  claims = (id: string, bucket: number) => `${this.namespace}:run:${id}:claim:${bucket}`;
  /**
   * Stream of a run's outcomes. Whatever its followers have not read is kept, and the newest for those who ask later. It
   * expires.
   */
  outcomes = (id: string) => `${this.namespace}:run:${id}:outcomes`;
  /** Hash of those who follow a run: name → until when it is thought alive (ms) and the last id that it has read. */
  followers = (id: string) => `${this.namespace}:run:${id}:followers`;
  /** Set of the fleet's runs that are not done. */
  active = () => `${this.namespace}:active`;

  /** A file that is not done yet: the files of runs that wait for it. One key per open file, hence the short name. */
  flight = (hash: string) => `${this.namespace}:f:${hash}`;
  /** Hash of the lease on a destination. */
  lease = (hash: string) => `${this.namespace}:lease:${hash}`;
  /** Hash of a host's circuit breaker. */
  breaker = (host: string) => `${this.namespace}:breaker:${host}`;
  /** Hash of a host's limits for the whole fleet, and of how they are used. */
  limit = (host: string) => `${this.namespace}:limit:${host}`;
  /** Sorted set of the leases of files that are copied from a host, by when they expire (ms). */
  slots = (host: string) => `${this.namespace}:slots:${host}`;
  /** Sorted set of leases that have a turn at a host, by when it comes (ms). */
  turns = (host: string) => `${this.namespace}:turns:${host}`;

  /** Hashes of what is at a destination tree: relative path → last committed version. */
  catalog = (tree: string, bucket: number) => `${this.namespace}:c:${tree}:${bucket}`;
  /** Hash id of a destination tree → its root. */
  catalogTrees = () => `${this.namespace}:catalog`;
  /** Sorted set of objects of a destination tree that a multipart upload was begun for, by when it was (ms). */
  uploads = (tree: string) => `${this.namespace}:uploads:${tree}`;
  /** Hash of objects that a service is tried with below a destination tree: key → who tries, and since when (ms). */
  probes = (tree: string) => `${this.namespace}:probes:${tree}`;
  /** Hash of what is known of an S3 service. It expires. */
  service = (endpoint: string) => `${this.namespace}:s3:${endpoint}`;

  /** Sorted set of workers by when they last reported (ms). */
  workers = () => `${this.namespace}:workers`;
  /** What a worker reports of itself (JSON). It expires. */
  worker = (id: string) => `${this.namespace}:worker:${id}`;
  /** The worker that dispatches and sweeps for the fleet. It expires. */
  leader = () => `${this.namespace}:leader`;
  /**
   * List for those who scale the fleet: as long as there are units of files that workers could carry, see scaling.ts. Its
   * name is in the manifests of k8s/ too.
   */
  scaling = () => `${this.namespace}:scaling`;
  /** Set of files of the fleet's runs that are to be cancelled (JSON). */
  fileCancellations = () => `${this.namespace}:cancelling`;
  /** What waits in the fleet, as its leader counts it (JSON). It expires. */
  fleetState = () => `${this.namespace}:state`;
  /** Since when and by whom the fleet's dispatch is paused (JSON); absent while it is not. */
  dispatchPause = () => `${this.namespace}:paused`;
  /** The same for a pause by the clock. It expires when the window of dispatch opens. */
  dispatchWindow = () => `${this.namespace}:paused:clock`;
  /** Hash of the tokens that open the HTTP service: id → name, scopes and SHA-256 (JSON). */
  tokens = () => `${this.namespace}:tokens`;
  /** Hash of when they were last used (ms), by id. */
  tokensUsed = () => `${this.namespace}:tokens:used`;
  /** Login of a browser (JSON), by the hash of its id. It expires. */
  session = (hash: string) => `${this.namespace}:service:session:${hash}`;
  /** Stream of what was changed over the HTTP service, and by whom. */
  audit = () => `${this.namespace}:audit`;
  /** Hash of what the last periodic sync had to repair: run, when it ended (ms), files, and the lag (ms). */
  repairs = () => `${this.namespace}:service:repairs`;
  /** Is written so as to learn that all that was written before it is on disk. */
  mark = () => `${this.namespace}:service:mark`;
  /** Sorted set of runs that a server of the HTTP service expands, by when they were asked for (ms). */
  expanding = () => `${this.namespace}:service:expanding`;
  /** Hash of a request with an idempotency key, by a hash of who asked and the key. It goes with its run. */
  idempotency = (name: string) => `${this.namespace}:service:idempotency:${name}`;
  /** When the bucket of requests of a caller of the HTTP service is full again (µs). It expires. */
  requestRate = (caller: string) => `${this.namespace}:service:rate:${caller}`;
  /** Hash of the webhook of a run. */
  webhook = (id: string) => `${this.namespace}:run:${id}:webhook`;
  /** Where the webhook of a run leads, with its secret, once it has ended. It expires. */
  webhookTarget = (id: string) => `${this.namespace}:run:${id}:webhook:target`;
  /** Sorted set of runs whose webhooks wait for their ends, by when the runs began (ms). */
  webhooks = () => `${this.namespace}:service:webhooks`;

  /** Stream of events of storages that no server has made a run of yet. */
  events = () => `${this.namespace}:service:events`;
  /** Stream of notifications, or parts of them, that could not be understood or must not be acted on. */
  deadEvents = () => `${this.namespace}:service:events:dead`;
  /** Hash of how many events were accepted, ignored and dead so far. */
  eventCounts = () => `${this.namespace}:service:events:counts`;
  /** The server that makes runs of events. It expires. */
  eventsHolder = () => `${this.namespace}:service:events:holder`;

  /** What is kept of a mirror under one name: its parts are in packages/mirror/src/state/mirror-keys.ts. */
  mirror = (name: string, part: string) => `${this.namespace}:mirror:${name}:${part}`;

  /** Hash of pairs that are synced both ways: id → the pair (JSON), see pair/store.ts. Their ancestors are kept as a catalog is. */
  pairs = () => `${this.namespace}:pairs`;
  /** What is kept of a pair: its parts are in pair/store.ts. */
  pair = (id: string, part: string) => `${this.namespace}:pair:${id}:${part}`;

  /** The fleet's queue. */
  fleetQueue = () => "fleet";
  /** BullMQ's prefix of all queues. */
  queuePrefix = () => `${this.namespace}:q`;
  /** The queue of a run that one process serves by itself. */
  queue = (runId: string) => runId;
}

/**
 * The record of a lease outlives the lease by this time, in milliseconds, so that a successor knows its predecessor's
 * fence and what that staged.
 */
export const LEASE_RECORD_TTL_MS = 86_400_000;

/** Number of hashes that the claims of one run are spread over: small hashes stay in Redis's compact encoding. */
export const CLAIM_BUCKETS = 2048;
/**
 * Number of hashes that the catalog of one tree is spread over. A million files are 244 to a hash, which is compact
 * and quick to search; ten million outgrow the compact encoding and take a fifth more each, and ten thousand pay as
 * much for the hashes.
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

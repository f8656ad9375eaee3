/**
 * Names of the fields of the hashes in Redis, by what they mean. The keys of the hashes are in keys.ts. What stands
 * on the right is stored: changing it changes the format. Leases, limits and breakers have short names because there
 * is one hash per open file or per host. Times are Unix milliseconds by the clock of Redis, unless stated otherwise.
 */

/** A run. */
export const RUN = {
  /** Number of the format of its records, see format.ts. Absent from runs of earlier versions: 1. */
  format: "format",
  /** `running`, `done` or `cancelled`. */
  state: "state",
  /** Process that works on it, see process-name.ts; "" for none. */
  owner: "owner",
  /** Until when the owner of a fleet's run is thought alive. */
  ownerUntilMs: "ownerUntil",
  /** When it began, and when it ended or was cancelled, by the clock of the process that said so. */
  startedMs: "started",
  endedMs: "ended",
  /** `sync` or `fetch`. Absent in runs of earlier versions. */
  kind: "kind",
  /** What it was asked to do (JSON), see run.ts. */
  spec: "spec",
  /** Number of the last batch of files that was registered, and the answer to it (JSON). */
  batch: "batch",
  answer: "answer",
  /** Where the expansion of its sources stands (JSON). */
  cursor: "cursor",
  /** Files that are registered. */
  files: "files",
  /** Sum of the sizes of the files that arrived or were there already; and of those that were copied alone. */
  bytes: "bytes",
  copiedBytes: "copied",
  /** How often it was resumed or retried. */
  generation: "generation",
  /** `1` once all its files are registered. */
  sealed: "sealed",
  /** Why nothing was removed at the destination although it was asked for. */
  deletionRefused: "undeleted",
  /** When it is cancelled unless it has ended, after how many failures, and at which budgets (JSON, see run-budget.ts); absent without such limits. */
  deadlineMs: "deadline",
  stopAfterFailures: "stopAfter",
  budgets: "budgets",
  /** Why it was cancelled by itself. */
  stoppedBecause: "why",
  /** Until when its outcomes are kept for those who follow it. */
  followedUntilMs: "follow",
  /** How many of its outcomes are kept in any case, the newest; and for how long after it ended (ms). */
  keepOutcomes: "keep",
  keepOutcomesMs: "keepFor",
  /** Name of the record of the request that made it, where that had an idempotency key. */
  idempotency: "idem",
} as const;

/** The webhook of a run. */
export const WEBHOOK = {
  /** See `WebhookState` of webhooks.ts. */
  state: "state",
  /** Where it leads, without secrets. */
  url: "url",
  attempts: "attempts",
  /** Status of the last answer, and why the last try failed; or "". */
  status: "status",
  error: "error",
  /** Where it leads, its secret and its events (JSON); absent once it has ended: then it is kept apart for a while. */
  target: "target",
  /** How often the run was taken up again after an end that was noted; absent for never. */
  round: "round",
} as const;

/** A request with an idempotency key. */
export const IDEMPOTENCY = {
  /** SHA-256 of its body, hexadecimal. */
  request: "request",
  /** Who answers it; absent once it is answered. */
  claim: "claim",
  /** Body of the answer (JSON); absent until it is answered. */
  answer: "answer",
} as const;

/** Secrets of a run. The other fields are flights: each has the source of its file with its secrets. */
export const SECRETS = {
  /** Request headers of the command line (JSON). */
  headers: "headers",
  /** Sources of the command line with their secrets (JSON). */
  sources: "sources",
  /** Base URL of the list with its secrets; absent without one. */
  baseUrl: "base",
  /** A list that came with the request, until it is read. */
  list: "list",
  /** Users and passwords for URLs in the list (JSON); absent without any, and once the list is submitted. */
  logins: "logins",
  /** Keys that objects are encrypted with (JSON); absent without any. */
  customerKeys: "keys",
} as const;

/** An outcome in the stream of those that a run's followers read. */
export const OUTCOME_ENTRY = {
  /** Index of the file in its run. */
  index: "i",
  /** The outcome (JSON), see outcome.ts. */
  outcome: "o",
  /** How often the run had been resumed or retried then. Absent in those of earlier versions. */
  generation: "g",
} as const;

/** A lease on a destination. The record outlives the lease, for those who come next. */
export const LEASE = {
  /** Delivery of a job that holds it. */
  delivery: "d",
  /** When it expires unless it is renewed. */
  expiresMs: "e",
  /** Its fence, a number that only grows: microseconds by the clock of Redis, or one more than the fence before. */
  fence: "f",
  /** Process that holds it. */
  owner: "o",
  /** Hash of the source that is copied under it. */
  source: "s",
  /** Fences of predecessors whose staged bytes may still be there, separated by commas. */
  predecessors: "p",
  /** What is known of the staged bytes (JSON), or "". */
  staged: "m",
  /** `1` when it was given back in order. */
  released: "r",
  /** How many of its holders died. */
  crashes: "c",
} as const;

/** A host's circuit breaker. */
export const BREAKER = {
  /** See {@link BREAKER_STATE}; absent while it is closed. */
  state: "st",
  /** When an open one lets a probe through. */
  openUntilMs: "until",
  /** When it opened. */
  openedMs: "at",
  /** Number of its epoch. What was admitted in another epoch changes nothing any more. */
  epoch: "ep",
  /** Failures in a row, while it is closed. */
  failures: "n",
  /** How often it opened. */
  opens: "opens",
  /** When each of the three probes of a half-open one expires; absent where none is out. */
  probe1: "p1",
  probe2: "p2",
  probe3: "p3",
} as const;

/** States of a circuit breaker. */
export const BREAKER_STATE = {
  open: "o",
  /** Lets three probes through at a time: the first that ends well closes it, the first that fails opens it again. */
  halfOpen: "h",
} as const;

/** Limits of a host for the whole fleet; and, under the host `*`, of all hosts that have none of their own. */
export const HOST_LIMIT = {
  /** As a person set them: files at once, requests per second, bytes per second. */
  files: "c",
  requestsPerSecond: "r",
  bytesPerSecond: "b",
  /** Marks limits that a person set: they never expire. */
  set: "set",
  /** What is left of the first two since the host asked for less. They are gone when they have grown back. */
  adaptedFiles: "x",
  adaptedRequestsPerSecond: "y",
  /** When they were last halved. */
  halvedMs: "z",
  /** The host asked to be left alone until then. */
  notBeforeMs: "h",
  /** When the next request is due. */
  nextRequestMs: "n",
  /** The last turn that was given for want of a slot. */
  lastTurnMs: "t",
  /** How long a file takes, in milliseconds: moving average. */
  durationMs: "v",
} as const;

import { failpoint } from "@drover/shared/failpoint";
import { shortHash } from "@drover/shared/ids";
import { hostOf, type NewJob, sourceId } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import { flightHash, flightOf } from "@drover/shared/protocol/admission";
import type { Backlog, EnqueueFile } from "@drover/shared/protocol/backlog";
import { Catalog } from "@drover/shared/protocol/catalog";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import { bucketOf, CLAIM_BUCKETS, type Keys } from "@drover/shared/protocol/keys";
import type { Ledger } from "@drover/shared/protocol/ledger";
import type { RunCounts } from "@drover/shared/run";
import type { Tree } from "@drover/shared/storage/tree";
import type { Redis } from "ioredis";
import type { S3Check } from "../compare/check-s3.js";
import type { Revalidator } from "../compare/revalidator.js";
import { removeExtraneous } from "../delete/remove-extraneous.js";
import { Batches } from "../enqueue/batches.js";
import type { Cursor } from "../expand/cursor.js";
import { type Entry, type ExpandInput, expand } from "../expand/expand.js";
import { ListingError } from "../expand/listing-error.js";

/** Files per call to Redis. */
const BATCH = 500;
/** A slow list's files go on after so long, even when they are fewer. */
const LINGER_MS = 100;
/** How far the expansion is, where it finds nothing, is kept so often. */
const PASSED_MS = 1_000;

export interface ProduceOptions {
  runId: string;
  redis: Redis;
  keys: Keys;
  backlog: Backlog;
  ledger: Ledger;
  tree: Tree;
  /** Asks about URLs, where the producer is where the files are carried. */
  revalidator?: Revalidator;
  /** Looks at the destination, where the tree itself cannot and it is to be looked at. */
  check?: S3Check | undefined;
  input: ExpandInput;
  /** Number of the last batch that is registered. */
  batch: number;
  signal: AbortSignal;
  /** Files were registered: chunk ids may be new in the backlog. */
  onQueued(batch: number, hosts: Map<string, number>): void;
  /** Settled without a transfer: unchanged, or refused. */
  onSettled(outcome: Outcome): void;
  /** Resolves when there is room for so many files more in the backlog. */
  room(files: number): Promise<void>;
  /** Resolves when files were settled, or after a moment. */
  quiet(): Promise<void>;
  /** Makes the run anew, when Redis has forgotten it. */
  recreate(): Promise<unknown>;
}

/**
 * Expands a run's sources, compares them with the catalog and registers what is to be carried. Where
 * the run is to remove what the sources do not have, that comes when everything before is settled.
 *
 * @returns what was sent last, to be confirmed for a while.
 * @throws ListingError when a source could not be listed to its end: what was found is registered, the run is not sealed.
 */
export async function produce(options: ProduceOptions): Promise<Batches> {
  const { runId, ledger, tree } = options;
  const { spec } = options.input;
  const catalog = new Catalog(options.redis, options.keys);
  await catalog.register(tree);
  // Files of one listing have destinations of their own: Redis need not keep their names.
  const claiming = spec.sources.length > 1 || spec.list !== undefined;
  const { backlog, recreate } = options;
  const batches = new Batches(backlog, ledger, runId, spec.fleet, claiming, options.batch, recreate);
  const most = Math.min(BATCH, spec.backlogHighWater);
  let pending: Entry[] = [];
  let reached: Cursor | undefined;
  let passedMs = performance.now();
  let sending: Promise<void> = Promise.resolve();
  let broken: unknown;
  const claims = new Set<number>();

  const send = (end = false): Promise<void> => {
    const entries = pending;
    const cursor = reached;
    const nowMs = performance.now();
    if (entries.length === 0 && !end && nowMs - passedMs < PASSED_MS) return sending;
    passedMs = nowMs;
    pending = [];
    reached = undefined;
    sending = sending.then(async () => {
      if (cursor === undefined || broken !== undefined) return;
      await register(options, batches, cursor, entries, claims);
    });
    sending.catch((error) => {
      broken ??= error;
    });
    return sending;
  };

  let incomplete: ListingError | undefined;
  const timer = setInterval(() => void send().catch(() => {}), LINGER_MS); // the error is thrown below
  const take = async () => {
    let taken = 0;
    await options.room(most);
    for await (const found of expand(options.input)) {
      failpoint("expand");
      if (options.signal.aborted || broken !== undefined) return;
      reached = found.cursor;
      if ("passed" in found) continue;
      pending.push(found);
      if (++taken < most) continue;
      taken = 0;
      await send();
      await options.room(most);
    }
  };
  try {
    await take().catch((error) => {
      if (error instanceof ListingError)
        incomplete = error; // what was listed is carried
      else if (!options.signal.aborted) throw error;
    });
    await send(true);
    if (broken !== undefined) throw broken;
  } finally {
    clearInterval(timer);
  }
  if (options.signal.aborted) return batches;
  if (incomplete) throw incomplete;
  if (claiming) await ledger.forgetClaims(runId, options.batch === 0 ? claims : undefined);
  if (spec.delete) {
    const counts = await settled(options, batches);
    if (!counts) return batches;
    const why = await removeExtraneous({ ...options, spec, batches, counts });
    if (options.signal.aborted) return batches;
    if (why !== "") await ledger.noteDeletionRefused(runId, why);
  }
  await catalog.register(tree); // Redis may have forgotten it, or somebody dropped it
  await batches.seal();
  return batches;
}

/** Waits until everything that is registered is settled. @returns undefined where the run is stopped before. */
async function settled(options: ProduceOptions, batches: Batches): Promise<RunCounts | undefined> {
  while (!options.signal.aborted) {
    if (options.input.spec.fleet) await batches.confirm();
    const counts = await options.ledger.counts(options.runId);
    if (counts.settled >= counts.files) return options.signal.aborted ? undefined : counts;
    await options.quiet();
  }
  return undefined;
}

async function register(
  options: ProduceOptions,
  batches: Batches,
  cursor: Cursor,
  entries: Entry[],
  claims: Set<number>,
): Promise<void> {
  const { runId, tree } = options;
  const { spec } = options.input;
  const known = await compare(options, entries);
  const secrets = new Map<string, string>();
  const files = entries.map((entry, at): EnqueueFile => {
    const job: NewJob = { s: entry.redacted, d: entry.destination };
    if (entry.sha256 !== undefined) job.x = entry.sha256;
    const ownFlight = flightHash(runId, job.s, job.d, 0);
    if (entry.source !== entry.redacted) {
      job.k = 1;
      secrets.set(ownFlight, entry.source);
    }
    const destination = entry.error
      ? shortHash("failed", entry.source, entry.destination)
      : tree.leaseOf(entry.destination);
    claims.add(bucketOf(destination, CLAIM_BUCKETS));
    const unchanged = known[at];
    return {
      kind: entry.error ? "failed" : unchanged ? "unchanged" : "queued",
      host: hostOf(entry.redacted, spec),
      destination,
      source: shortHash(entry.source, entry.sha256 ?? ""),
      job: JSON.stringify(job),
      bytes: unchanged?.sizeBytes ?? 0,
      failure: entry.error
        ? JSON.stringify({ job, error: { class: entry.error.class, message: entry.error.message } })
        : "",
      flight: flightOf(runId, spec, { ...job, i: 0 }, entry.error ? "" : destination),
      ownFlight,
    };
  });
  const answers = await batches.send(JSON.stringify(cursor), files, secrets);
  failpoint("enqueue");
  const hosts = new Map<string, number>();
  answers.forEach((answer, at) => {
    if (answer.is === "duplicate") return;
    const entry = entries[at] as Entry;
    const file = files[at] as EnqueueFile;
    if (answer.is === "index" && file.kind === "queued") {
      hosts.set(file.host, (hosts.get(file.host) ?? 0) + 1);
      return;
    }
    options.onSettled(outcomeOf(answer.index, entry, answer.is === "collision", known[at], tree));
  });
  options.onQueued(batches.number, hosts);
}

function outcomeOf(
  index: number,
  entry: Entry,
  collision: boolean,
  unchanged: CatalogEntry | undefined,
  tree: Tree,
): Outcome {
  const base = {
    index,
    source: entry.redacted,
    destination: entry.destination === "" ? "" : tree.path(entry.destination),
    name: entry.destination === "" ? entry.redacted : entry.destination,
    attempts: 0,
    durationMs: 0,
  };
  if (!collision && !entry.error && unchanged) {
    const { sha256, sizeBytes } = unchanged;
    const verifiedBy = entry.version ? "catalog" : "not-modified";
    const attempts = entry.version ? 0 : 1;
    return {
      ...base,
      outcome: "unchanged",
      checksum: sha256 === "" ? null : sha256,
      bytes: sizeBytes,
      verifiedBy,
      attempts,
    };
  }
  const error = collision
    ? ({
        class: "collision",
        message: "another source of this run has the same destination: give it a name of its own",
      } as const)
    : { class: entry.error?.class ?? "internal", message: entry.error?.message ?? "unexpected error" };
  return { ...base, outcome: "failed", checksum: null, bytes: 0, verifiedBy: null, error };
}

export interface CompareOptions
  extends Pick<ProduceOptions, "redis" | "keys" | "tree" | "revalidator" | "check"> {
  input: Pick<ExpandInput, "spec">;
}

/**
 * Which files are known to be unchanged: the destination is as the commit left it, and the source is the version that
 * was last committed. Local files and listed objects come with their version; a URL's server is asked, where there is
 * somebody to ask it.
 */
export async function compare(
  options: CompareOptions,
  entries: Entry[],
): Promise<(CatalogEntry | undefined)[]> {
  const { redis, keys, tree, revalidator, check } = options;
  const { spec } = options.input;
  const comparable = entries.flatMap((entry, at) =>
    !entry.error && (entry.version || (revalidator && isHttp(entry))) ? [{ at, entry }] : [],
  );
  const known: (CatalogEntry | undefined)[] = new Array(entries.length);
  if (comparable.length === 0) return known;
  const catalog = new Catalog(redis, keys);
  const found = await catalog.lookUp(
    tree.id,
    comparable.map(({ entry }) => entry.destination),
  );
  const same = comparable.flatMap(({ at, entry }, which) => {
    const last = found[which];
    if (!last || last.source !== sourceId(entry.redacted, spec)) return [];
    if (entry.sha256 !== undefined && entry.sha256 !== last.sha256) return [];
    if (entry.version ? last.version !== entry.version : !last.version.startsWith("e")) return [];
    if (!tree.isAsLeft(entry.destination, last.stamp)) return [];
    return [{ at, entry, last }];
  });
  const asLeft = await check?.asLeft(
    same.map(({ entry, last }) => ({ name: entry.destination, stamp: last.stamp })),
  );
  const asked: { at: number; url: string; version: string; last: CatalogEntry }[] = [];
  same.forEach(({ at, entry, last }, which) => {
    if (asLeft && !asLeft[which]) return;
    if (entry.version) known[at] = last;
    else asked.push({ at, url: entry.source, version: last.version, last });
  });
  if (!revalidator || asked.length === 0) return known;
  const answers = await revalidator.unchanged(asked);
  asked.forEach(({ at, last }, which) => {
    if (answers[which]) known[at] = last;
  });
  return known;
}

function isHttp(entry: Entry): boolean {
  return /^https?:/i.test(entry.source);
}

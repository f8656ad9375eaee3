import { failpoint } from "@drover/shared/failpoint";
import { shortHash } from "@drover/shared/ids";
import type { NewJob } from "@drover/shared/job";
import type { Outcome } from "@drover/shared/outcome";
import type { EnqueueAnswer, EnqueueFile } from "@drover/shared/protocol/backlog";
import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import { Flights } from "@drover/shared/protocol/flights";
import { bucketOf, CLAIM_BUCKETS } from "@drover/shared/protocol/keys";
import type { RunSpec } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import type { Tree } from "@drover/shared/storage/tree";
import { type Comparison, compare } from "../compare/compare.js";
import type { Renames } from "../delete/renames.js";
import type { Cursor } from "../expand/cursor.js";
import type { Entry } from "../expand/entry.js";
import type { Batches } from "./batches.js";

/** Callbacks for the fate of registered files. */
export interface RegistrationEvents {
  /** Files were added to the backlog, with their number per host, in the chunks `<batch>|<host>`. */
  onQueued(batch: number, filesByHost: Map<string, number>): void;
  /** A file was settled without a transfer: unchanged or refused. */
  onSettled(outcome: Outcome): void;
}

/**
 * Registers files with a run: compares each with the catalog, then settles it at once or adds it to the
 * backlog. It works on any files; an expansion registers them batch by batch.
 */
export class Registrar {
  readonly #flights: Flights;
  /** Buckets of claims that may be in use: see {@link Keys.claims}. */
  readonly claimBuckets = new Set<number>();
  /** Tells which files were renamed at their source. Default: that is not asked. */
  renames: Renames | undefined;

  constructor(
    runId: string,
    private readonly comparison: Comparison,
    private readonly batches: Batches,
    private readonly events: RegistrationEvents,
  ) {
    this.#flights = new Flights(runId, comparison.spec);
  }

  /**
   * Registers up to 500 files in one call to Redis, all or nothing.
   *
   * @param cursor where the expansion continues after them.
   * @throws RunLostError, ForgottenError as Backlog.enqueue.
   */
  async register(found: Entry[], cursor: Cursor): Promise<void> {
    const unchanged = await compare(this.comparison, found);
    const entries = this.renames ? await this.renames.trace(found, unchanged) : found;
    const secrets = new Map<string, string>();
    const files = entries.map((entry, at) => this.#fileOf(entry, unchanged[at], secrets));
    const answers = await this.batches.send(JSON.stringify(cursor), files, secrets);
    failpoint("enqueue");
    const filesByHost = new Map<string, number>();
    answers.forEach((answer, at) => {
      if (answer.is === "duplicate") return;
      const file = files[at] as EnqueueFile;
      if (answer.is === "index" && file.kind === "queued") {
        filesByHost.set(file.host, (filesByHost.get(file.host) ?? 0) + 1);
        return;
      }
      this.events.onSettled(this.#outcomeOf(answer, entries[at] as Entry, unchanged[at]));
    });
    this.events.onQueued(this.batches.number, filesByHost);
  }

  /** @param secrets receives the source by flight if it contains secrets that somebody may need. */
  #fileOf(entry: Entry, unchanged: CatalogEntry | undefined, secrets: Map<string, string>): EnqueueFile {
    const { spec, tree }: { spec: RunSpec; tree: Tree } = this.comparison;
    const job: NewJob = { s: entry.redacted, d: entry.destination };
    if (entry.sha256 !== undefined) job.x = entry.sha256;
    Object.assign(job, askedOf(entry));
    const ownFlight = this.#flights.own(job);
    if (entry.source !== entry.redacted) {
      job.k = 1;
      // A file that is unchanged is settled at once: nobody will ask for it.
      if ((entry.error || !unchanged) && !secrets.has(ownFlight)) secrets.set(ownFlight, entry.source);
    }
    const destination = entry.error
      ? shortHash("failed", entry.source, entry.destination)
      : tree.leaseOf(entry.destination);
    this.claimBuckets.add(bucketOf(destination, CLAIM_BUCKETS));
    const host = hostOf(entry.redacted, spec);
    return {
      kind: entry.error ? "failed" : unchanged ? "unchanged" : "queued",
      host,
      destination,
      source: shortHash(entry.source, entry.sha256 ?? ""),
      job: JSON.stringify(job),
      bytes: unchanged?.sizeBytes ?? 0,
      failure: entry.error
        ? JSON.stringify({ job, error: { class: entry.error.class, message: entry.error.message }, host })
        : "",
      flight: this.#flights.of(job, entry.error ? "" : destination),
      ownFlight,
    };
  }

  #outcomeOf(
    answer: Exclude<EnqueueAnswer, { is: "duplicate" }>,
    entry: Entry,
    unchanged: CatalogEntry | undefined,
  ): Outcome {
    const base = {
      index: answer.index,
      source: entry.redacted,
      destination: entry.destination === "" ? "" : this.comparison.tree.path(entry.destination),
      name: entry.destination === "" ? entry.redacted : entry.destination,
      durationMs: 0,
    };
    if (answer.is === "index" && !entry.error && unchanged) {
      const { sha256, sizeBytes } = unchanged;
      return {
        ...base,
        outcome: "unchanged",
        checksum: sha256 === "" ? null : sha256,
        bytes: sizeBytes,
        verifiedBy: entry.version ? "catalog" : "not-modified",
        attempts: entry.version ? 0 : 1,
      };
    }
    const error =
      answer.is === "collision"
        ? ({
            class: "collision",
            message: "another source of this run has the same destination: give it a name of its own",
          } as const)
        : { class: entry.error?.class ?? "internal", message: entry.error?.message ?? "unexpected error" };
    return { ...base, outcome: "failed", checksum: null, bytes: 0, verifiedBy: null, attempts: 0, error };
  }
}

/** What is asked of the copy, in the fields of a job. */
function askedOf({ asks = {} }: Entry): Pick<NewJob, "m" | "a" | "f"> {
  const { permissions: { mode, ...access } = {}, from } = asks;
  return {
    ...(mode === undefined ? {} : { m: mode }),
    ...(Object.keys(access).length === 0 ? {} : { a: access }),
    ...(from === undefined ? {} : { f: { s: from.source, d: from.destination } }),
  };
}

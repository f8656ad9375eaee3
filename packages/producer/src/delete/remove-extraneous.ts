import { failpoint } from "@drover/shared/failpoint";
import { shortHash } from "@drover/shared/ids";
import type { NewJob } from "@drover/shared/job";
import type { RunCounts } from "@drover/shared/outcome";
import type { EnqueueFile } from "@drover/shared/protocol/backlog";
import { flightHash } from "@drover/shared/protocol/flights";
import { type RunSpec, suffixBeside } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import { destinationHost } from "@drover/shared/storage/registry";
import type { TreeNames } from "@drover/shared/storage/tree";
import type { Batches } from "../enqueue/batches.js";
import { beginningOf } from "../expand/beginning.js";
import type { Cursor } from "../expand/cursor.js";
import { Listers } from "../expand/listers.js";
import { wantedBy } from "../expand/wanted.js";
import { parseKept } from "../expand/wildcards.js";
import { SortedSource } from "./extraneous.js";
import { filesOf, namesOfSource, takenOf } from "./listings.js";
import { Spool } from "./spool.js";

/** Files per call to Redis. */
const BATCH = 500;

/** A file at the destination that no source has. */
export interface Extraneous {
  /** Relative to the destination's root. */
  name: string;
  /** The version that was listed; no other version is removed. */
  version: string;
}

/** The removals, once all listings are complete. */
export interface Removals {
  /** Why nothing may be removed, or "". */
  refused: string;
  extraneous: Spool<Extraneous>;
}

/** The trees that are listed and compared. */
export interface ListedTrees {
  spec: RunSpec;
  /** URLs include their secrets. */
  sources: readonly string[];
  /** The destination. */
  tree: TreeNames;
  signal: AbortSignal;
  /** Called with what a listing waits for. */
  warn(message: string): void;
}

/**
 * Lists the sources and the destination in parallel and finds the files that only the destination has.
 * Nothing counts as extraneous until all listings are complete.
 *
 * @param besides files that count for the limit but are not in the listing. `removed`: already removed by
 *   this run. `added`: would be added before the removal. `coming`: files that the run would bring when it is
 *   unknown which of them exist. `arrived`: files that the run has brought; if there are any, an empty
 *   listing means that the destination is not the one written to. `moved`: names that the run would move.
 */
export async function findExtraneous(
  { spec, sources, tree, signal, warn }: ListedTrees,
  besides: {
    removed: number;
    added: number;
    coming?: number;
    arrived?: number;
    moved?: ReadonlySet<string> | undefined;
  },
): Promise<Removals> {
  const extraneous = new Spool<Extraneous>();
  if (sources.length === 0) return { refused: "there is no source", extraneous };
  const wanted = wantedBy(spec);
  const { excluded } = spec.delete ?? {};
  const beginning = excluded ? "" : beginningOf(spec);
  const suffix = suffixBeside(spec);
  const listers = new Listers({ spec, signal, warn, of: "sources" });
  const there = new Listers({ spec, signal, warn, of: "destination" });
  const listed = sources.map((source) => ({
    source,
    names: new SortedSource(
      excluded
        ? takenOf(parseKept(source, spec), listers, spec)
        : namesOfSource(parseKept(source, spec), listers, beginning),
      wanted,
    ),
  }));
  const before = besides.removed + besides.added;
  let files = before;
  let coming = besides.coming ?? 0;
  try {
    for await (const { name, stamp } of filesOf(tree, there, beginning)) {
      if (signal.aborted) return { refused: "it was stopped", extraneous };
      if (!excluded && !wanted(name)) continue;
      if (suffix !== undefined && name.endsWith(suffix)) continue; // kept by this run or one before
      files++;
      if (besides.moved?.has(name)) continue;
      const has = await Promise.all(listed.map(({ names }) => names.has(name)));
      if (wanted(name) && has.includes(true)) {
        coming--;
        continue;
      }
      const seen = stamp();
      if (seen !== undefined) extraneous.add({ name, version: seen });
    }
    for (const { source, names } of listed) {
      await names.end();
      if (names.wanted === 0) return { refused: `nothing was found in ${source}`, extraneous };
    }
    if (files === before && (besides.arrived ?? 0) > 0) {
      const why = `nothing was found there, where ${besides.arrived} files have arrived`;
      return { refused: why, extraneous };
    }
  } catch (error) {
    if (signal.aborted) return { refused: "it was stopped", extraneous };
    if (!(error instanceof ListingError)) throw error;
    return { refused: error.message, extraneous };
  } finally {
    for (const { names } of listed) await names.close();
    await listers.close();
    await there.close();
  }
  files += Math.max(coming, 0);
  return { refused: tooMany(spec, extraneous.count + besides.removed, files), extraneous };
}

function tooMany(spec: RunSpec, count: number, files: number): string {
  const most = spec.delete?.most ?? { files: 0 };
  const allowed = "files" in most ? most.files : (files * most.percent) / 100;
  if (count <= allowed) return "";
  const share = `${count} of ${files} files would be`;
  const limit = "files" in most ? String(most.files) : `${most.percent}%`;
  return `${share}, and --max-delete allows ${limit}`;
}

/** Why the state of the run's files forbids a removal, or "". */
function incomplete(counts: RunCounts): string {
  const bad = counts.failed + counts.blocked + counts.locked + counts.cancelled;
  if (bad === 0) return "";
  return `${bad} of ${counts.files} files did not arrive`;
}

export interface RemoveOptions {
  runId: string;
  spec: RunSpec;
  /** URLs include their secrets. */
  sources: readonly string[];
  tree: TreeNames;
  batches: Batches;
  /** Of the run, with all files settled. */
  counts: RunCounts;
  signal: AbortSignal;
  host: {
    /** Files were added to the backlog, with their number per host. */
    onQueued(batch: number, filesByHost: Map<string, number>): void;
    /** Resolves when the backlog has room for that many more files. */
    room(files: number): Promise<void>;
    warn(message: string): void;
  };
}

/**
 * Registers the removal of the files that exist at the destination but at no source.
 *
 * @returns why nothing is removed, or "".
 */
export async function removeExtraneous(options: RemoveOptions): Promise<string> {
  const { spec, sources, tree, counts, signal, host } = options;
  const why = incomplete(counts);
  if (why !== "") return why;
  const besides = { removed: counts.deleted, added: 0, arrived: counts.copied + counts.unchanged };
  const warn = (message: string) => host.warn(message);
  const found = await findExtraneous({ spec, sources, tree, signal, warn }, besides);
  try {
    failpoint("delete");
    if (found.refused !== "") return found.refused;
    let files: EnqueueFile[] = [];
    for await (const each of found.extraneous.all()) {
      if (signal.aborted) return "";
      if (files.push(removalOf(each, options)) < Math.min(BATCH, spec.backlogHighWater)) continue;
      await registerRemovals(files, options);
      await host.room(files.length);
      files = [];
    }
    if (files.length > 0) await registerRemovals(files, options);
    return "";
  } finally {
    found.extraneous.close();
  }
}

function removalOf({ name, version }: Extraneous, { runId, spec, tree }: RemoveOptions): EnqueueFile {
  const job: NewJob = { op: "remove", s: name, d: name, v: version };
  const flight = flightHash(runId, name, name, 0);
  return {
    kind: "queued",
    host: destinationHost(spec),
    destination: tree.leaseOf(name),
    source: shortHash(name),
    job: JSON.stringify(job),
    bytes: 0,
    failure: "",
    flight,
    ownFlight: flight,
  };
}

async function registerRemovals(files: EnqueueFile[], { spec, batches, host }: RemoveOptions): Promise<void> {
  const cursor: Cursor = { sources: spec.sources.length, listByte: 0 };
  await batches.send(JSON.stringify(cursor), files, new Map());
  failpoint("enqueue");
  host.onQueued(batches.number, new Map([[destinationHost(spec), files.length]]));
}

import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import type { Engine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { refusedAsKept } from "@drover/shared/kept-name";
import { type Leave, whyLeft } from "@drover/shared/leave";
import { Catalog } from "@drover/shared/protocol/catalog";
import { type RunSpec, suffixBeside } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import { below, destinationOf, openTree, sourceId, storageOf } from "@drover/shared/storage/registry";
import { withCustomerKeys } from "@drover/shared/storage/s3/object/customer-key";
import type { DestinationCheck, Foreseen } from "@drover/shared/storage/storage";
import type { EntryKind, Tree } from "@drover/shared/storage/tree";
import { compare } from "../../compare/compare.js";
import { Foreseer } from "../../compare/foresee.js";
import { openCheck } from "../../compare/open-check.js";
import { type Extraneous, findExtraneous } from "../../delete/remove-extraneous.js";
import { Renames } from "../../delete/renames.js";
import { START } from "../../expand/cursor.js";
import type { Entry } from "../../expand/entry.js";
import { expand } from "../../expand/expand.js";
import { HeaderNames } from "../../expand/header-names.js";
import { openPipe } from "../carry/piped-list.js";
import type { PlannedRun } from "../plan/plan.js";

/** Files that are compared at once. */
const BATCH = 500;

/** What the run would do with a file. */
export interface PlannedFile {
  source: string | null;
  /** Absolute, or "". */
  destination: string;
  action: "copy" | "unchanged" | "delete" | "none";
  reason: string;
  /** Whether the run may find it the same: something is there, and only the transfer tells. */
  unclear?: true;
  /** Whether it is to be copied to where nothing is. */
  isNew?: true;
  /** As its listing tells or, if asked for, as the catalog has it from an earlier run. */
  sizeBytes?: number;
  error?: { class: string; message: string };
}

/** Summary of a dry run. */
export interface DryRunResult {
  counts: Record<PlannedFile["action"], number>;
  /** How many of those to be copied the run may find the same, and leave as they are. */
  unclear: number;
  /** Why nothing would be deleted although deletion is requested, or "". */
  deletionRefused: string;
  /** Why not all files were found. */
  incomplete?: ListingError;
}

export interface DryRunOptions {
  /** Whether the catalog is asked for sizes that no listing tells. Default false. */
  recallsSizes?: boolean;
  /** Opens the record of earlier syncs; resolves to undefined if there is none. */
  openEngine(): Promise<Engine | undefined>;
  warn(message: string): void;
}

/**
 * Yields what a run would do, without writing any file. Directories and prefixes are listed and compared with
 * the catalog of earlier syncs, if there is one, and then with what is there, as the run does; URLs are not requested.
 */
export async function* dryRun(
  planned: PlannedRun,
  options: DryRunOptions,
): AsyncGenerator<PlannedFile, DryRunResult> {
  const spec = withCustomerKeys(planned.spec, planned.secrets.customerKeys);
  const { signal } = new AbortController(); // never aborted: Ctrl-C ends the process
  const tree = destinationOf(spec.root).mayExist(spec.root) ? openTree(spec) : undefined;
  const engine = tree && (await options.openEngine());
  const check = engine && tree ? await openCheck(spec, tree, signal, options.warn) : undefined;
  const foreseer = tree && (await Foreseer.open(spec, tree, engine, { signal, warn: options.warn }));
  const trees = tree && { spec, sources: planned.secrets.sources, tree, signal, warn: options.warn };
  const catalog = engine && new Catalog(engine.redis, engine.keys);
  const renames = trees && (await Renames.find(trees, catalog));
  const names = spec.namesFromHeader ? new HeaderNames(spec, planned.secrets.headers, signal) : undefined;
  const counts: DryRunResult["counts"] = { copy: 0, unchanged: 0, delete: 0, none: 0 };
  let incomplete: ListingError | undefined;
  let added = 0;
  let unclear = 0;
  try {
    const claims = new Claims(planned);
    const { recallsSizes = false } = options;
    const known = { planned, engine, tree, check, foreseer, renames, recallsSizes };
    try {
      for await (const unnamed of batches(planned, options.warn)) {
        const found = names ? await names.name(unnamed) : unnamed;
        for (const file of await judge(claims.of(found), known)) {
          counts[file.action]++;
          if (file.isNew) added++;
          if (file.unclear) unclear++;
          yield file;
        }
      }
    } catch (error) {
      if (!(error instanceof ListingError)) throw error;
      incomplete = error;
    }
    const files = counts.copy + counts.unchanged + counts.none;
    let deletionRefused = "";
    if (spec.delete) {
      if (incomplete) deletionRefused = incomplete.message;
      else if (counts.none > 0)
        deletionRefused = `${counts.none} ${counts.none === 1 ? "file" : "files"} cannot be copied`;
      else if (trees && tree) {
        const coming = destinationOf(spec.root).openCheck ? files - added : 0;
        const found = await findExtraneous(trees, { removed: 0, added, coming, moved: renames?.moved });
        deletionRefused = found.refused;
        for await (const each of deletionRefused === "" ? found.extraneous.all() : []) {
          counts.delete++;
          yield deletion(each, tree);
        }
        found.extraneous.close();
      }
    }
    return { counts, unclear, deletionRefused, ...(incomplete ? { incomplete } : {}) };
  } finally {
    await names?.close();
    await renames?.close();
    await foreseer?.close();
    await check?.close();
    tree?.close();
    engine?.close();
  }
}

async function* batches(
  { spec, secrets, pipe }: PlannedRun,
  warn: (message: string) => void,
): AsyncGenerator<Entry[]> {
  const list =
    pipe !== undefined
      ? openPipe(pipe)
      : secrets.list !== undefined
        ? Readable.from([Buffer.from(secrets.list)])
        : spec.list === undefined
          ? undefined
          : createReadStream(spec.list);
  const { signal } = new AbortController();
  const { sources, baseUrl, logins } = secrets;
  let entries: Entry[] = [];
  try {
    for await (const found of expand({ spec, sources, list, baseUrl, logins, from: START, signal, warn })) {
      if ("passed" in found || entries.push(found) < BATCH) continue;
      yield entries;
      entries = [];
    }
  } finally {
    if (entries.length > 0) yield entries;
  }
}

/**
 * Finds two sources with the same destination, as Redis does for a run. The names of all files are kept in
 * memory if that can happen.
 */
class Claims {
  readonly #sources: Map<string, string> | undefined;

  constructor({ spec }: PlannedRun) {
    if (spec.sources.length > 1 || spec.list !== undefined || spec.listIsStdin) this.#sources = new Map();
  }

  /** Drops repeated entries, and gives an error to those whose destination another source has. */
  of(entries: Entry[]): Entry[] {
    const sources = this.#sources;
    if (!sources) return entries;
    return entries.flatMap((entry) => {
      if (entry.error) return [entry];
      const other = sources.get(entry.destination);
      if (other === undefined) sources.set(entry.destination, entry.source);
      if (other === undefined) return [entry];
      return other === entry.source ? [] : [{ ...entry, error: COLLISION }];
    });
  }
}

const COLLISION = new TransferError("collision", "another source of this run has the same destination", {
  permanent: true,
});

const NEW = "it is not there";
const ASKED = "it is there; the server will be asked whether it changed";
const ONLY_BYTES = "it is there; only its bytes will tell whether they are the same";

interface Known {
  planned: PlannedRun;
  engine: Engine | undefined;
  tree: Tree | undefined;
  check: DestinationCheck | undefined;
  foreseer: Foreseer | undefined;
  recallsSizes: boolean;
  renames: Renames | undefined;
}

async function judge(
  entries: Entry[],
  { planned, engine, tree, check, foreseer, renames, recallsSizes }: Known,
): Promise<PlannedFile[]> {
  const { spec } = planned;
  if (recallsSizes && engine && tree)
    await recallSizes(entries, spec, tree.id, new Catalog(engine.redis, engine.keys));
  const known =
    engine && tree
      ? await compare({ spec, tree, catalog: new Catalog(engine.redis, engine.keys), check }, entries)
      : [];
  const files = entries.map((entry, at) => judgeOne(entry, known[at] !== undefined, spec, tree));
  if (spec.leave) await leaveSome(files, entries, spec.leave, foreseer);
  const there = files.flatMap(({ action, isNew }, at) => (action === "copy" && !isNew ? [at] : []));
  const found = await (foreseer?.foresee(there.map((at) => entries[at] as Entry)) ?? []);
  found.forEach((what, which) => {
    const at = there[which] as number;
    files[at] = withForeseen(files[at] as PlannedFile, what);
  });
  if (renames) await tellRenames(files, entries, spec, renames);
  return files;
}

/** Gives entries without a size the one that the catalog has from an earlier run. */
async function recallSizes(entries: Entry[], spec: RunSpec, treeId: string, catalog: Catalog): Promise<void> {
  const unknown = entries.filter(({ error, sizeBytes }) => !error && sizeBytes === undefined);
  if (unknown.length === 0) return;
  const found = await catalog.lookUp(
    treeId,
    unknown.map(({ destination }) => destination),
  );
  unknown.forEach((entry, at) => {
    const last = found[at];
    if (last?.source === sourceId(entry.redacted, spec)) entry.sizeBytes = last.sizeBytes;
  });
}

/** Marks the files that the run moves. */
async function tellRenames(
  files: PlannedFile[],
  entries: Entry[],
  { root }: RunSpec,
  renames: Renames,
): Promise<void> {
  const carried = files.map(({ action, isNew }) => action !== "copy" || !isNew);
  const traced = await renames.trace(entries, carried);
  traced.forEach(({ asks }, at) => {
    const from = asks?.from;
    if (from && from !== entries[at]?.asks?.from)
      files[at] = {
        ...(files[at] as PlannedFile),
        reason: `it is ${below(root, from.destination)}, which is moved`,
      };
  });
}

/** Marks the files that the run leaves as they are although they may be others. */
async function leaveSome(
  files: PlannedFile[],
  entries: Entry[],
  leave: Leave,
  foreseer: Foreseer | undefined,
): Promise<void> {
  const carried = files.flatMap(({ action }, at) => (action === "copy" ? [at] : []));
  // Without a tree nothing is there.
  const why = foreseer
    ? await foreseer.whyLeft(
        carried.map((at) => entries[at] as Entry),
        leave,
      )
    : await Promise.all(carried.map(() => whyLeft(leave, undefined, async () => undefined)));
  carried.forEach((at, which) => {
    const reason = why[which];
    if (reason !== undefined) files[at] = { ...(files[at] as PlannedFile), action: "unchanged", reason };
  });
}

function withForeseen(file: PlannedFile, found: Foreseen | TransferError): PlannedFile {
  if (found instanceof TransferError) return refused(file, found);
  if (found === "nothing") return { ...file, reason: NEW, isNew: true };
  if (found === "same") return { ...file, action: "unchanged", reason: "it is there, with the same content" };
  if (found === "other") return file;
  const isAsked = storageOf(file.source ?? "").openPeek === undefined;
  return { ...file, reason: isAsked ? ASKED : ONLY_BYTES, unclear: true };
}

function judgeOne(entry: Entry, isKnown: boolean, spec: RunSpec, tree: Tree | undefined): PlannedFile {
  const { redacted: source, error } = entry;
  const destination = entry.destination === "" ? "" : below(spec.root, entry.destination);
  const { sizeBytes } = entry;
  const base = { source, destination, ...(sizeBytes === undefined ? {} : { sizeBytes }) };
  if (error) return refused(base, error);
  if (isKnown) return { ...base, action: "unchanged", reason: "it is as the last sync left it" };
  const asKept = refusedAsKept(entry.destination, suffixBeside(spec));
  if (asKept) return refused(base, asKept);
  let there: EntryKind;
  try {
    there = tree?.look(entry.destination) ?? "nothing";
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    return refused(base, error);
  }
  if (there === "nothing") return { ...base, action: "copy", reason: NEW, isNew: true };
  if (there === "unknown")
    return { ...base, action: "copy", reason: "it is not known to be this version there" };
  if (there === "directory" || there === "special") {
    const what = there === "directory" ? "a directory" : "a device, pipe or socket";
    const why = `the destination ${destination} is ${what}`;
    return refused(base, new TransferError("path", why, { permanent: true }));
  }
  if (entry.version === undefined) return { ...base, action: "copy", reason: ASKED };
  const reason = `it is there, but not known to be this version of the ${storageOf(source).noun}`;
  return { ...base, action: "copy", reason };
}

function deletion({ name }: Extraneous, tree: Tree): PlannedFile {
  return { source: null, destination: tree.path(name), action: "delete", reason: "no source has it" };
}

function refused(
  of: Pick<PlannedFile, "source" | "destination">,
  { class: cls, message }: TransferError,
): PlannedFile {
  return { ...of, action: "none", reason: message, error: { class: cls, message } };
}

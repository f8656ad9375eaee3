import type { Engine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { Catalog, type CatalogTree } from "@drover/shared/protocol/catalog";
import {
  type CatalogEntry,
  decodeCatalog,
  encodeCatalog,
  isUncertain,
} from "@drover/shared/protocol/catalog-entry";
import type { FileVersion } from "@drover/shared/storage/contents";
import { Sorter } from "../catalog/sorter.js";
import { beginningOf } from "../expand/beginning.js";
import { least, SortedListing } from "../expand/sorted-listing.js";
import { wantedBy } from "../expand/wanted.js";
import { type CheckedPath, type CheckResult, counted, isDestinationThere, type Task } from "./check.js";
import { type CheckOptions, CheckSide, type SideEntry } from "./check-side.js";
import { type Comparable, type Comparison, digestOf, Tries } from "./compare-files.js";
import { inOrder } from "./in-order.js";
import type { Comparing, PlannedDestination } from "./plan-check.js";

/** A file that the catalog has, and its entry. */
interface Recorded {
  name: string;
  entry: CatalogEntry;
}

/**
 * Looks whether what the catalog records of a destination is still there, and the same. Sources are not asked, and nothing
 * is written. What the catalog does not know is passed over. The source of the paths that are yielded is the catalog.
 */
export async function* checkCatalog(
  planned: PlannedDestination,
  { engine, tree }: { engine: Engine; tree: CatalogTree },
  options: CheckOptions,
): AsyncGenerator<CheckedPath, CheckResult> {
  const catalog = new Catalog(engine.redis, engine.keys);
  const side = await CheckSide.open(planned.destination, planned.headers, options);
  const sorter = new Sorter();
  const wanted = wantedBy(planned.selection);
  try {
    for await (const page of catalog.entries(tree.id))
      for (const { name, entry } of page) if (wanted(name)) sorter.add(recordOf(name, entry));
    const tasks = tasksOf(recorded(sorter), { planned, side, options });
    return yield* counted(inOrder(tasks, planned.maxWorkers));
  } finally {
    sorter.close();
    await side.close();
  }
}

interface CheckingCatalog {
  planned: PlannedDestination;
  side: CheckSide;
  options: CheckOptions;
}

async function* tasksOf(
  records: Generator<Recorded>,
  { planned, side, options }: CheckingCatalog,
): AsyncGenerator<Task> {
  const { selection, comparing } = planned;
  const wanted = wantedBy(selection);
  const isThere = await isDestinationThere(side, options);
  const entries = isThere ? side.entries(wanted, beginningOf(selection)) : nothing();
  const listed = new SortedListing(entries, wanted);
  const tries = new Tries(planned.retries, options.signal);
  try {
    await listed.begin();
    let record = records.next();
    for (;;) {
      options.signal.throwIfAborted();
      const noted = record.done ? undefined : record.value;
      const name = least([noted?.name, listed.name]);
      if (name === undefined) return;
      const found = await listed.take(name);
      if (noted?.name !== name) continue;
      record = records.next();
      yield taskOf(noted, found, async (file) => {
        const compared = await tries.run(() =>
          compareWith(noted.entry, { contents: side.contents, file }, comparing, options.signal),
        );
        if (compared.is === "unchecked") return { state: "match", by: "size", isUnchecked: true };
        return { state: compared.is === "same" ? "match" : "differ", by: compared.by };
      });
    }
  } finally {
    await listed.close();
  }
}

async function* nothing(): AsyncGenerator<SideEntry> {}

type Found = Pick<CheckedPath, "state" | "by" | "isUnchecked" | "why">;

function taskOf(
  { name, entry }: Recorded,
  found: SideEntry | undefined,
  compare: (file: FileVersion) => Promise<Found>,
): Task {
  const base = { path: name, sourceBytes: entry.sizeBytes };
  if (found === undefined) return async () => ({ ...base, state: "missing-on-dst" });
  if (found.is === "failed") return async () => ({ ...base, state: "error", why: found.why });
  if (found.is === "left-out") {
    const isHere = found.name === name;
    const why = isHere ? found.why : `it is behind ${found.why}, ${found.name}`;
    return async () => ({ ...base, state: isHere ? "differ" : "error", why });
  }
  const { file } = found;
  const there = file.sizeBytes === undefined ? {} : { destinationBytes: file.sizeBytes };
  return async () => {
    try {
      const { why, ...rest } = await compare(file);
      const note = rest.state === "differ" && isUncertain(entry) ? CUT_OFF : why;
      return { ...base, ...there, ...rest, ...(note === undefined ? {} : { why: note }) };
    } catch (error) {
      if (!(error instanceof TransferError) || error.class === "cancelled") throw error;
      return { ...base, ...there, state: "error", why: error.message };
    }
  };
}

const CUT_OFF = "a run was cut off while it replaced or removed it";

/** Holds a file against its entry. @throws TransferError if it cannot be read, or changes meanwhile. */
async function compareWith(
  { sizeBytes, sha256, stamp }: CatalogEntry,
  { contents, file }: Comparable,
  comparing: Comparing,
  signal: AbortSignal,
): Promise<Comparison> {
  const by = (isSame: boolean, by: "size" | "mark" | "sha256"): Comparison => ({
    is: isSame ? "same" : "different",
    by,
  });
  if (file.sizeBytes !== undefined && file.sizeBytes !== sizeBytes) return by(false, "size");
  if (comparing === "size") return by(true, "size");
  const isStamped = contents.stamp(file) === stamp;
  if (sha256 === "") {
    if (contents.stamp(file) !== undefined && !isStamped) return by(false, "mark");
    return contents.mark(file) === undefined ? { is: "unchecked" } : by(true, "mark");
  }
  if (comparing === "checksum" && !contents.isLocal) {
    // An ETag that is an MD5, and the one of the commit: they are the bytes that were written then.
    if (isStamped && contents.mark(file) !== undefined) return by(true, "mark");
    const told = (await contents.digests(file, signal)).find(
      ({ algorithm, isNoted }) => algorithm === "sha256" && !isNoted,
    );
    if (told) return by(told.hex === sha256, "sha256");
    if (isStamped) return { is: "unchecked" };
    // Somebody wrote it since: only its bytes tell whether they are the same.
  }
  return by((await digestOf(contents, file, "sha256", signal)) === sha256, "sha256");
}

/** A record for the sorter, whose strings are bytes: name, NUL, entry. */
function recordOf(name: string, entry: CatalogEntry): string {
  return `${Buffer.from(name).toString("latin1")}\0${encodeCatalog(entry).toString("latin1")}`;
}

function* recorded(sorter: Sorter): Generator<Recorded> {
  let last: string | undefined;
  for (const record of sorter.sorted()) {
    const end = record.indexOf("\0");
    const bytes = record.slice(0, end);
    if (bytes === last) continue; // HSCAN may return an entry twice
    last = bytes;
    const entry = decodeCatalog(Buffer.from(record.slice(end + 1), "latin1"));
    if (!entry) throw new Error("an entry cannot be read back");
    yield { name: Buffer.from(bytes, "latin1").toString(), entry };
  }
}

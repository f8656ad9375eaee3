import { type Ancestor, decodeAncestor, encodeAncestor } from "@drover/shared/pair/ancestor";
import type { Side } from "@drover/shared/pair/decide";
import type { SeenPath } from "@drover/shared/pair/path-state";
import type { ListedPath, Look, PairSides } from "@drover/shared/pair/side";
import type { PairStore } from "@drover/shared/pair/store";
import { Sorter } from "../catalog/sorter.js";
import { least, SortedListing } from "../expand/sorted-listing.js";

const ABSENT: Look = { is: "absent" };

/**
 * Every path that a side or the pair's record has, once and in byte order, in bounded memory. What is below a directory that
 * cannot be read or behind a link is `unknown`, not absent.
 *
 * @param wanted whether a path is of the pair: others are passed over, as if nobody had them.
 * @throws TransferError, ListingError if a side cannot be listed completely.
 */
export async function* mergePair(
  sides: PairSides,
  store: Pick<PairStore, "ancestors">,
  wanted: (name: string) => boolean,
  signal: AbortSignal,
): AsyncGenerator<SeenPath> {
  const sorter = new Sorter();
  const local = new SortedListing(sides.local.list(signal), wanted);
  const remote = new SortedListing(sides.remote.list(signal), wanted);
  try {
    // Both listings begin while the record is read.
    const begun = Promise.all([local.begin(), remote.begin()]);
    begun.catch(() => {}); // awaited below
    for await (const page of store.ancestors())
      for (const [name, ancestor] of page) if (wanted(name)) sorter.add(recordOf(name, ancestor));
    await begun;
    const ancestors = sorter.sorted();
    let known = ancestors.next();
    for (;;) {
      const noted = known.done ? undefined : readRecord(known.value);
      const name = least([noted?.name, local.name, remote.name]);
      if (name === undefined) return;
      const ancestor = noted?.name === name ? noted.ancestor : undefined;
      if (ancestor) known = ancestors.next();
      const seen = { name, ancestor, local: await at(local, name), remote: await at(remote, name) };
      if (!name.endsWith("/")) yield seen;
    }
  } finally {
    sorter.close();
    await Promise.all([local.close(), remote.close()]);
  }
}

async function at(listing: SortedListing<ListedPath>, name: string): Promise<Look> {
  return (await listing.take(name))?.look ?? ABSENT;
}

/** A record for the sorter, whose strings are bytes: name, NUL, ancestor. */
function recordOf(name: string, ancestor: Ancestor): string {
  return `${Buffer.from(name).toString("latin1")}\0${encodeAncestor(ancestor).toString("latin1")}`;
}

function readRecord(record: string): { name: string; ancestor: Ancestor } {
  const end = record.indexOf("\0");
  return {
    name: Buffer.from(record.slice(0, end), "latin1").toString(),
    ancestor: decodeAncestor(Buffer.from(record.slice(end + 1), "latin1")) as Ancestor,
  };
}

/** The other one. */
export const OTHER: Record<Side, Side> = { local: "remote", remote: "local" };

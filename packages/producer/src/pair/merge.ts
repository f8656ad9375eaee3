import { type Ancestor, decodeAncestor, encodeAncestor } from "@drover/shared/pair/ancestor";
import type { Side } from "@drover/shared/pair/decide";
import type { SeenPath } from "@drover/shared/pair/path-state";
import type { ListedPath, Look, PairSides } from "@drover/shared/pair/side";
import type { PairStore } from "@drover/shared/pair/store";
import { compareKeys } from "@drover/shared/storage/key-order";
import { Sorter } from "../catalog/sorter.js";

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
  const local = new Listing(sides.local.list(signal), wanted);
  const remote = new Listing(sides.remote.list(signal), wanted);
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
      const seen = { name, ancestor, local: await local.take(name), remote: await remote.take(name) };
      if (!name.endsWith("/")) yield seen;
    }
  } finally {
    sorter.close();
    await Promise.all([local.close(), remote.close()]);
  }
}

/** The listing of one side, read in the order of names. */
class Listing {
  #head: ListedPath | undefined;
  #hiding: { name: string; look: Look }[] = [];

  constructor(
    private readonly paths: AsyncGenerator<ListedPath>,
    private readonly wanted: (name: string) => boolean,
  ) {}

  get name(): string | undefined {
    return this.#head?.name;
  }

  begin(): Promise<void> {
    return this.#next();
  }

  /** What this side has at a name. Names must come in order, and none may be left out that it has. */
  async take(name: string): Promise<Look> {
    const head = this.#head;
    if (head?.name === name) {
      if (head.hides) this.#hiding.push({ name: name.endsWith("/") ? name : `${name}/`, look: head.look });
      await this.#next();
      return head.look;
    }
    if (this.#hiding.length === 0) return ABSENT;
    // "0" follows "/" in byte order, so that `above0` comes after everything below `above/`.
    this.#hiding = this.#hiding.filter((each) => compareKeys(`${each.name.slice(0, -1)}0`, name) > 0);
    return this.#hiding.find((each) => name.startsWith(each.name))?.look ?? ABSENT;
  }

  async #next(): Promise<void> {
    for (;;) {
      const step = await this.paths.next();
      this.#head = step.done ? undefined : step.value;
      if (!this.#head || this.#head.hides || this.wanted(this.#head.name)) return;
    }
  }

  async close(): Promise<void> {
    await this.paths.return(undefined);
  }
}

function least(names: (string | undefined)[]): string | undefined {
  let first: string | undefined;
  for (const name of names)
    if (name !== undefined && (first === undefined || compareKeys(name, first) < 0)) first = name;
  return first;
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

import { compareKeys } from "@drover/shared/storage/key-order";

/** An entry of a listing that is in the byte order of its names. */
export interface SortedEntry {
  /** Relative, with `/`. It may end in `/` for a directory of which nothing can be told. */
  readonly name: string;
  /** Whether nothing can be told of the names below it. */
  readonly hides: boolean;
}

/** One of several listings that are read side by side, in the order of names. */
export class SortedListing<T extends SortedEntry> {
  #head: T | undefined;
  #hiding: { above: string; entry: T }[] = [];

  /** @param wanted the others are passed over, but for those that hide what is below them. */
  constructor(
    private readonly entries: AsyncGenerator<T>,
    private readonly wanted: (name: string) => boolean,
  ) {}

  /** The name that comes next; undefined at the end, and before {@link begin}. */
  get name(): string | undefined {
    return this.#head?.name;
  }

  begin(): Promise<void> {
    return this.#next();
  }

  /**
   * What the listing has at a name. Names must come in order, and none may be left out that it has.
   *
   * @returns the entry of that name, else the one that hides it; undefined if there is neither.
   */
  async take(name: string): Promise<T | undefined> {
    const head = this.#head;
    if (head?.name === name) {
      if (head.hides) this.#hiding.push({ above: name.endsWith("/") ? name : `${name}/`, entry: head });
      await this.#next();
      return head;
    }
    if (this.#hiding.length === 0) return undefined;
    // "0" follows "/" in byte order, so that `above0` comes after everything below `above/`.
    this.#hiding = this.#hiding.filter(({ above }) => compareKeys(`${above.slice(0, -1)}0`, name) > 0);
    return this.#hiding.find(({ above }) => name.startsWith(above))?.entry;
  }

  async #next(): Promise<void> {
    for (;;) {
      const step = await this.entries.next();
      this.#head = step.done ? undefined : step.value;
      if (!this.#head || this.#head.hides || this.wanted(this.#head.name)) return;
    }
  }

  async close(): Promise<void> {
    await this.entries.return(undefined);
  }
}

/** The first of some names in byte order; undefined if there is none. */
export function least(names: (string | undefined)[]): string | undefined {
  let first: string | undefined;
  for (const name of names)
    if (name !== undefined && (first === undefined || compareKeys(name, first) < 0)) first = name;
  return first;
}

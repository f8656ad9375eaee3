import { compareKeys } from "@drover/shared/storage/key-order";
import type { ListedName } from "@drover/shared/storage/storage";

/** The names of one source in byte order. Lookups must come in the same order. */
export class SortedSource {
  #head: ListedName | undefined;
  #ended = false;
  #hiding: string[] = [];
  /** Number of wanted names seen so far. */
  wanted = 0;

  constructor(
    private readonly names: AsyncGenerator<ListedName>,
    private readonly isWanted: (name: string) => boolean,
  ) {}

  /**
   * Whether the source has the name, or may have it behind a symbolic link that is not followed.
   * @param name greater than all names asked for before.
   */
  async has(name: string): Promise<boolean> {
    while (!this.#ended && (this.#head === undefined || compareKeys(this.#head.name, name) < 0))
      await this.#next(name);
    if (this.#head?.name === name) return true;
    // "0" follows "/" in byte order, so `${above}0` comes after everything below `above/`.
    this.#hiding = this.#hiding.filter((above) => compareKeys(`${above}0`, name) > 0);
    return this.#hiding.some((above) => name.startsWith(`${above}/`));
  }

  /** Reads the rest of the listing, which proves it complete. */
  async end(): Promise<void> {
    while (!this.#ended) await this.#next();
  }

  async close(): Promise<void> {
    await this.names.return(undefined);
  }

  /** @param asked no smaller name is asked for any more; undefined if none is. */
  async #next(asked?: string): Promise<void> {
    const step = await this.names.next();
    if (step.done) {
      this.#ended = true;
      this.#head = undefined;
      return;
    }
    this.#head = step.value;
    const { name, hides } = step.value;
    if (this.isWanted(name)) this.wanted++;
    if (hides && asked !== undefined && compareKeys(`${name}0`, asked) > 0) this.#hiding.push(name);
  }
}

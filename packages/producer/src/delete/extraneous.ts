import { compareKeys } from "@drover/shared/storage/key-order";
import type { ListedName } from "@drover/shared/storage/storage";

/** The names of one source in the order of their bytes, looked up one after the other in that order. */
export class SortedSource {
  #head: ListedName | undefined;
  #ended = false;
  #hiding: string[] = [];
  /** Names that were counted as wanted, so far. */
  wanted = 0;

  constructor(
    private readonly names: AsyncGenerator<ListedName>,
    private readonly isWanted: (name: string) => boolean,
  ) {}

  /** Whether the source has that name, or may have it. @param name behind those that were asked for before. */
  async has(name: string): Promise<boolean> {
    while (!this.#ended && (this.#head === undefined || compareKeys(this.#head.name, name) < 0))
      await this.#next(name);
    if (this.#head?.name === name) return true;
    // "0" is what follows "/": whatever is below has come by then.
    this.#hiding = this.#hiding.filter((above) => compareKeys(`${above}0`, name) > 0);
    return this.#hiding.some((above) => name.startsWith(`${above}/`));
  }

  /** Lists what is left, so that it is known to be listed to its end. */
  async end(): Promise<void> {
    while (!this.#ended) await this.#next();
  }

  async close(): Promise<void> {
    await this.names.return(undefined);
  }

  /** @param asked names before it are not asked for any more; undefined for all. */
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

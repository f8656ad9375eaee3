/** What several files of a call have in common: keys and arguments that are sent once, and numbered from 1. */
export class KeyTable {
  readonly keys: string[] = [];
  readonly args: (string | number)[] = [];
  readonly #numbers = new Map<string, number>();

  /** How many there are. */
  get size(): number {
    return this.#numbers.size;
  }

  /**
   * The number of an entry, which is made when it is asked for the first time.
   *
   * @param name unique among the entries.
   * @param make its keys and arguments.
   */
  number(name: string, make: () => [keys: string[], args: (string | number)[]]): number {
    const known = this.#numbers.get(name);
    if (known !== undefined) return known;
    const [keys, args] = make();
    this.keys.push(...keys);
    this.args.push(...args);
    this.#numbers.set(name, this.size + 1);
    return this.size;
  }
}

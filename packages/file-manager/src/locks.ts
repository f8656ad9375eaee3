/** Lets one at a time work on a path. */
export class Locks {
  readonly #held = new Map<string, Promise<unknown>>();

  /** Does something once nobody else works on any of the paths. */
  async with<T>(paths: string[], work: () => Promise<T>): Promise<T> {
    const sorted = [...new Set(paths)].sort();
    // All are asked for in the same turn, so that two never wait for each other.
    const before = Promise.allSettled(sorted.map((path) => this.#held.get(path)));
    const mine = before.then(work);
    const ended = mine.catch(() => {});
    for (const path of sorted) this.#held.set(path, ended);
    try {
      return await mine;
    } finally {
      for (const path of sorted) if (this.#held.get(path) === ended) this.#held.delete(path);
    }
  }
}

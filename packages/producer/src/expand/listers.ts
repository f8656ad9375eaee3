import type { Lister, ListerOptions, Storage } from "@drover/shared/storage/storage";

/** The listers of one expansion, each opened at its first use. */
export class Listers {
  readonly #open = new Map<Storage, Promise<Lister>>();

  constructor(private readonly options: ListerOptions) {}

  of(storage: Storage): Promise<Lister> {
    let lister = this.#open.get(storage);
    if (!lister) {
      lister = storage.openLister(this.options);
      this.#open.set(storage, lister);
    }
    return lister;
  }

  async close(): Promise<void> {
    for (const lister of this.#open.values()) await (await lister).close();
  }
}

import { TransferError } from "@drover/shared/errors";
import type { Catalog } from "@drover/shared/protocol/catalog";
import { isUncertain } from "@drover/shared/protocol/catalog-entry";
import { backupOf } from "@drover/shared/run";
import { below, parseLocation, sourceId, storageOf } from "@drover/shared/storage/registry";
import { etagOfVersion } from "@drover/shared/storage/s3/source";
import type { Peek, Peeked, Storage } from "@drover/shared/storage/storage";
import type { Entry } from "../expand/entry.js";
import { wantedBy } from "../expand/wanted.js";
import { type Extraneous, findExtraneous, type ListedTrees } from "./remove-extraneous.js";

/** Names per call to Redis. */
const BATCH = 500;

/** A file that only the destination has, and that the catalog vouches for. */
interface Former {
  name: string;
  /** Where it came from. */
  source: string;
  version: string;
  sha256: string;
}

/**
 * The files of a run that were renamed at their source: what no source has under its name any more, but under a new one. The
 * worker looks again before it moves one.
 */
export class Renames {
  readonly #peeks = new Map<Storage, Promise<Peek>>();
  /** Names at the destination that files were found to be moved from. */
  readonly moved = new Set<string>();

  private constructor(
    private readonly trees: ListedTrees,
    private readonly bySize: Map<number, Former[]>,
  ) {}

  /**
   * Lists sources and destination, and looks up what only the destination has.
   *
   * @returns undefined where the run does not track renames, or keeps what it removes: then that is copied and removed.
   */
  static async find(trees: ListedTrees, catalog: Catalog | undefined): Promise<Renames | undefined> {
    const { spec, tree } = trees;
    if (!spec.delete?.renames || backupOf(spec) || !catalog) return undefined;
    const bySize = new Map<number, Former[]>();
    // Whether too many would be removed is asked when it is known how many are moved.
    const unlimited = { ...spec, delete: { ...spec.delete, most: { percent: 100 } } };
    const found = await findExtraneous({ ...trees, spec: unlimited }, { removed: 0, added: 0 });
    const add = async (batch: Extraneous[]) => {
      const entries = await catalog.lookUp(
        tree.id,
        batch.map(({ name }) => name),
      );
      batch.forEach(({ name, version: stamp }, at) => {
        const entry = entries[at];
        if (!entry || entry.stamp !== stamp || isUncertain(entry)) return;
        const source = sourcesOf(trees, name).find((each) => sourceId(each, spec) === entry.source);
        if (source === undefined) return;
        const { sizeBytes, version, sha256 } = entry;
        bySize.set(sizeBytes, [...(bySize.get(sizeBytes) ?? []), { name, source, version, sha256 }]);
      });
    };
    try {
      if (found.refused !== "") return undefined; // the removal will say why
      const wanted = wantedBy(spec);
      let batch: Extraneous[] = [];
      for await (const each of found.extraneous.all()) {
        if (!wanted(each.name) || batch.push(each) < BATCH) continue;
        await add(batch);
        batch = [];
      }
      await add(batch);
    } finally {
      found.extraneous.close();
    }
    return new Renames(trees, bySize);
  }

  /**
   * Says of each file that was renamed where it was.
   *
   * @param unchanged for each entry whether it is known to be unchanged.
   */
  async trace(entries: Entry[], unchanged: readonly unknown[]): Promise<Entry[]> {
    if (this.bySize.size === 0) return entries;
    const traced: Entry[] = [];
    for (const [at, entry] of entries.entries()) {
      const former = entry.error || unchanged[at] ? undefined : await this.#formerOf(entry);
      if (former) this.moved.add(former.name);
      const from = former && { source: former.source, destination: former.name };
      traced.push(from ? { ...entry, asks: { ...entry.asks, from } } : entry);
    }
    return traced;
  }

  async #formerOf({ source, sha256 }: Entry): Promise<Former | undefined> {
    const storage = storageOf(source);
    if (!storage.openPeek || sha256 !== undefined) return undefined;
    try {
      const peeked = await (await this.#peekOf(storage)).look(source);
      const sizeBytes = peeked.entry.sizeBytes ?? -1;
      const formers = this.bySize.get(sizeBytes) ?? [];
      for (const former of formers) {
        if (!(await isSame(former, peeked))) continue;
        formers.splice(formers.indexOf(former), 1); // it can be moved to one place only
        return former;
      }
      return undefined;
    } catch (error) {
      if (error instanceof TransferError) return undefined; // the attempt that carries the file reports it
      throw error;
    }
  }

  #peekOf(storage: Storage): Promise<Peek> {
    const { spec, signal, warn } = this.trees;
    let peek = this.#peeks.get(storage);
    if (!peek) {
      peek = storage.openPeek?.({ spec, signal, warn }) as Promise<Peek>;
      this.#peeks.set(storage, peek);
    }
    return peek;
  }

  async close(): Promise<void> {
    for (const peek of this.#peeks.values()) await (await peek).close();
  }
}

async function isSame(former: Former, { entry, digest }: Peeked): Promise<boolean> {
  if (entry.strongEtag !== "" && entry.strongEtag === etagOfVersion(former.version)) return true;
  return former.sha256 !== "" && (await digest("sha256")) === former.sha256;
}

/** Where a file of this name may have come from. */
function sourcesOf({ sources }: ListedTrees, name: string): string[] {
  return sources.map((source) =>
    below(parseLocation(source, { directory: "/" }).text.replace(/\/$/, ""), name),
  );
}

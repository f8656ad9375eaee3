import type { Engine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { type Algorithm, type FileFacts, type Leave, whyLeft } from "@drover/shared/leave";
import { Catalog } from "@drover/shared/protocol/catalog";
import type { RunSpec } from "@drover/shared/run";
import { destinationOf, sourceId, storageOf } from "@drover/shared/storage/registry";
import { copiesByItself } from "@drover/shared/storage/s3/service/service";
import type {
  Foreseen,
  ForeseenFile,
  Foresight,
  LookOptions,
  Peek,
  Peeked,
  Storage,
} from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";
import type { Entry } from "../expand/entry.js";

/** Finds out what a run would find at its destination for files that are not known to be unchanged. */
export class Foreseer {
  readonly #peeks = new Map<Storage, Promise<Peek>>();
  readonly #catalog: Catalog | undefined;

  private constructor(
    private readonly spec: RunSpec,
    private readonly tree: Tree,
    private readonly looking: LookOptions,
    private readonly foresight: Foresight,
    engine: Engine | undefined,
  ) {
    if (engine) this.#catalog = new Catalog(engine.redis, engine.keys);
  }

  /** Opens it. The caller closes it. */
  static async open(
    spec: RunSpec,
    tree: Tree,
    engine: Engine | undefined,
    { signal, warn }: Pick<LookOptions, "signal" | "warn">,
  ): Promise<Foreseer> {
    const looking = { spec, signal, warn };
    const foresight = await destinationOf(spec.root).openForesight(tree, { ...looking, engine });
    return new Foreseer(spec, tree, looking, foresight, engine);
  }

  /** @returns for each entry what is at its destination, or why the run could not carry it. */
  async foresee(entries: Entry[]): Promise<(Foreseen | TransferError)[]> {
    const { spec, tree } = this;
    const names = entries.map(({ destination }) => destination);
    const known = (await this.#catalog?.lookUp(tree.id, names)) ?? [];
    return await this.foresight.foresee(entries.map((entry, at) => this.#file(entry, known[at], spec)));
  }

  /** @returns for each entry why the run leaves what is there as it is; undefined where it does not, or only it can tell. */
  async whyLeft(entries: Entry[], leave: Leave): Promise<(string | undefined)[]> {
    const found = await this.foresight.look(entries.map(({ destination }) => destination));
    return await Promise.all(
      entries.map(async (entry, at) => {
        const there = found[at];
        if (there === undefined) return undefined;
        try {
          return await whyLeft(leave, there === "nothing" ? undefined : there, () => this.#factsOf(entry));
        } catch (error) {
          if (error instanceof TransferError) return undefined; // the run itself will say why
          throw error;
        }
      }),
    );
  }

  /** What is known of a source; undefined for one that is not asked for. */
  async #factsOf({ source }: Entry): Promise<FileFacts | undefined> {
    const storage = storageOf(source);
    if (!storage.openPeek) return undefined;
    const { entry, path, digest } = await (await this.#peekOf(storage)).look(source);
    const { sizeBytes, mtimeMs } = entry;
    const read = async (algorithm: Algorithm) => (await digest(algorithm)) ?? "";
    const algorithms: Algorithm[] = [];
    // Only those of a local file take time.
    for (const each of ["sha256", "md5"] as const)
      if (path !== undefined || (await digest(each)) !== undefined) algorithms.push(each);
    return { sizeBytes, mtimeMs, algorithms, digest: read };
  }

  #file(entry: Entry, last: ForeseenFile["last"], spec: RunSpec): ForeseenFile {
    const storage = storageOf(entry.source);
    const isOneService = storage === storageOf(spec.root) && storage.settings !== undefined;
    let peeked: Promise<Peeked> | undefined;
    const peek = () => {
      peeked ??= this.#peekOf(storage).then((opened) => opened.look(entry.source));
      return peeked;
    };
    return {
      name: entry.destination,
      sourceId: sourceId(entry.redacted, spec),
      expected: entry.sha256,
      last: spec.leave?.same === "checksum" ? undefined : last, // which goes by times
      peek: storage.openPeek && peek,
      isServerCopy: isOneService && copiesByItself(spec) && entry.sha256 === undefined,
    };
  }

  #peekOf(storage: Storage): Promise<Peek> {
    let peek = this.#peeks.get(storage);
    if (!peek) {
      peek = storage.openPeek?.(this.looking) as Promise<Peek>;
      this.#peeks.set(storage, peek);
    }
    return peek;
  }

  async close(): Promise<void> {
    await this.foresight.close();
    for (const peek of this.#peeks.values()) await (await peek).close();
  }
}

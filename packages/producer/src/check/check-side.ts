import { TransferError } from "@drover/shared/errors";
import type { Contents, FileVersion } from "@drover/shared/storage/contents";
import { ListingError } from "@drover/shared/storage/listing-error";
import { type Location, storageOf } from "@drover/shared/storage/registry";
import type { Lister, Looked } from "@drover/shared/storage/storage";
import { listing } from "../expand/expand.js";
import type { SortedEntry } from "../expand/sorted-listing.js";
import { type PlannedSide, shownSide } from "./plan-check.js";

/** What a side has at a name: a file, what cannot be read, or what a sync leaves out too. */
export type SideEntry = SortedEntry &
  ({ is: "file"; file: FileVersion } | { is: "failed"; why: string } | { is: "left-out"; why: string });

export interface CheckOptions {
  signal: AbortSignal;
  /** Called with messages for people about what is left out and what is waited for. */
  warn(message: string): void;
}

/** One of the two sides that are compared. It is only read. */
export class CheckSide {
  private constructor(
    private readonly planned: PlannedSide,
    private readonly lister: Lister,
    readonly contents: Contents,
    private readonly options: CheckOptions,
  ) {}

  /** The caller closes it. */
  static async open(
    planned: PlannedSide,
    headers: Record<string, string>,
    { signal, warn }: CheckOptions,
  ): Promise<CheckSide> {
    const { location, spec } = planned;
    const looking = { spec, signal, warn };
    const storage = storageOf(location);
    // As sources are listed: links to files are followed, and what is staged there is passed over.
    const lister = await storage.openLister({ ...looking, of: "sources" });
    const contents = await storage.openContents({ ...looking, headers });
    return new CheckSide(planned, lister, contents, { signal, warn });
  }

  get location(): Location {
    const { location: text } = this.planned;
    return { storage: storageOf(text), text };
  }

  /** What people call it, without secrets. */
  get shown(): string {
    return shownSide(this.planned);
  }

  /** @throws TransferError where that cannot be found out. */
  looked(): Promise<Looked> {
    return this.lister.look(this.location.text, "either");
  }

  /** A file of this side. @returns undefined if there is none. */
  file(name: string, location: string): Promise<FileVersion | undefined> {
    return this.contents.look(name, location, this.options.signal);
  }

  /**
   * Yields what is below the location, in the byte order of names.
   *
   * @param beginning of all wanted names.
   * @throws ListingError if it cannot be listed completely, so that nobody takes what was not listed for missing.
   */
  async *entries(wanted: (name: string) => boolean, beginning: string): AsyncGenerator<SideEntry> {
    const { text } = this.location;
    const found = this.lister.list(text, { wanted, beginning, after: undefined });
    let last = "";
    try {
      for (;;) {
        const step = await listing(this.shown, found.next());
        if (step.done) return;
        const { value: each } = step;
        if (each.is === "passed") continue;
        if (each.is === "file") {
          const { name, location, sizeBytes, mtimeMs, version } = each;
          last = name;
          yield {
            is: "file",
            name,
            hides: false,
            file: { name, location, sizeBytes, mtimeMs, version },
          };
        } else if (each.is === "skipped") {
          const { name, location, why, hides } = each;
          this.options.warn(`left out ${location}: ${why}`);
          last = name;
          yield { is: "left-out", name, hides, why };
        } else {
          const { tree, error, location } = each;
          // Names of it came already: of the others nobody knows where they would have been.
          if (tree === "" || (tree !== undefined && last.startsWith(`${tree}/`)))
            throw new ListingError(location, error);
          const name = tree === undefined ? each.name || nameIn(text, location) : `${tree}/`;
          yield { is: "failed", name, hides: tree !== undefined, why: error.message };
        }
      }
    } finally {
      await found.return(undefined);
    }
  }

  async close(): Promise<void> {
    await this.lister.close();
    await this.contents.close();
  }
}

/** The name of an item that has none that can be told, for people. */
function nameIn(root: string, location: string): string {
  const prefix = root.endsWith("/") ? root : `${root}/`;
  return location.startsWith(prefix) ? location.slice(prefix.length) : location;
}

/** Whether an error says that nothing is there. */
export function isNotFound(error: unknown): boolean {
  return error instanceof TransferError && error.class === "not-found";
}

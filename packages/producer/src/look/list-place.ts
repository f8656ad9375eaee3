import { TransferError } from "@drover/shared/errors";
import type { RunSpec } from "@drover/shared/run";
import type { ListedLevel, Lister } from "@drover/shared/storage/storage";
import { beginningOf } from "../expand/beginning.js";
import { listing } from "../expand/expand.js";
import { isWithin, type Limits } from "../expand/limits.js";
import { wantedBy } from "../expand/wanted.js";
import { matcherOf } from "../expand/wildcards.js";
import { asFile, type Place } from "./places.js";

/** What is at a place: a file, a directory or prefix, or what could not be looked at. */
export type PlaceEntry =
  | {
      is: "file";
      /** Relative to the place, with `/`; of a place that is a file its last component. */
      name: string;
      location: string;
      sizeBytes: number | undefined;
      /** Unix ms. */
      mtimeMs: number | undefined;
      version: string | undefined;
      storageClass?: string;
    }
  | { is: "tree"; name: string; location: string }
  | { is: "failed"; name: string; location: string; error: TransferError };

/** Which entries are wanted. Directories and prefixes always are. */
export interface PlaceSelection extends Limits, Pick<RunSpec, "patterns" | "filters"> {}

export interface ListPlaceOptions {
  isRecursive: boolean;
  selection: PlaceSelection;
  /** Request headers for URLs. */
  headers: Record<string, string>;
  signal: AbortSignal;
  /** Called with messages for people about what is left out and what is waited for. */
  warn(message: string): void;
}

/**
 * Yields what is at a place in the byte order of names, in bounded memory: one level, or all files below it. Wildcards choose
 * from all levels.
 *
 * @throws ListingError if it cannot be listed completely, after what came before.
 */
export async function* listPlace(place: Place, options: ListPlaceOptions): AsyncGenerator<PlaceEntry> {
  const { signal, warn } = options;
  const { storage } = place.location;
  const lister = await storage.openLister({ spec: place.spec, signal, warn, of: "destination" });
  try {
    yield* listWith(lister, place, options);
  } finally {
    await lister.close();
  }
}

async function* listWith(
  lister: Lister,
  place: Place,
  options: ListPlaceOptions,
): AsyncGenerator<PlaceEntry> {
  const { text, wildcards, storage } = place.location;
  const selection = { ...options.selection, patternSyntax: "rclone" as const };
  const wanted = wantedBy(selection);
  if (wildcards) {
    const chosen = matcherOf(wildcards.pattern);
    const both = (name: string) => chosen.wanted(name) && wanted(name);
    yield* entriesOf(
      text,
      lister.list(text, { wanted: both, beginning: chosen.beginning, after: undefined }),
      options,
    );
    return;
  }
  if (storage.isTree(text) !== false) {
    const looked = await listing(text, lister.look(text, "either"));
    if (looked.is === "failed") {
      yield { is: "failed", name: nameOf(place), location: text, error: looked.error };
      return;
    }
    if (looked.is === "tree") {
      const all = () => lister.list(text, { wanted, beginning: beginningOf(selection), after: undefined });
      const found = options.isRecursive ? all() : (lister.level?.(text, wanted) ?? firstLevel(all(), text));
      yield* entriesOf(text, found, options);
      return;
    }
  }
  yield await fileAt(place, options);
}

/** The place itself, which is a file or nothing. */
async function fileAt(place: Place, options: ListPlaceOptions): Promise<PlaceEntry> {
  const { signal, warn, headers } = options;
  const { storage, text } = place.location;
  const { spec, name: below } = asFile(place);
  const name = below === "" ? nameOf(place) : below;
  const contents = await storage.openContents({ spec, signal, warn, headers });
  try {
    const file = await contents.look(below, text, signal);
    if (file) return { is: "file", ...file, name };
    const error = new TransferError("not-found", `no such ${storage.noun}`, { permanent: true });
    return { is: "failed", name, location: text, error };
  } catch (error) {
    if (!(error instanceof TransferError) || error.class === "cancelled") throw error;
    return { is: "failed", name, location: text, error };
  } finally {
    await contents.close();
  }
}

function nameOf({ location: { storage, text } }: Pick<Place, "location">): string {
  return storage.fileName(text, "name");
}

async function* entriesOf(
  shown: string,
  found: AsyncGenerator<ListedLevel>,
  { selection, warn }: ListPlaceOptions,
): AsyncGenerator<PlaceEntry> {
  try {
    for (
      let step = await listing(shown, found.next());
      !step.done;
      step = await listing(shown, found.next())
    ) {
      const { value: each } = step;
      if (each.is === "skipped") warn(`left out ${each.location}: ${each.why}`);
      else if (each.is === "tree") yield each;
      else if (each.is === "failed") {
        const { location, error } = each;
        yield { is: "failed", name: each.name || (each.tree ? `${each.tree}/` : ""), location, error };
      } else if (each.is === "file" && isWithin(selection, each.sizeBytes, each.mtimeMs)) {
        const { name, location, sizeBytes, version, storageClass } = each;
        const mtimeMs = each.mtimeMs === 0 ? undefined : each.mtimeMs; // a server that tells none
        const more = storageClass === undefined ? {} : { storageClass };
        yield { is: "file", name, location, sizeBytes, mtimeMs, version, ...more };
      }
    }
  } finally {
    await found.return(undefined);
  }
}

/** The first level of a listing of the whole tree. */
async function* firstLevel(all: AsyncGenerator<ListedLevel>, root: string): AsyncGenerator<ListedLevel> {
  let last: string | undefined;
  for await (const each of all) {
    const slash = each.is === "file" ? each.name.indexOf("/") : -1;
    if (each.is !== "file" || slash < 0) {
      yield each;
      continue;
    }
    const name = each.name.slice(0, slash);
    if (name !== last) yield { is: "tree", name, location: `${root}/${encodeURIComponent(name)}` };
    last = name;
  }
}

import type { RunSpec } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import { type Location, storageOf } from "@drover/shared/storage/registry";
import type { ListedName } from "@drover/shared/storage/storage";
import type { TreeNames } from "@drover/shared/storage/tree";
import { listing } from "../expand/expand.js";
import { isWithin } from "../expand/limits.js";
import type { Listers } from "../expand/listers.js";
import { wantedBy } from "../expand/wanted.js";

/**
 * Yields all names of a source directory or prefix in byte order, regardless of filters.
 *
 * @param beginning of the names that matter: others may be left out.
 * @throws ListingError if it cannot be listed completely.
 */
export async function* namesOfSource(
  { storage, text: location }: Location,
  listers: Listers,
  beginning: string,
): AsyncGenerator<ListedName> {
  const lister = await listers.of(storage);
  yield* toItsEnd(location, lister.names(location, beginning));
}

/**
 * Yields the names that the run takes of a source directory or prefix, by all of its filters, in byte order. What could not be
 * looked at, or is left out as it is no file, counts as taken.
 *
 * @throws ListingError if it cannot be listed completely.
 */
export async function* takenOf(
  { storage, text: location }: Location,
  listers: Listers,
  spec: RunSpec,
): AsyncGenerator<ListedName> {
  const lister = await listers.of(storage);
  const listed = lister.list(location, { wanted: wantedBy(spec), after: undefined });
  for await (const each of toItsEnd(location, listed)) {
    if (each.is === "passed" || (each.is === "file" && !isWithin(spec, each.sizeBytes, each.mtimeMs)))
      continue;
    if (each.is === "failed" && each.name === "") throw new ListingError(each.location, each.error);
    const hides = each.is === "skipped" && each.hides;
    yield { name: each.name, hides, isFile: each.is === "file", stamp: () => undefined };
  }
}

/**
 * Yields all files of a destination that a sync may have written, in byte order.
 *
 * @param listers of the destination.
 * @param beginning of the names that matter: others may be left out.
 * @throws ListingError if it cannot be listed completely.
 */
export async function* filesOf(
  tree: TreeNames,
  listers: Listers,
  beginning: string,
): AsyncGenerator<ListedName> {
  const lister = await listers.of(storageOf(tree.root));
  for await (const each of toItsEnd(tree.root, lister.names(tree.root, beginning)))
    if (each.isFile) yield each;
}

async function* toItsEnd<T>(location: string, names: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    for (;;) {
      const step = await listing(location, names.next());
      if (step.done) return;
      yield step.value;
    }
  } finally {
    await names.return(undefined);
  }
}

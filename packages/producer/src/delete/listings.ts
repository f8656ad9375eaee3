import { type Location, storageOf } from "@drover/shared/storage/registry";
import type { ListedName } from "@drover/shared/storage/storage";
import type { TreeNames } from "@drover/shared/storage/tree";
import { listing } from "../expand/expand.js";
import type { Listers } from "../expand/listers.js";

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

async function* toItsEnd(location: string, names: AsyncGenerator<ListedName>): AsyncGenerator<ListedName> {
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

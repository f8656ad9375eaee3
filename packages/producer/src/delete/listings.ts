import { lstatSync } from "node:fs";
import { TransferError } from "@drover/shared/errors";
import { safeKey } from "@drover/shared/paths";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import type { RunSpec } from "@drover/shared/run";
import { walk } from "@drover/shared/storage/local/walk";
import type { S3Sources } from "@drover/shared/storage/s3/listing/objects";
import type { ListedObject } from "@drover/shared/storage/s3/listing/page";
import { type S3Name, s3Text } from "@drover/shared/storage/s3/name";
import { S3Tree } from "@drover/shared/storage/s3/tree";
import type { Tree } from "@drover/shared/storage/tree";
import { destinationBelow, destinationInside, listing } from "../expand/expand.js";
import { ListingError } from "../expand/listing-error.js";
import { parseSource } from "../expand/source-name.js";
import type { ListedName } from "./extraneous.js";

/**
 * All names of a source directory or prefix, whatever the filters say, in the order of their bytes.
 *
 * @throws ListingError where it cannot be listed to its end.
 */
export async function* namesOfSource(text: string, spec: RunSpec, s3: S3Sources): AsyncGenerator<ListedName> {
  const source = parseSource(text, "/");
  if (source.is === "s3") yield* namesOfPrefix(source, destinationBelow(source, source.key, spec), s3);
  else if (source.is === "path")
    yield* namesOfDirectory(source.path, destinationInside(source.path, spec.root));
  else throw new Error(`${text} has no listing`);
}

/** @param own prefix below that is being written to: it is no part of the source. */
async function* namesOfPrefix(
  { bucket, key: prefix }: S3Name,
  own: string | undefined,
  s3: S3Sources,
): AsyncGenerator<ListedName> {
  for await (const { key, unreadable } of objectsBelow(bucket, prefix, s3)) {
    if (own !== undefined && key.startsWith(own)) continue;
    if (unreadable) {
      const why = `its key ${key} is not valid UTF-8`;
      throw new ListingError(
        s3Text({ bucket, key: prefix }),
        new TransferError("path", why, { permanent: true }),
      );
    }
    if (!key.endsWith("/")) yield { name: key.slice(prefix.length), hides: false };
  }
}

async function* objectsBelow(bucket: string, prefix: string, s3: S3Sources): AsyncGenerator<ListedObject> {
  const pages = s3.below(bucket, prefix, "");
  try {
    for (;;) {
      const page = await listing(s3Text({ bucket, key: prefix }), pages.next());
      if (page.done) return;
      yield* page.value;
    }
  } finally {
    await pages.return(undefined);
  }
}

/** A file of the destination. */
export interface DestinationFile {
  name: string;
  /** What says whether it is still the same: its stamp in the catalog's form; undefined where it is gone. */
  version(): string | undefined;
}

/**
 * All files of a destination, in the order of their bytes: what is no regular file, and names that cannot be told, are
 * left out.
 *
 * @param s3 reaches the destination's service.
 * @throws ListingError where it cannot be listed to its end.
 */
export async function* filesOf(tree: Tree, s3: S3Sources): AsyncGenerator<DestinationFile> {
  if (tree instanceof S3Tree) {
    for await (const { key, etag, unreadable } of objectsBelow(tree.bucket, tree.prefix, s3)) {
      const name = key.slice(tree.prefix.length);
      if (unreadable || !isOurs(name)) continue;
      yield { name, version: () => etag };
    }
    return;
  }
  for await (const { name, isFile } of namesOfDirectory(tree.root)) {
    if (!isFile) continue;
    const version = () => {
      const stat = lstatSync(tree.path(name), { bigint: true, throwIfNoEntry: false });
      return stat?.isFile() ? statStamp(stat) : undefined;
    };
    yield { name, version };
  }
}

/** Whether a sync may have written an object: others, such as `a/../b`, could lead anywhere on their way. */
function isOurs(name: string): boolean {
  try {
    safeKey(name);
    return true;
  } catch {
    return false;
  }
}

/** @param destination directory below that is being written to, relative: it is no part of the source. */
async function* namesOfDirectory(
  directory: string,
  destination?: string,
): AsyncGenerator<ListedName & { isFile: boolean }> {
  for await (const found of walk(directory, { names: true, destination, wanted: () => true })) {
    if (found.is === "failed") throw new ListingError(found.path, found.error);
    if (found.is === "named")
      yield { name: found.relative, hides: found.kind === "l", isFile: found.kind === "f" };
  }
}

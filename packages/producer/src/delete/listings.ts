import { TransferError } from "@drover/shared/errors";
import type { RunSpec } from "@drover/shared/run";
import { parseS3, s3Text } from "@drover/shared/storage/s3/name";
import { destinationInside, listing } from "../expand/expand.js";
import { ListingError } from "../expand/listing-error.js";
import type { S3Sources } from "../expand/s3/source.js";
import { parseSource } from "../expand/source-name.js";
import { walk } from "../expand/walk.js";
import type { SourceName } from "./extraneous.js";

/**
 * All names of a source directory or prefix, whatever the filters say, in the order of their bytes.
 *
 * @throws ListingError where it cannot be listed to its end.
 */
export async function* namesOfSource(text: string, spec: RunSpec, s3: S3Sources): AsyncGenerator<SourceName> {
  const source = parseSource(text, "/");
  if (source.is === "s3") yield* namesOfPrefix(text, s3);
  else if (source.is === "path")
    yield* namesOfDirectory(source.path, destinationInside(source.path, spec.root));
  else throw new Error(`${text} has no listing`);
}

async function* namesOfPrefix(text: string, s3: S3Sources): AsyncGenerator<SourceName> {
  const { bucket, key: prefix } = parseS3(text);
  const shown = s3Text({ bucket, key: prefix });
  const pages = s3.below(bucket, prefix, "");
  try {
    for (;;) {
      const page = await listing(shown, pages.next());
      if (page.done) return;
      for (const { key, unreadable } of page.value) {
        if (unreadable) {
          const why = `its key ${key} is not valid UTF-8`;
          throw new ListingError(shown, new TransferError("path", why, { permanent: true }));
        }
        if (!key.endsWith("/")) yield { name: key.slice(prefix.length), hides: false };
      }
    }
  } finally {
    await pages.return(undefined);
  }
}

/** @param destination directory below that is being written to, relative: it is no part of the source. */
export async function* namesOfDirectory(
  directory: string,
  destination?: string,
): AsyncGenerator<SourceName & { isFile: boolean }> {
  for await (const found of walk(directory, { names: true, destination, wanted: () => true })) {
    if (found.is === "failed") throw new ListingError(found.path, found.error);
    if (found.is === "named")
      yield { name: found.relative, hides: found.kind === "l", isFile: found.kind === "f" };
  }
}

import { TransferError } from "@drover/shared/errors";
import type { ListPosition } from "./cursor.js";
import { type ListLine, MOST_LINE_BYTES, sourceLines } from "./list.js";
import type { ListItem } from "./list-items.js";
import { refusal } from "./list-line.js";

/**
 * The items of a list of a run that began before {@link RunSpec.listSyntax}: each line that is not empty is
 * `source [TAB destination [TAB sha256]]`, blanks and `#` included.
 *
 * @throws ListingError if it cannot be read completely.
 */
export async function* legacyItems(
  list: string | AsyncIterable<string | Buffer>,
  from: ListPosition,
): AsyncGenerator<ListItem> {
  for await (const line of sourceLines(list, from.listByte)) {
    if (line.text.trim() === "" && !line.tooLong) continue;
    const { startByte, nextByte } = line;
    yield {
      where: undefined,
      start: { listByte: startByte },
      next: { listByte: nextByte },
      says: sayingOf(line),
    };
  }
}

function sayingOf({ text, tooLong, startByte }: ListLine): ListItem["says"] {
  if (tooLong) {
    const source = `the line at byte ${startByte} of the list`;
    return { source, error: refusal(`the line is over ${MOST_LINE_BYTES} bytes`) };
  }
  const [source = "", destination = "", sha256 = ""] = text.split("\t");
  if (sha256 === "" || /^[0-9a-f]{64}$/i.test(sha256))
    return { source, destination: destination || undefined, sha256: sha256.toLowerCase() || undefined };
  const why = "the third column of the list is no SHA-256 (64 hexadecimal digits)";
  return { source, error: new TransferError("checksum", why, { permanent: true }) };
}

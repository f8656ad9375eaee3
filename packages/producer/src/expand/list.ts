import { createReadStream } from "node:fs";
import { messageOf, TransferError, UnavailableError } from "@drover/shared/errors";
import { ListingError } from "@drover/shared/storage/listing-error";

/** Longest line in bytes, so that a binary file given as a list cannot fill the memory. */
export const MOST_LINE_BYTES = 64 << 10;

/** Byte order mark, which some editors write at the start of UTF-8 files. */
const MARK = Buffer.from("\ufeff");

export interface ListLine {
  /** Empty for a line that is too long. */
  text: string;
  /** The line exceeds {@link MOST_LINE_BYTES}. */
  tooLong?: true;
  /** Offset of the line in bytes. */
  startByte: number;
  /** Offset of the next line in bytes: the cursor after this line. */
  nextByte: number;
}

/**
 * Yields the lines of a list without their ends (LF or CRLF). A last line without an end counts; a byte order
 * mark at the start does not.
 *
 * @param startByte offset where an earlier reader stopped. Default 0.
 * @throws UnavailableError if the list cannot be read.
 */
export async function* readList(
  input: string | AsyncIterable<string | Buffer>,
  startByte = 0,
): AsyncGenerator<ListLine> {
  const stream =
    typeof input === "string" ? createReadStream(input, { start: startByte, highWaterMark: 1 << 18 }) : input;
  let rest: Buffer = Buffer.alloc(0);
  let at = startByte;
  let dropped = 0; // bytes before `at` that belong to a line too long to be kept
  const line = (bytes: Buffer, next: number): ListLine => {
    const start = at - dropped;
    if (dropped + bytes.length > MOST_LINE_BYTES)
      return { text: "", tooLong: true, startByte: start, nextByte: next };
    const end = bytes.at(-1) === 13 ? bytes.length - 1 : bytes.length;
    const begin = start === 0 && bytes.subarray(0, MARK.length).equals(MARK) ? MARK.length : 0;
    return { text: bytes.toString("utf8", begin, end), startByte: start, nextByte: next };
  };
  try {
    for await (const piece of stream) {
      const chunk = Buffer.isBuffer(piece) ? piece : Buffer.from(piece);
      const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let from = 0;
      for (let end = data.indexOf(10, from); end >= 0; end = data.indexOf(10, from)) {
        const next = at + end + 1 - from;
        yield line(data.subarray(from, end), next);
        at = next;
        dropped = 0;
        from = end + 1;
      }
      rest = Buffer.from(data.subarray(from)); // a copy, so that the chunk can be freed
      if (dropped + rest.length <= MOST_LINE_BYTES) continue;
      dropped += rest.length;
      at += rest.length;
      rest = Buffer.alloc(0);
    }
  } catch (error) {
    const name = typeof input === "string" ? ` ${input}` : "";
    throw new UnavailableError(`cannot read the list${name}: ${(error as Error).message}`, { cause: error });
  }
  if (rest.length + dropped > 0) yield line(rest, at + rest.length);
}

/**
 * Yields the lines of a list of sources.
 *
 * @throws ListingError if it cannot be read completely.
 */
export async function* sourceLines(
  list: string | AsyncIterable<string | Buffer>,
  startByte: number,
): AsyncGenerator<ListLine> {
  try {
    yield* readList(list, startByte);
  } catch (error) {
    const { cause } = error as Error;
    if (cause instanceof ListingError) throw cause;
    throw new ListingError(
      "the sources in the list",
      new TransferError("io", messageOf(error), { cause: error }),
    );
  }
}

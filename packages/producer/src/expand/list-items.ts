import { messageOf, TransferError } from "@drover/shared/errors";
import { ListingError } from "@drover/shared/storage/listing-error";
import type { ListPosition } from "./cursor.js";
import { type ListLine, MOST_LINE_BYTES, sourceLines } from "./list.js";
import { type ListedSource, parseLine, refusal } from "./list-line.js";
import { parseRecord, sourceOfRecord, type TableForm, tableFormOf } from "./list-table.js";

/** One item of a list. */
export interface ListItem {
  /** What errors call it, `line 17 of urls.txt`; undefined in lists of the earlier syntax. */
  where: string | undefined;
  start: ListPosition;
  /** Where the list goes on after it. */
  next: ListPosition;
  says: ListedSource | Nonsense;
}

/** An item that means nothing. */
export interface Nonsense {
  /** What the item is called instead of its source; it may include secrets. */
  source: string;
  error: TransferError;
}

/** How a list is read. */
export interface ListReading {
  /** What errors call the list. */
  name: string;
  /** URL that names of `sha256sum` are below; undefined for paths. */
  baseUrl: string | undefined;
}

/**
 * Yields the items of a list of sources: lines, lines of `sha256sum`, or the records below a header. Empty lines and
 * those that begin with `#` are skipped.
 *
 * @param list its path, or its bytes from the position on.
 * @throws ListingError if it cannot be read completely.
 */
export async function* listItems(
  list: string | AsyncIterable<string | Buffer>,
  from: ListPosition,
  { name, baseUrl }: ListReading,
): AsyncGenerator<ListItem> {
  const lines = sourceLines(list, from.listByte);
  let { listLine = 0, table } = from;
  let mayBeHeader = from.listByte === 0;
  const positionAt = (listByte: number): ListPosition => ({
    listByte,
    listLine,
    ...(table ? { table } : {}),
  });
  for await (const line of lines) {
    const start = positionAt(line.startByte);
    listLine++;
    const text = line.text.replace(table ? /^ +/ : /^[ \t]+/, ""); // a tab at the start is an empty column of a table
    if ((text.trim() === "" || text.startsWith("#")) && !line.tooLong) continue;
    const where = `line ${listLine} of ${name}`;
    if (mayBeHeader) {
      mayBeHeader = false;
      table = headerOf(text, where);
      if (table) continue;
    }
    let says: ListItem["says"];
    let last: Pick<ListLine, "nextByte"> = line;
    if (line.tooLong) {
      says = {
        source: `the line at byte ${line.startByte} of the list`,
        error: refusal(`the line is over ${MOST_LINE_BYTES} bytes`),
      };
    } else if (table) {
      const record = await recordOf(text, lines, { table, where });
      listLine += record.furtherLines;
      last = record.last ?? line;
      says = record.says;
    } else says = unlessBad(() => parseLine(text, baseUrl), labelOf(text, where));
    yield { where, start, next: positionAt(last.nextByte), says };
  }
}

/** @throws ListingError for a header that cannot be used. */
function headerOf(text: string, where: string): TableForm | undefined {
  try {
    return tableFormOf(text);
  } catch (error) {
    throw unreadable(where, messageOf(error));
  }
}

/**
 * Reads a record, which goes on in further lines where a field in quotes has line breaks.
 *
 * @throws ListingError for a quote that is not closed: nobody can tell where the next record begins.
 */
async function recordOf(
  start: string,
  lines: AsyncGenerator<ListLine>,
  { table, where }: { table: TableForm; where: string },
): Promise<{ says: ListItem["says"]; last: ListLine | undefined; furtherLines: number }> {
  let text = start;
  let last: ListLine | undefined;
  for (let furtherLines = 0; ; furtherLines++) {
    const says = unlessBad(() => {
      const fields = parseRecord(text, table.delimiter);
      return fields && sourceOfRecord(fields, table);
    }, where);
    if (says) return { says, last, furtherLines };
    const { value, done } = await lines.next();
    text = done ? text : `${text}\n${value.text}`;
    if (done || value.tooLong || Buffer.byteLength(text) > MOST_LINE_BYTES)
      throw unreadable(where, `a quote is not closed within ${MOST_LINE_BYTES} bytes`);
    last = value;
  }
}

/** The result, or the error of what cannot be understood. */
function unlessBad<T>(parse: () => T, source: string): T | Nonsense {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    return { source, error };
  }
}

/** The source of a line that cannot be understood. A line of `sha256sum` has none that could be redacted. */
function labelOf(text: string, where: string): string {
  return /^\\?[0-9a-f]{64} /i.test(text) ? where : (text.split("\t", 1)[0] as string);
}

function unreadable(where: string, why: string): ListingError {
  return new ListingError(
    "the sources in the list",
    new TransferError("unsupported", `${where}: ${why}`, { permanent: true }),
    "mend the list, and give it to a new drover sync",
  );
}

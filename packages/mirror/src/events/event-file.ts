import { MOST_LINE_BYTES, readList } from "@drover/producer/expand/list";
import { SettingsError } from "@drover/shared/errors";

const PAGE = 500;

/**
 * Reads the events of a file, one a line (JSON), in pages. What is no event becomes a dead letter when it is followed.
 *
 * @throws SettingsError for a line that is too long, or a file that cannot be read.
 */
export async function* readEventFile(file: string): AsyncGenerator<string[]> {
  let page: string[] = [];
  let line = 0;
  for await (const { text, tooLong } of readList(file)) {
    line++;
    if (tooLong) throw new SettingsError(`${file}, line ${line}: it is over ${MOST_LINE_BYTES} bytes`);
    if (text.trim() === "") continue;
    page.push(text.trim());
    if (page.length < PAGE) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

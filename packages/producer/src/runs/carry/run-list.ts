import { accessSync, constants, createReadStream, existsSync, statSync } from "node:fs";
import { Readable } from "node:stream";
import { errnoCode, SettingsError, TransferError } from "@drover/shared/errors";
import type { Run } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import { type Cursor, START } from "../../expand/cursor.js";
import { unfinished } from "./piped-list.js";

/** Identifies the content of a list well enough to continue in its middle. */
export function stampOf(stat: { size: number; mtimeMs: number }): string {
  return `${stat.size}:${stat.mtimeMs}`;
}

/** @throws SettingsError if the list cannot be read. */
export function checkReadable(list: string): void {
  try {
    accessSync(list, constants.R_OK);
  } catch (error) {
    throw new SettingsError(`cannot read the list ${list} (${errnoCode(error)})`);
  }
}

/** The saved cursor of a run's expansion. */
export function cursorOf(run: Run): Cursor {
  return run.cursor === "" ? START : (JSON.parse(run.cursor) as Cursor);
}

/** @throws SettingsError if the list has changed since the run began, or is not on this machine. */
export function checkRunList({ id, sealed, spec: { list, listStamp, listIsStored } }: Run): void {
  if (list === undefined || listIsStored || sealed) return;
  const stat = statSync(list, { throwIfNoEntry: false });
  if (!stat && existsSync(unfinished(list))) return;
  if (!stat) throw new SettingsError(`the list ${list} is not there any more: start a new sync`);
  if (listStamp !== undefined && stampOf(stat) !== listStamp)
    throw new SettingsError(`the list ${list} has changed since run ${id} began: start a new sync`);
  checkReadable(list);
}

/** The rest of a list that came with the request of a run, from the saved cursor. */
export function openStoredList(run: Run, list: string): NodeJS.ReadableStream {
  return Readable.from([Buffer.from(list).subarray(cursorOf(run).listByte)]);
}

/**
 * Opens the rest of a run's list, from the saved cursor.
 *
 * @throws SettingsError as {@link checkRunList}.
 */
export function openRunList(run: Run): AsyncIterable<Buffer> | undefined {
  const { list } = run.spec;
  if (list === undefined) return undefined;
  checkRunList(run);
  const options = { start: cursorOf(run).listByte, highWaterMark: 1 << 18 };
  return existsSync(list) ? createReadStream(list, options) : cutOff(unfinished(list), options);
}

/**
 * Yields the kept beginning of a list whose pipe was not read completely. Its incomplete last line is not
 * used.
 */
async function* cutOff(list: string, options: { start: number }): AsyncGenerator<Buffer> {
  yield* createReadStream(list, options) as AsyncIterable<Buffer>;
  throw new ListingError(
    "the sources that were still in the pipe",
    new TransferError("io", "the run was interrupted before it had read them"),
    "give the whole list to a new drover sync",
  );
}

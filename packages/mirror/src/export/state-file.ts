import { createWriteStream, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { csvHead, csvLines, stateRowsOf } from "@drover/producer/catalog/csv";
import { type Change, diffRows } from "@drover/producer/catalog/diff";
import { whole } from "@drover/producer/catalog/export";
import { type Row, toBytes, toText } from "@drover/producer/catalog/rows";
import { Sorter } from "@drover/producer/catalog/sorter";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { pipelined } from "@drover/shared/redis/script";
import type { MirrorContext } from "../context.js";
import type { Holding } from "../state/holding.js";
import { pairs, pairsOf } from "../state/pairs.js";
import { updateDatabase } from "./database.js";
import { stateLines } from "./state-lines.js";
import { rowOf } from "./state-rows.js";

/** State files that are kept. */
const MOST_FILES = 20;
const NAME = /^state-\d{4}-\d\d-\d\dT[\dZ.-]+\.csv$/;
/** Paths that are forgotten in one call. */
const PAGE = 1_000;
/** Paths that changed since the last export, beyond which all are read again. */
const MOST_TOUCHED = 100_000;

/** A state that was written to a file. */
export interface StateFile {
  path: string;
  records: number;
}

/** How a state differs from the one before. */
export type ChangeCounts = Record<Change["change"], number>;

export function noChanges(): ChangeCounts {
  return { added: 0, removed: 0, changed: 0, renamed: 0, permissions: 0 };
}

/** What an export found. */
export interface Exported extends StateFile {
  /** Undefined where there was no file to compare with. */
  changes: ChangeCounts | undefined;
  /** Whether a file was written: else the last one is of this state. */
  isNew: boolean;
}

/**
 * Has the newest state file, and the database, say what is wanted now. Where this process wrote the last file, only what
 * changed since is read from Redis.
 *
 * @throws SettingsError if a file cannot be written.
 */
export async function exportState(context: MirrorContext, holding: Holding): Promise<Exported> {
  const { engine, state, config } = context;
  const last = lastFile(await state.fields(), config.dataDir);
  const touched = last === undefined ? undefined : await touchedPaths(context);
  if (last !== undefined && touched?.length === 0) return { ...last, changes: noChanges(), isNew: false };
  const path = join(config.dataDir, `state-${new Date().toISOString().replaceAll(":", "-")}.csv`);
  try {
    mkdirSync(config.dataDir, { recursive: true });
  } catch (error) {
    throw new SettingsError(`cannot make ${config.dataDir} (${errnoCode(error)})`);
  }
  let exported: Exported;
  if (last === undefined || touched === undefined) {
    // From here on the last file is of no use, and what changes is in the next export.
    await state.change(holding.fence, { fields: { exportPath: "" } });
    await engine.redis.unlink(state.keys.touched());
    exported = { ...(await exportAll(context, path)), changes: undefined, isNew: true };
  } else exported = { ...(await exportChanged(context, last.path, path, touched)), isNew: true };
  const { size, mtimeMs } = statSync(path);
  await state.change(holding.fence, {
    fields: { exportPath: path, exportStamp: `${size}:${mtimeMs}`, exportRecords: exported.records },
  });
  if (touched !== undefined && touched.length > 0) await forgetTouched(context, touched);
  tidy(config.dataDir);
  return exported;
}

/**
 * Has the database say what a sync found since the last export. The next export says it again: nothing else is changed. Where
 * there is no last file, or too much has changed, that export fills the database anew.
 */
export async function refreshDatabase(context: MirrorContext): Promise<void> {
  const { config, state } = context;
  const last = lastFile(await state.fields(), config.dataDir);
  const touched = await touchedPaths(context);
  if (config.database === undefined || last === undefined || touched === undefined) return;
  const changed = (await pairsOf(context, touched)).map((pair) => ({ path: pair.path, row: rowOf(pair) }));
  const { path } = last;
  await updateDatabase(config, {
    ...{ path, since: path },
    rows: changed.map(({ row }) => row).filter((row) => row !== undefined),
    gone: changed.filter(({ row }) => row === undefined).map((each) => each.path),
  });
}

/** The last file, if it is here and as it was written. */
function lastFile(fields: Record<string, string>, dataDir: string): StateFile | undefined {
  const { exportPath: path, exportStamp, exportRecords } = fields;
  if (!path || dirname(path) !== dataDir) return undefined;
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat && exportStamp === `${stat.size}:${stat.mtimeMs}`
    ? { path, records: Number(exportRecords) }
    : undefined;
}

/** @returns undefined where they are too many. */
async function touchedPaths({ engine: { redis }, state }: MirrorContext): Promise<string[] | undefined> {
  if ((await redis.scard(state.keys.touched())) > MOST_TOUCHED) return undefined;
  return await redis.smembers(state.keys.touched());
}

async function forgetTouched({ engine: { redis }, state }: MirrorContext, paths: string[]): Promise<void> {
  await pipelined(redis, () => {
    const pipeline = redis.pipeline();
    for (let from = 0; from < paths.length; from += PAGE)
      pipeline.srem(state.keys.touched(), ...paths.slice(from, from + PAGE));
    return pipeline;
  });
}

async function exportAll(context: MirrorContext, path: string): Promise<StateFile> {
  const records = await exportTo(context, path, writeNothing);
  await updateDatabase(context.config, { path, since: undefined, rows: [], gone: [] });
  return { path, records };
}

async function writeNothing(): Promise<void> {}

/**
 * Writes all of the state as CSV, sorted by path.
 *
 * @param output file, which appears complete or not at all; undefined for `write`.
 * @returns how many records there are.
 */
export async function exportTo(
  context: MirrorContext,
  output: string | undefined,
  write: (chunks: Iterable<Buffer>) => Promise<void>,
): Promise<number> {
  const sorter = new Sorter();
  let records = 0;
  try {
    for await (const pair of pairs(context)) {
      const row = rowOf(pair);
      if (row !== undefined) sorter.add(`${row.path}\0${csvLines([row], true)}`);
    }
    const text = function* () {
      yield Buffer.from(csvHead(true));
      for (const record of sorter.sorted()) {
        records++;
        yield Buffer.from(record.slice(record.indexOf("\0") + 1), "latin1");
      }
    };
    if (output === undefined) await write(inChunks(text()));
    else await writeWhole(output, inChunks(text()));
    return records;
  } finally {
    sorter.close();
  }
}

/** Writes the last file anew with the rows that changed. */
async function exportChanged(
  context: MirrorContext,
  last: string,
  path: string,
  touched: string[],
): Promise<StateFile & { changes: ChangeCounts }> {
  const now = new Map<string, Row | undefined>();
  for (const pair of await pairsOf(context, touched)) now.set(toBytes(pair.path), rowOf(pair));
  const order = [...now.keys()].sort();
  let olds = "";
  let records = 0;
  const merged = async function* () {
    yield Buffer.from(csvHead(true));
    let at = 0;
    const upTo = (end: string | undefined): string => {
      let text = "";
      for (; at < order.length && (end === undefined || (order[at] as string) < end); at++) {
        const row = now.get(order[at] as string);
        if (row === undefined) continue;
        records++;
        text += csvLines([row], true);
      }
      return text;
    };
    for await (const page of stateLines(last)) {
      let text = "";
      for (const line of page) {
        if (at < order.length && (order[at] as string) < line.path) text += upTo(line.path);
        if (now.has(line.path)) olds += line.text;
        else {
          records++;
          text += line.text;
        }
      }
      yield Buffer.from(text, "latin1");
    }
    yield Buffer.from(upTo(undefined), "latin1");
  };
  await writeWhole(path, merged());
  const rows = order.map((each) => now.get(each)).filter((row) => row !== undefined);
  const gone = order.filter((each) => now.get(each) === undefined).map((each) => toText(each) as string);
  await updateDatabase(context.config, { path, since: last, rows, gone });
  const changes = noChanges();
  for await (const { change } of diffRows(stateRowsOf(olds), rows)) changes[change]++;
  return { path, records, changes };
}

async function writeWhole(path: string, chunks: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<void> {
  await whole(path, (temporary) =>
    pipeline(Readable.from(chunks), createWriteStream(temporary, { flags: "w", flush: true })),
  );
}

/** Joins small chunks. */
function* inChunks(chunks: Iterable<Buffer>): Generator<Buffer> {
  let some: Buffer[] = [];
  let bytes = 0;
  for (const chunk of chunks) {
    some.push(chunk);
    bytes += chunk.length;
    if (bytes < 1 << 16) continue;
    yield Buffer.concat(some);
    some = [];
    bytes = 0;
  }
  yield Buffer.concat(some);
}

/** The state files of a directory, the newest first. */
export function stateFiles(dataDir: string): string[] {
  try {
    return readdirSync(dataDir)
      .filter((name) => NAME.test(name))
      .sort()
      .reverse();
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return [];
    throw new SettingsError(`cannot read ${dataDir} (${errnoCode(error)})`);
  }
}

function tidy(dataDir: string): void {
  for (const name of stateFiles(dataDir).slice(MOST_FILES)) rmSync(join(dataDir, name), { force: true });
}

import { type BigIntStats, realpathSync, statSync } from "node:fs";
import { relative, sep } from "node:path";
import { fileError, messageOf, TransferError } from "@drover/shared/errors";
import { safeRelative } from "@drover/shared/paths";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { readList } from "./list.js";
import { compilePatterns, type Wanted } from "./patterns.js";
import { destinationOf, parseSource, type SourceName, sourceText } from "./source-name.js";
import { walk } from "./walk.js";

/** A file that the run is to carry, or something of its sources that it cannot. */
export interface Entry {
  /** URL with its secrets, or absolute path. */
  source: string;
  /** The same as it may be shown. */
  shown: string;
  /** Destination relative to the root; "" where there is none. */
  destination: string;
  sha256: string | undefined;
  /** Of a local file. */
  stat: BigIntStats | undefined;
  error: TransferError | undefined;
  /** Where the expansion goes on after this entry. */
  cursor: Cursor;
}

/** Where an expansion stands: sources of the command line that are finished, then bytes of the list. */
export interface Cursor {
  sources: number;
  listByte: number;
}

export const START: Cursor = { sources: 0, listByte: 0 };

export interface ExpandInput {
  spec: RunSpec;
  /** Sources of the command line with their secrets. */
  sources: string[];
  /** The list: a path, or standard input. */
  list: string | NodeJS.ReadableStream | undefined;
  from: Cursor;
  /** Told what is left out, for people. */
  onSkipped(path: string, why: string): void;
}

/** Turns sources into files, one after the other: nothing is held but the entry at hand. */
export async function* expand(input: ExpandInput): AsyncGenerator<Entry> {
  const { spec } = input;
  const wanted = compilePatterns(spec.patterns, spec.filters);
  for (let at = input.from.sources; at < input.sources.length; at++) {
    const inside: Cursor = { sources: at, listByte: 0 };
    const after: Cursor = { sources: at + 1, listByte: 0 };
    const source = parseSource(input.sources[at] as string, "/");
    yield* expandOne(source, spec.destination, undefined, wanted, input, inside, after);
  }
  if (input.list === undefined) return;
  for await (const line of readList(input.list, input.from.listByte)) {
    if (line.text.trim() === "") continue;
    const [text = "", destination = "", sha256 = ""] = line.text.split("\t");
    const cursor: Cursor = { sources: input.sources.length, listByte: line.nextByte };
    let source: SourceName;
    try {
      source = parseSource(text, spec.directory);
      checkSha256(sha256);
    } catch (error) {
      const known = error instanceof TransferError ? error : undefined;
      yield failure(
        text,
        known ?? new TransferError("unsupported", messageOf(error), { permanent: true }),
        cursor,
      );
      continue;
    }
    const digest = sha256 === "" ? undefined : sha256.toLowerCase();
    yield* expandOne(
      source,
      destination === "" ? undefined : destination,
      digest,
      wanted,
      input,
      cursor,
      cursor,
    );
  }
}

function checkSha256(text: string): void {
  if (text === "" || /^[0-9a-f]{64}$/i.test(text)) return;
  throw new TransferError("checksum", "the third column of the list is no SHA-256 (64 hexadecimal digits)", {
    permanent: true,
  });
}

async function* expandOne(
  source: SourceName,
  destination: string | undefined,
  sha256: string | undefined,
  wanted: Wanted,
  input: ExpandInput,
  inside: Cursor,
  after: Cursor,
): AsyncGenerator<Entry> {
  const { spec } = input;
  const text = sourceText(source);
  const shown = redactUrl(text);
  const expected = sha256 ?? spec.checksums[shown];
  if (source.is === "url") {
    yield entry(text, shown, destination ?? destinationOf(source, spec.layout), expected, undefined, after);
    return;
  }
  let stat: BigIntStats;
  try {
    stat = statSync(source.path, { bigint: true });
  } catch (error) {
    // It has a destination, so that a retry finds it once it is there.
    const name = destination ?? destinationOf(source, spec.layout);
    yield {
      ...entry(text, shown, name, expected, undefined, after),
      error: fileError(error, `read ${source.path}`),
    };
    return;
  }
  if (!stat.isDirectory()) {
    const name = destination ?? destinationOf(source, spec.layout);
    const refused = stat.isFile()
      ? undefined
      : new TransferError("unsupported", `${source.path} is not a regular file`, { permanent: true });
    yield { ...entry(text, shown, name, expected, stat, after), ...(refused ? { error: refused } : {}) };
    return;
  }
  if (destination !== undefined) {
    const why = `${source.path} is a directory: it cannot have the name of one file`;
    yield failure(text, new TransferError("unsupported", why, { permanent: true }), after);
    return;
  }
  for await (const found of walk(source.path, wanted, destinationInside(source.path, spec.root))) {
    if (found.is === "skipped") input.onSkipped(found.path, found.why);
    else if (found.is === "failed")
      yield { ...failure(found.path, found.error, inside), destination: found.name };
    else yield entry(found.path, found.path, found.relative, spec.checksums[found.path], found.stat, inside);
  }
}

/** Where the destination's root lies below a source directory: its files are no sources. */
function destinationInside(directory: string, root: string): string | undefined {
  try {
    const inside = relative(realpathSync(directory), realpathSync(root));
    return inside === "" || inside.startsWith("..") ? undefined : inside.split(sep).join("/");
  } catch {
    return undefined; // one of them is not there
  }
}

function entry(
  source: string,
  shown: string,
  destination: string,
  sha256: string | undefined,
  stat: BigIntStats | undefined,
  cursor: Cursor,
): Entry {
  try {
    safeRelative(destination);
  } catch (error) {
    return { ...failure(source, error as TransferError, cursor), destination };
  }
  return { source, shown, destination, sha256, stat, error: undefined, cursor };
}

function failure(source: string, error: TransferError, cursor: Cursor): Entry {
  const shown = redactUrl(source);
  return { source, shown, destination: "", sha256: undefined, stat: undefined, error, cursor };
}

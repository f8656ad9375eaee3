import { type BigIntStats, realpathSync, statSync } from "node:fs";
import { relative, sep } from "node:path";
import { fileError, messageOf, TransferError } from "@drover/shared/errors";
import { STAGING_NAME, safeKey, safeRelative } from "@drover/shared/paths";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { localVersion } from "@drover/shared/storage/local/source";
import { walk } from "@drover/shared/storage/local/walk";
import { S3Sources } from "@drover/shared/storage/s3/listing/objects";
import type { ListedObject } from "@drover/shared/storage/s3/listing/page";
import { baseName, isS3, parseS3, type S3Name, s3Text } from "@drover/shared/storage/s3/name";
import { s3Version } from "@drover/shared/storage/s3/source";
import type { Cursor } from "./cursor.js";
import type { Entry } from "./entry.js";
import { isWithin, limited, URL_LIMITS } from "./limits.js";
import { type ListLine, MOST_LINE_BYTES, sourceLines } from "./list.js";
import { ListingError } from "./listing-error.js";
import { compilePatterns, type Wanted } from "./patterns.js";
import { destinationOf, parseSource, type SourceName, sourceText } from "./source-name.js";

/** Nothing was found for a while, but the expansion has come so far. */
export interface Passed {
  passed: true;
  cursor: Cursor;
}

export interface ExpandInput {
  spec: RunSpec;
  /** Sources of the command line with their secrets. */
  sources: string[];
  /** The list: a path, or its bytes. */
  list: string | AsyncIterable<string | Buffer> | undefined;
  from: Cursor;
  /** Stops listings that are under way. */
  signal: AbortSignal;
  /** Told what is left out, and what is waited for, for people. */
  warn(message: string): void;
}

/**
 * Turns sources into files, one after the other: nothing is held but the entry at hand.
 *
 * A source whose listing breaks off does not keep the others from being expanded. The cursor then stays where it broke
 * off, so that whoever goes on there misses nothing; what comes twice is known by its destination.
 *
 * @throws ListingError at the end, for the first such source.
 */
export async function* expand(input: ExpandInput): AsyncGenerator<Entry | Passed> {
  const s3 = new S3Sources(input.spec, input.signal, input.warn);
  let failed: { error: ListingError; cursor: Cursor } | undefined;
  try {
    for await (const one of sourcesOf(input)) {
      let { cursor } = one;
      let empty = one.cursor.after === undefined;
      try {
        for await (const entry of one.expand(s3)) {
          cursor = entry.cursor;
          if (!("passed" in entry)) empty = false;
          yield failed ? { ...entry, cursor: failed.cursor } : entry;
        }
      } catch (error) {
        if (!(error instanceof ListingError)) throw error;
        failed ??= { error, cursor };
        empty = false;
      }
      if (empty && one.named !== undefined) input.warn(`left out ${one.named}: no file in it is wanted`);
    }
  } finally {
    await s3.close();
  }
  if (failed) throw failed.error;
}

/** One source, to be expanded. */
interface Expandable {
  /** Where it begins. */
  cursor: Cursor;
  /** One of several of the command line, as it may be shown: who named it is told when nothing comes of it. */
  named?: string;
  expand(s3: S3Sources): AsyncGenerator<Entry | Passed>;
}

/** The sources of the command line, then those of the list, from the cursor on. */
async function* sourcesOf(input: ExpandInput): AsyncGenerator<Expandable> {
  const { spec, from } = input;
  const wanted = compilePatterns(spec.patterns, spec.filters);
  const several = input.sources.length > 1 || input.list !== undefined;
  let startAfter = from.after;
  for (let at = from.sources; at < input.sources.length; at++) {
    const inside: Cursor = {
      sources: at,
      listByte: 0,
      ...(startAfter === undefined ? {} : { after: startAfter }),
    };
    startAfter = undefined;
    const after: Cursor = { sources: at + 1, listByte: 0 };
    const source = parseSource(input.sources[at] as string, "/");
    yield {
      cursor: inside,
      ...(several ? { named: redactUrl(sourceText(source)) } : {}),
      expand: (s3) => expandOne(source, spec.destination, undefined, { wanted, input, inside, after, s3 }),
    };
  }
  if (input.list === undefined) return;
  for await (const line of sourceLines(input.list, from.listByte)) {
    if (line.text.trim() === "" && !line.tooLong) continue;
    const sources = input.sources.length;
    const inside: Cursor = {
      sources,
      listByte: line.startByte,
      ...(startAfter === undefined ? {} : { after: startAfter }),
    };
    startAfter = undefined;
    const after: Cursor = { sources, listByte: line.nextByte };
    yield {
      cursor: inside,
      expand: (s3) => expandLine(line, { wanted, input, inside, after, s3 }),
    };
  }
}

interface Context {
  wanted: Wanted;
  input: ExpandInput;
  /** Cursor within the source. */
  inside: Cursor;
  /** Cursor behind it. */
  after: Cursor;
  s3: S3Sources;
}

async function* expandLine(line: ListLine, context: Context): AsyncGenerator<Entry | Passed> {
  const { text, tooLong, startByte } = line;
  if (tooLong) {
    const error = new TransferError("unsupported", `the line is over ${MOST_LINE_BYTES} bytes`, {
      permanent: true,
    });
    yield failure(`the line at byte ${startByte} of the list`, error, context.after);
    return;
  }
  const [name = "", destination = "", sha256 = ""] = text.split("\t");
  let source: SourceName;
  try {
    source = parseSource(name, context.input.spec.directory);
    checkSha256(sha256);
  } catch (error) {
    const known = error instanceof TransferError ? error : undefined;
    yield failure(
      name,
      known ?? new TransferError("unsupported", messageOf(error), { permanent: true }),
      context.after,
    );
    return;
  }
  const digest = sha256 === "" ? undefined : sha256.toLowerCase();
  yield* expandOne(source, destination === "" ? undefined : destination, digest, context);
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
  context: Context,
): AsyncGenerator<Entry | Passed> {
  const { wanted, input, inside, after } = context;
  const { spec } = input;
  const text = sourceText(source);
  const redacted = redactUrl(text);
  const expected = sha256 ?? spec.checksums[redacted];
  if (source.is === "s3") {
    yield* expandS3(source, destination, expected, context);
    return;
  }
  if (source.is === "url") {
    if (limited(spec)) {
      yield failure(text, new TransferError("unsupported", URL_LIMITS, { permanent: true }), after);
      return;
    }
    const name = destination ?? destinationOf(source, spec.layout);
    yield entry(
      spec,
      { source: text, redacted, destination: name, sha256: expected, version: undefined },
      after,
    );
    return;
  }
  let stat: BigIntStats;
  try {
    stat = statSync(source.path, { bigint: true });
  } catch (error) {
    // It has a destination, so that a retry finds it once it is there.
    const name = destination ?? destinationOf(source, spec.layout);
    yield {
      ...entry(
        spec,
        { source: text, redacted, destination: name, sha256: expected, version: undefined },
        after,
      ),
      error: fileError(error, `read ${source.path}`),
    };
    return;
  }
  if (!stat.isDirectory()) {
    const name = destination ?? destinationOf(source, spec.layout);
    const refused = stat.isFile()
      ? undefined
      : new TransferError("unsupported", `${source.path} is not a regular file`, { permanent: true });
    const version = localVersion(stat);
    yield {
      ...entry(spec, { source: text, redacted, destination: name, sha256: expected, version }, after),
      ...(refused ? { error: refused } : {}),
    };
    return;
  }
  if (destination !== undefined) {
    const why = `${source.path} is a directory: it cannot have the name of one file`;
    yield failure(text, new TransferError("unsupported", why, { permanent: true }), after);
    return;
  }
  let cursor = inside;
  const options = {
    wanted,
    destination: destinationInside(source.path, spec.root),
    after: inside.after,
  };
  for await (const found of walk(source.path, options)) {
    if (found.is === "skipped") input.warn(`left out ${found.path}: ${found.why}`);
    else if (found.is === "failed") {
      if (found.name !== "") cursor = { ...inside, after: found.name };
      yield { ...failure(found.path, found.error, cursor), destination: found.name };
    } else {
      cursor = { ...inside, after: found.relative };
      const stat = found.is === "file" ? found.stat : undefined;
      if (found.is === "file" && stat && isWithin(spec, Number(stat.size), Number(stat.mtimeNs) / 1e6)) {
        const { path, relative } = found;
        const sha256 = spec.checksums[path];
        yield entry(
          spec,
          { source: path, destination: relative, sha256, version: localVersion(stat) },
          cursor,
        );
      } else yield { passed: true, cursor };
    }
  }
  yield { passed: true, cursor: after };
}

async function* expandS3(
  source: S3Name,
  destination: string | undefined,
  sha256: string | undefined,
  { wanted, input, inside, after, s3 }: Context,
): AsyncGenerator<Entry | Passed> {
  const { spec } = input;
  const { bucket } = source;
  const redacted = s3Text(source);
  const named = destination ?? destinationOf({ is: "s3", ...source }, spec.layout);
  // Who goes on within a listing knows that the source is a prefix.
  const prefixOf = (key: string) => (key === "" || key.endsWith("/") ? key : `${key}/`);
  const found =
    inside.after === undefined
      ? await listing(redacted, s3.find(source))
      : ({ is: "prefix", prefix: prefixOf(source.key) } as const);
  if (found.is === "object") {
    const version = versionOf(found.object);
    yield entry(spec, { source: redacted, destination: named, sha256, version }, after);
    return;
  }
  if (found.is === "nothing") {
    const why = "no such object, and nothing below that prefix";
    yield {
      ...failure(redacted, new TransferError("not-found", why, { permanent: true }), after),
      destination: named,
    };
    return;
  }
  const { prefix } = found;
  if (destination !== undefined) {
    const why = `${redacted} is a prefix: it cannot have the name of one file`;
    yield failure(redacted, new TransferError("unsupported", why, { permanent: true }), after);
    return;
  }
  const own = destinationBelow(source, prefix, spec);
  const checksums = new Map(Object.entries(spec.checksums)); // a name looked up in an object is kept for long
  const pages = s3.below(bucket, prefix, inside.after ?? "");
  let cursor = inside;
  try {
    for (
      let page = await listing(redacted, pages.next());
      !page.done;
      page = await listing(redacted, pages.next())
    ) {
      for (const object of page.value) {
        const { key, unreadable } = object;
        if (own !== undefined && key.startsWith(own)) continue;
        if (object.sizeBytes === 0 && STAGING_NAME.test(baseName(key))) continue; // as in a directory
        const text = s3Text({ bucket, key });
        if (unreadable) {
          const error = new TransferError("path", `refused key ${key}: it is not valid UTF-8`, {
            permanent: true,
          });
          yield failure(text, error, cursor);
          continue;
        }
        cursor = { ...inside, after: key };
        if (key.endsWith("/")) {
          if (object.sizeBytes > 0) input.warn(`left out ${text}: its name ends in /, as a directory's does`);
          continue;
        }
        const relative = key.slice(prefix.length);
        // No pattern matches a name of dots, which must not go unsaid.
        if (!wanted(relative) && !/(^|\/)\.\.?$/.test(relative)) continue;
        if (!isWithin(spec, object.sizeBytes, object.mtimeMs)) continue;
        const expected = checksums.get(text);
        const version = versionOf(object);
        yield entry(spec, { source: text, destination: relative, sha256: expected, version }, cursor);
      }
      yield { passed: true, cursor };
    }
    yield { passed: true, cursor: after };
  } finally {
    await pages.return(undefined);
  }
}

/** The prefix of the destination where that lies below the source's: its objects are no sources. */
export function destinationBelow({ bucket }: S3Name, prefix: string, spec: RunSpec): string | undefined {
  if (!isS3(spec.root) || (spec.s3Destination?.endpoint ?? spec.s3?.endpoint) !== spec.s3?.endpoint)
    return undefined;
  const root = parseS3(spec.root);
  const own = `${root.key}/`;
  return root.bucket === bucket && root.key !== "" && own.startsWith(prefix) && own !== prefix
    ? own
    : undefined;
}

/** @throws ListingError for what went wrong with a listing. */
export async function listing<T>(redacted: string, step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (error) {
    if (error instanceof TransferError && error.class !== "cancelled")
      throw new ListingError(redacted, error);
    throw error;
  }
}

function versionOf(object: ListedObject | undefined): string | undefined {
  return object && s3Version(object.etag, object.sizeBytes, object.mtimeMs);
}

/** Where the destination's root lies below a source directory: its files are no sources. */
export function destinationInside(directory: string, root: string): string | undefined {
  try {
    const inside = relative(realpathSync(directory), realpathSync(root));
    const outside = inside === "" || inside === ".." || inside.startsWith(`..${sep}`);
    return outside ? undefined : inside.split(sep).join("/");
  } catch {
    return undefined; // one of them is not there
  }
}

/** What is known of a file that was found. */
interface FoundFile {
  /** URL with its secrets, or the text of another source. */
  source: string;
  /** The same without its secrets; left out where it has none. */
  redacted?: string;
  destination: string;
  sha256: string | undefined;
  version: string | undefined;
}

/** An entry of a file, or of a name that no file may have at the destination. */
function entry(spec: RunSpec, file: FoundFile, cursor: Cursor): Entry {
  const { source, redacted = source, destination, sha256, version } = file;
  try {
    if (isS3(spec.root)) safeKey(destination);
    else safeRelative(destination);
  } catch (error) {
    return { ...failure(source, error as TransferError, cursor), destination };
  }
  return { source, redacted, destination, sha256, version, error: undefined, cursor };
}

function failure(source: string, error: TransferError, cursor: Cursor): Entry {
  const redacted = redactUrl(source);
  return { source, redacted, destination: "", sha256: undefined, version: undefined, error, cursor };
}

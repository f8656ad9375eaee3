import { basename } from "node:path";
import { messageOf, TransferError } from "@drover/shared/errors";
import { type Login, Logins } from "@drover/shared/logins";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import { destinationOf, type Location, parseLocation } from "@drover/shared/storage/registry";
import type { Expected, Lister } from "@drover/shared/storage/storage";
import { beginningOf } from "./beginning.js";
import type { Cursor } from "./cursor.js";
import type { Entry } from "./entry.js";
import { legacyItems } from "./legacy-list.js";
import { isWithin, limited, URL_LIMITS } from "./limits.js";
import { type ListItem, listItems } from "./list-items.js";
import type { Asked } from "./list-line.js";
import { refusal } from "./list-line.js";
import { Listers } from "./listers.js";
import type { Wanted } from "./patterns.js";
import { wantedBy } from "./wanted.js";
import { matcherOf, parseKept, parseSource, type Wildcards, wildcardsOf } from "./wildcards.js";

/** Progress of the cursor without a file. */
export interface Passed {
  passed: true;
  cursor: Cursor;
}

export interface ExpandInput {
  spec: RunSpec;
  /** Sources of the command line, including their secrets. */
  sources: string[];
  /** The list: a path, or its bytes from the cursor on. */
  list: string | AsyncIterable<string | Buffer> | undefined;
  /** URL that the list's names of `sha256sum` are below, including its secrets; undefined for paths. */
  baseUrl: string | undefined;
  /** Users and passwords for URLs in the list. Default: none. */
  logins?: Login[] | undefined;
  from: Cursor;
  /** Aborts listings in progress. */
  signal: AbortSignal;
  /** Called with messages for people about what is left out and what is waited for. */
  warn(message: string): void;
}

/**
 * Turns sources into files, one after the other. Only the current entry is in memory.
 *
 * A failed listing does not stop the other sources. The cursor then stays where the listing failed, so that a
 * resumed run misses nothing; files that come twice are recognized by their destination.
 *
 * @throws ListingError at the end, for the first failed listing.
 */
export async function* expand(input: ExpandInput): AsyncGenerator<Entry | Passed> {
  const listers = new Listers({ ...input, of: "sources" });
  let failed: { error: ListingError; cursor: Cursor } | undefined;
  try {
    for await (const one of sourcesOf(input)) {
      let { cursor } = one;
      let empty = one.cursor.after === undefined;
      try {
        for await (const entry of one.expand(listers)) {
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
    await listers.close();
  }
  if (failed) throw failed.error;
}

/** One source, to be expanded. */
interface Expandable {
  /** Its start. */
  cursor: Cursor;
  /**
   * Its redacted name if it is one of several on the command line: a warning names it when it yields no file.
   */
  named?: string;
  expand(listers: Listers): AsyncGenerator<Entry | Passed>;
}

/** Yields the sources of the command line, then those of the list, starting at the cursor. */
async function* sourcesOf(input: ExpandInput): AsyncGenerator<Expandable> {
  const { spec, from } = input;
  const wanted = wantedBy(spec);
  const logins = input.logins && new Logins(input.logins);
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
    const text = input.sources[at] as string;
    const location = parseKept(text, spec);
    const { wildcards } = location;
    yield {
      cursor: inside,
      ...(several ? { named: wildcards ? text : redactUrl(location.text) } : {}),
      expand: (listers) => {
        const context = { wanted, input, inside, after, listers, logins };
        if (wildcards) return expandChosen(wildcards, context);
        return expandOne({ location, expected: "either", name: spec.destination }, context);
      },
    };
  }
  if (input.list === undefined) return;
  for await (const item of itemsOf(input, input.list)) {
    const sources = input.sources.length;
    const inside: Cursor = {
      sources,
      ...item.start,
      ...(startAfter === undefined ? {} : { after: startAfter }),
    };
    startAfter = undefined;
    const after: Cursor = { sources, ...item.next };
    yield {
      cursor: inside,
      expand: (listers) => expandItem(item, { wanted, input, inside, after, listers, logins }),
    };
  }
}

/** The items of the list in the syntax that the run began with. */
function itemsOf(
  { spec, from, baseUrl }: ExpandInput,
  list: string | AsyncIterable<string | Buffer>,
): AsyncGenerator<ListItem> {
  if (spec.listSyntax === undefined) return legacyItems(list, from);
  const name =
    spec.list === undefined || spec.listIsStdin || spec.listIsStored ? "the list" : basename(spec.list);
  return listItems(list, from, { name, baseUrl });
}

interface Context {
  wanted: Wanted;
  input: ExpandInput;
  /** Cursor within the source. */
  inside: Cursor;
  /** Cursor after the source. */
  after: Cursor;
  listers: Listers;
  /** For URLs of the list. */
  logins: Logins | undefined;
  /** What the wanted names of a tree begin with. Default: as the patterns of the run say. */
  beginning?: string;
}

async function* expandItem({ says, where }: ListItem, context: Context): AsyncGenerator<Entry | Passed> {
  if ("error" in says) {
    yield failure(says.source, located(says.error, where), context.after);
    return;
  }
  const { source, destination: name, sha256, asks } = says;
  const { spec } = context.input;
  let location: Location;
  try {
    const complete = context.logins?.addTo(source) ?? source;
    const parsing = { directory: spec.directory };
    const wildcards = spec.wildcards ? wildcardsOf(complete, parsing) : undefined;
    if (wildcards && (context.inside.after !== undefined || !(await isObject(wildcards.exact, context)))) {
      if (name === undefined && sha256 === undefined && asks === undefined) {
        yield* expandChosen(wildcards, context);
        return;
      }
      throw refusal("it has wildcards: a name, a checksum or permissions are of one file");
    }
    location = wildcards?.exact ?? (spec.wildcards ? parseSource : parseLocation)(complete, parsing);
  } catch (error) {
    const known = error instanceof TransferError ? error : refusal(messageOf(error));
    yield failure(source, located(known, where), context.after);
    return;
  }
  // A line of a list is one file, unless it says more; runs that began before that was so ask.
  const expected = spec.listSyntax === undefined ? "either" : "file";
  for await (const found of expandOne({ location, expected, name, sha256, asks }, context)) {
    const isItem = !("passed" in found) && found.source === location.text; // files of a directory have names of their own
    yield isItem && found.error ? { ...found, error: located(found.error, where) } : found;
  }
}

/** Whether a line of a list is the name of an object as it stands: lists are made of names. */
async function isObject({ storage, text }: Location, { listers }: Context): Promise<boolean> {
  const lister = await listers.of(storage);
  const looked = await listing(text, lister.look(text, "file"));
  return looked.is === "file" && looked.version !== undefined;
}

/** Yields the files that wildcards choose. */
async function* expandChosen({ tree, pattern }: Wildcards, context: Context): AsyncGenerator<Entry | Passed> {
  const { wanted: isOfForm, beginning } = matcherOf(pattern);
  const lister = await context.listers.of(tree.storage);
  const wanted = (name: string) => isOfForm(name) && context.wanted(name);
  yield* expandTree(tree, lister, { ...context, wanted, beginning });
}

/** The error, with the item of the list in its message. */
function located(error: TransferError, where: string | undefined): TransferError {
  if (where === undefined) return error;
  const { class: cls, message, permanent } = error;
  return new TransferError(cls, `${where}: ${message}`, { permanent, cause: error });
}

/** A source with its attributes from the command line or the list. */
interface NamedSource {
  location: Location;
  expected: Expected;
  /** Name at the destination, for a single file. */
  name: string | undefined;
  sha256?: string | undefined;
  asks?: Asked | undefined;
}

async function* expandOne(named: NamedSource, context: Context): AsyncGenerator<Entry | Passed> {
  const { input, inside, after, listers } = context;
  const { spec } = input;
  const { storage, text } = named.location;
  const refuse = (why: string) => failure(text, refusal(why), after);
  if (limited(spec) && !storage.listsSizes) {
    yield refuse(URL_LIMITS);
    return;
  }
  const redacted = redactUrl(text);
  if (spec.whenGone !== undefined && named.expected === "file") {
    const destination = named.name ?? storage.fileName(text, spec.layout);
    yield entry(
      spec,
      { source: text, redacted, destination, sha256: named.sha256, version: undefined, asks: named.asks },
      after,
    );
    return;
  }
  const lister = await listers.of(storage);
  const looked = await listing(
    redacted,
    lister.look(text, inside.after !== undefined ? "tree" : named.expected),
  );
  if (looked.is === "tree") {
    if (named.name === undefined) yield* expandTree(named.location, lister, context);
    else yield refuse(`${redacted} is a ${storage.treeNoun}: it cannot have the name of one file`);
    return;
  }
  // Even a source that cannot be read gets a destination, so that a retry finds it.
  const destination = named.name ?? storage.fileName(text, spec.layout);
  const sha256 = named.sha256 ?? spec.checksums[redacted];
  if (looked.is === "file") {
    const { version, sizeBytes } = looked;
    const file = { source: text, redacted, destination, sha256, version, sizeBytes, asks: named.asks };
    const found = entry(spec, file, after);
    const isUnnamed = spec.namesFromHeader && storage.hasHosts && named.name === undefined;
    yield isUnnamed ? { ...found, isUnnamed } : found;
    return;
  }
  const error =
    looked.is === "failed" ? looked.error : new TransferError("not-found", looked.why, { permanent: true });
  yield { ...entry(spec, { source: text, redacted, destination, sha256, version: undefined }, after), error };
}

/** Yields all files below a directory or prefix. */
async function* expandTree(
  { text: location }: Location,
  lister: Lister,
  context: Context,
): AsyncGenerator<Entry | Passed> {
  const { wanted, input, inside, after } = context;
  const { spec } = input;
  const beginning = context.beginning ?? beginningOf(spec);
  const checksums = new Map(Object.entries(spec.checksums)); // not an object: V8 would intern every name that is looked up in it
  const found = lister.list(location, { wanted, beginning, after: inside.after });
  let cursor = inside;
  try {
    for (
      let step = await listing(location, found.next());
      !step.done;
      step = await listing(location, found.next())
    ) {
      const { value: each } = step;
      if (each.mark !== undefined) cursor = { ...inside, after: each.mark };
      if (each.is === "skipped") input.warn(`left out ${each.location}: ${each.why}`);
      else if (each.is === "failed")
        yield { ...failure(each.location, each.error, cursor), destination: each.name };
      else if (each.is === "file" && isWithin(spec, each.sizeBytes, each.mtimeMs)) {
        const { location: source, name: destination, version, sizeBytes } = each;
        yield entry(spec, { source, destination, sha256: checksums.get(source), version, sizeBytes }, cursor);
      } else yield { passed: true, cursor };
    }
    yield { passed: true, cursor: after };
  } finally {
    await found.return(undefined);
  }
}

/** Awaits one step of a listing. @throws ListingError if it fails. */
export async function listing<T>(redacted: string, step: Promise<T>): Promise<T> {
  try {
    return await step;
  } catch (error) {
    if (error instanceof TransferError && error.class !== "cancelled")
      throw new ListingError(redacted, error);
    throw error;
  }
}

/** A file that was found. */
interface FoundFile {
  /** URL including its secrets, or the text of another source. */
  source: string;
  /** The source without its secrets; defaults to `source`. */
  redacted?: string;
  destination: string;
  sha256: string | undefined;
  version: string | undefined;
  sizeBytes?: number | undefined;
  asks?: Asked | undefined;
}

/** Makes the entry of a file, with an error if the destination does not allow its name. */
function entry(spec: RunSpec, file: FoundFile, cursor: Cursor): Entry {
  const { source, redacted = source, destination, sha256, version, sizeBytes, asks } = file;
  try {
    destinationOf(spec.root).checkName(destination);
  } catch (error) {
    return { ...failure(source, error as TransferError, cursor), destination };
  }
  return { source, redacted, destination, sha256, asks, version, sizeBytes, error: undefined, cursor };
}

function failure(source: string, error: TransferError, cursor: Cursor): Entry {
  const redacted = redactUrl(source);
  return { source, redacted, destination: "", sha256: undefined, version: undefined, error, cursor };
}

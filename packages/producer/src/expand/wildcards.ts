import { messageOf, SettingsError } from "@drover/shared/errors";
import type { RunSpec } from "@drover/shared/run";
import { type Location, parseLocation } from "@drover/shared/storage/registry";
import type { ParseContext } from "@drover/shared/storage/storage";
import { beginningOf } from "./beginning.js";
import { compileGlob } from "./glob.js";
import type { Wanted } from "./patterns.js";

/** A source with wildcards: what is below a prefix and has names of a form. */
export interface Wildcards {
  /** The prefix up to the last `/` before the first wildcard: names are what comes behind it. */
  tree: Location;
  /** What follows in the text: wildcards, escapes, and `%XX`. On one line. */
  pattern: string;
  /** The object whose key is the text itself, every character taken as it stands. */
  exact: Location;
}

/** One element of a pattern as it is written. */
const ELEMENT = /(?:%[0-9a-f]{2})+|\\[*?[\]{}]|\*+|\[[!^]?(?:\[:\w+:\]|\\.|[^\]\\])*\]|./gisu;
/** What is a wildcard unless a `\` stands before it, or it is written as `%XX`. */
const WILDCARD = /\\[*?[\]{}]|([*?[{])/g;

/**
 * Takes a source with wildcards apart.
 *
 * @returns undefined for a source that has none, or is not of S3.
 * @throws SettingsError for one that cannot be parsed.
 */
export function wildcardsOf(text: string, context: ParseContext): Wildcards | undefined {
  const [scheme = "", bucket = "", key = ""] = /^(s3:\/\/)([^/]*)\/(.*)$/is.exec(text)?.slice(1) ?? [];
  const first = [...key.matchAll(WILDCARD)].find(([, wildcard]) => wildcard !== undefined)?.index;
  if (first === undefined) return undefined;
  const start = key.lastIndexOf("/", first) + 1;
  const literal = unescaped(key.slice(0, start));
  const pattern = key.slice(start).replace(/\p{Cc}/gu, encodeURIComponent);
  try {
    compileGlob(globOf(pattern));
  } catch (error) {
    const why = messageOf(error).replace(/^invalid pattern .*: /s, "");
    throw new SettingsError(`${text} has wildcards that cannot be parsed: ${why}`);
  }
  return {
    tree: parseLocation(`${scheme}${bucket}/${literal}`, context),
    pattern,
    exact: parseLocation(text, context),
  };
}

/** A source. Of one with wildcards, the location is the prefix that they choose from. */
export interface PlannedSource extends Location {
  wildcards?: Wildcards;
}

/**
 * Parses a source that may have wildcards.
 *
 * @throws SettingsError as {@link wildcardsOf} and {@link parseLocation}.
 */
export function parseSource(text: string, context: ParseContext): PlannedSource {
  const wildcards = wildcardsOf(text, context);
  return wildcards ? { ...wildcards.tree, wildcards } : parseEscaped(text, context);
}

/** A source as a run keeps it, which {@link parseSource} reads as the same again. */
export function textOf({ text, wildcards }: PlannedSource): string {
  if (wildcards) return `${escapedText(wildcards.tree.text)}${wildcards.pattern}`;
  return /^s3:/.test(text) ? escapedText(text) : text;
}

/** Parses a source that a run keeps. */
export function parseKept(text: string, { wildcards }: Pick<RunSpec, "wildcards">): PlannedSource {
  return (wildcards ? parseSource : parseLocation)(text, { directory: "/" });
}

/** The source that means one object and no wildcards. */
export function escapedText(location: string): string {
  if (!/[*?[{]/.test(location)) return location;
  return location.replace(/[*?[\]{}]/g, (wildcard) => `\\${wildcard}`);
}

/** Chooses among the names below the prefix. */
export function matcherOf(pattern: string): { wanted: Wanted; beginning: string } {
  const glob = globOf(pattern);
  const expression = compileGlob(glob);
  return {
    wanted: (name) => expression.test(name),
    beginning: beginningOf({ patterns: [glob], patternSyntax: "rclone" }),
  };
}

/**
 * The pattern as a glob of filters, from the root. `*` goes over a `/`, as in s5cmd, so it stands for `**`. A slash behind it is
 * escaped: two stars and a slash would match no directory, too.
 */
function globOf(pattern: string): string {
  let glob = "/";
  const elements = [...pattern.matchAll(ELEMENT)].map(([element]) => element);
  for (const [at, element] of elements.entries()) {
    if (element.startsWith("*")) glob += "**";
    else if (element === "/" && elements[at - 1] === "*" && at < elements.length - 1) glob += "\\/";
    else if (element.startsWith("%") && element.length > 1) glob += literalGlob(decoded(element));
    else if (element === "\\") glob += "\\\\";
    else glob += element;
  }
  return glob;
}

function literalGlob(text: string): string {
  return text.replace(/[^0-9A-Za-z]/gu, (character) => `\\${character}`);
}

function decoded(bytes: string): string {
  try {
    return decodeURIComponent(bytes);
  } catch {
    throw new SettingsError(`${bytes} is not valid UTF-8`);
  }
}

function unescaped(text: string): string {
  return text.replace(/\\([*?[\]{}])/g, "$1");
}

/** Parses a source that has no wildcards, but perhaps escapes of them. */
function parseEscaped(text: string, context: ParseContext): Location {
  return parseLocation(/^s3:/i.test(text) ? unescaped(text) : text, context);
}

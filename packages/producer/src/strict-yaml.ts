import { isUtf8 } from "node:buffer";
import {
  type Document,
  type ErrorCode,
  isMap,
  isNode,
  isPair,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from "yaml";

/** A document that is larger is not read, in bytes. */
export const MOST_YAML_BYTES = 1 << 20;
/** How many nodes aliases may stand for, as a multiple of those that they name. */
const MOST_ALIASES = 100;
/** Deeper documents are refused: parsers of other programs would overflow. */
const MOST_DEPTH = 100;
/** Findings that are told of one document. */
export const MOST_ISSUES = 20;

/** What is wrong with a document: never with a value of it. */
export interface YamlIssue {
  why: string;
  /** From 1. */
  line?: number;
  column?: number;
}

export interface ReadYaml {
  value: unknown;
  /** Where the value of a JSON pointer begins, or the last one above it that is there. */
  placeOf(pointer: string): { line: number; column: number } | undefined;
}

/** Reads a document strictly: UTF-8, YAML 1.2 with unique keys and harmless aliases, one document of at most 1 MiB. */
export function readYaml(bytes: Buffer): ReadYaml | { issues: YamlIssue[] } {
  if (bytes.length > MOST_YAML_BYTES) return { issues: [{ why: "it is larger than 1 MiB" }] };
  const unreadable = checkText(bytes);
  if (unreadable) return { issues: [unreadable] };
  const text = bytes.toString();
  const lines = new LineCounter();
  let document: Document;
  try {
    document = parseDocument(text, {
      version: "1.2",
      uniqueKeys: true,
      strict: true,
      prettyErrors: false,
      lineCounter: lines,
    });
  } catch (error) {
    if (error instanceof RangeError) return { issues: [{ why: "it is nested too deeply" }] };
    throw error;
  }
  const at = (offset: number) => linePlace(lines, offset);
  if (document.errors.length > 0)
    return {
      issues: document.errors
        .slice(0, MOST_ISSUES)
        .map(({ code, pos }) => ({ why: ERRORS[code], ...at(pos[0]) })),
    };
  const deep = tooDeep(document);
  if (deep !== undefined) return { issues: [{ why: "it is nested too deeply", ...at(deep) }] };
  const alias = firstAlias(document);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: MOST_ALIASES });
  } catch (error) {
    if (!(error instanceof ReferenceError) && !(error instanceof RangeError)) throw error;
    return { issues: [{ why: "its aliases stand for too much", ...(alias === undefined ? {} : at(alias)) }] };
  }
  return {
    value,
    placeOf(pointer) {
      const offset = offsetOf(document, pointer);
      return offset === undefined ? undefined : at(offset);
    },
  };
}

/** What the errors of the parser mean. Its own messages quote the file. */
const ERRORS: Record<ErrorCode, string> = {
  ALIAS_PROPS: "an alias cannot have an anchor or a tag",
  BAD_ALIAS: "an alias of an anchor that is not there",
  BAD_COLLECTION_TYPE: "a tag that does not fit the collection",
  BAD_DIRECTIVE: "a directive that is none",
  BAD_DQ_ESCAPE: "an escape that is none in double quotes",
  BAD_INDENT: "bad indentation",
  BAD_PROP_ORDER: "anchors and tags must come before the value's indicator",
  BAD_SCALAR_START: "a plain value cannot begin with this character",
  BLOCK_AS_IMPLICIT_KEY: "a nested value needs a line of its own",
  BLOCK_IN_FLOW: "a block collection cannot be in [ ] or { }",
  DUPLICATE_KEY: "a key that is there already",
  IMPOSSIBLE: "this is no YAML",
  KEY_OVER_1024_CHARS: "a key of more than 1,024 characters",
  MISSING_CHAR: "a character is missing: a quote, bracket, comma, colon or blank",
  MULTILINE_IMPLICIT_KEY: "a key must be on one line",
  MULTIPLE_ANCHORS: "a value can have one anchor only",
  MULTIPLE_DOCS: "a second document: settings are one document",
  MULTIPLE_TAGS: "a value can have one tag only",
  NON_STRING_KEY: "a key that is no text",
  RESOURCE_EXHAUSTION: "it is nested too deeply",
  TAB_AS_INDENT: "a tab in the indentation",
  TAG_RESOLVE_FAILED: "a value that does not fit its tag",
  UNEXPECTED_TOKEN: "this was not expected here",
};

function linePlace(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

/** What makes bytes no text of YAML. */
function checkText(bytes: Buffer): YamlIssue | undefined {
  if (isUtf8(bytes)) {
    const text = bytes.toString();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is they that are looked for
    const at = text.search(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]/);
    if (at < 0) return undefined;
    const before = text.slice(0, at).split("\n");
    return { why: "a control character", line: before.length, column: (before.at(-1) as string).length + 1 };
  }
  let line = 1;
  for (let from = 0; ; line++) {
    const end = bytes.indexOf(10, from);
    const part = bytes.subarray(from, end < 0 ? bytes.length : end);
    if (!isUtf8(part)) return { why: "it is not valid UTF-8", line, column: columnOf(part) };
    if (end < 0) return { why: "it is not valid UTF-8" };
    from = end + 1;
  }
}

/** The column, from 1, of the first character of a line that is not UTF-8. */
function columnOf(line: Buffer): number {
  let bytes = line.length;
  for (let low = 0; low < bytes; ) {
    const middle = (low + bytes) >> 1;
    // A prefix may end within a character.
    const valid = [0, 1, 2, 3].some((more) => middle >= more && isUtf8(line.subarray(0, middle + 1 - more)));
    if (valid) low = middle + 1;
    else bytes = middle;
  }
  return (
    line
      .subarray(0, bytes)
      .toString()
      .replace(/\ufffd+$/, "").length + 1
  );
}

function tooDeep(document: Document): number | undefined {
  let offset: number | undefined;
  visit(document, {
    Collection(_key, node, path) {
      if (path.length <= 2 * MOST_DEPTH) return undefined;
      offset = node.range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return offset;
}

function firstAlias(document: Document): number | undefined {
  let offset: number | undefined;
  visit(document, {
    Alias(_key, node) {
      offset = node.range?.[0];
      return visit.BREAK;
    },
  });
  return offset;
}

/** Where the value of a JSON pointer begins, or the last one above it that is there. */
function offsetOf(document: Document, pointer: string): number | undefined {
  let node: unknown = document.contents;
  let offset = isNode(node) ? node.range?.[0] : undefined;
  for (const part of pointer.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    let next: unknown;
    if (isSeq(node)) next = node.items[Number(name)];
    else if (isMap(node))
      next = node.items.find(
        ({ key }) => String(isNode(key) ? (key as { value?: unknown }).value : key) === name,
      )?.value;
    if (isPair(next)) next = next.value;
    if (!isNode(next)) return offset;
    node = next;
    offset = (next as Node).range?.[0] ?? offset;
  }
  return offset;
}

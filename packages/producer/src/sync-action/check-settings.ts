import { isUtf8 } from "node:buffer";
import { existsSync, readFileSync } from "node:fs";
import { basename, extname, join } from "node:path";
import type { AnySchema, ErrorObject, ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
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
import type { SyncIssue } from "./results.js";

/** A settings file that is larger is not checked, and so not published, in bytes. */
export const MOST_SETTINGS_BYTES = 1 << 20;
/** How many nodes aliases may stand for, as a multiple of those that they name. */
const MOST_ALIASES = 100;
/** Deeper documents are refused: parsers of other programs would overflow. */
const MOST_DEPTH = 100;
/** Findings that are told of one file. */
const MOST_ISSUES = 20;

/** What is wrong with a file: never with a value of it. */
export type SettingsIssue = Omit<SyncIssue, "path">;

/** The adapter that a settings file is of: its name without the extension. */
export function adapterOf(name: string): string {
  return basename(name, extname(name));
}

/** Checks settings files: UTF-8, YAML 1.2 with unique keys and harmless aliases, and the schema of its adapter. */
export class SettingsCheck {
  readonly #schemas = new Map<string, ValidateFunction | SettingsIssue | undefined>();
  #ajv: Ajv2020 | undefined;

  /** @param schemaDir directory of `ADAPTER.json`, JSON Schemas 2020-12. Default: no schema is asked. */
  constructor(private readonly schemaDir: string | undefined) {}

  /** @returns what is wrong with the content of a file; nothing where it may be published. */
  check(name: string, bytes: Buffer): SettingsIssue[] {
    if (bytes.length > MOST_SETTINGS_BYTES) return [{ why: "it is larger than 1 MiB" }];
    const unreadable = checkText(bytes);
    if (unreadable) return [unreadable];
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
      if (error instanceof RangeError) return [{ why: "it is nested too deeply" }];
      throw error;
    }
    const at = (offset: number) => placeOf(lines, offset);
    if (document.errors.length > 0)
      return document.errors
        .slice(0, MOST_ISSUES)
        .map(({ code, pos }) => ({ why: ERRORS[code], ...at(pos[0]) }));
    const deep = tooDeep(document);
    if (deep !== undefined) return [{ why: "it is nested too deeply", ...at(deep) }];
    const alias = firstAlias(document);
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: MOST_ALIASES });
    } catch (error) {
      if (!(error instanceof ReferenceError) && !(error instanceof RangeError)) throw error;
      return [{ why: "its aliases stand for too much", ...(alias === undefined ? {} : at(alias)) }];
    }
    return this.#checkSchema(adapterOf(name), value, document, at);
  }

  #checkSchema(
    adapter: string,
    value: unknown,
    document: Document,
    at: (offset: number) => { line: number; column: number },
  ): SettingsIssue[] {
    const validate = this.#schemaOf(adapter);
    if (validate === undefined) return [];
    if (typeof validate !== "function") return [validate];
    if (validate(value)) return [];
    const issues = (validate.errors ?? []).slice(0, MOST_ISSUES).map((error) => {
      const offset = offsetOf(document, error.instancePath);
      return { why: sayOf(error), ...(offset === undefined ? {} : at(offset)) };
    });
    return issues;
  }

  /** The schema of an adapter, what is wrong with it, or undefined where there is none. */
  #schemaOf(adapter: string): ValidateFunction | SettingsIssue | undefined {
    if (this.schemaDir === undefined) return undefined;
    if (this.#schemas.has(adapter)) return this.#schemas.get(adapter);
    const path = join(this.schemaDir, `${adapter}.json`);
    const found = existsSync(path) ? this.#compile(path) : undefined;
    this.#schemas.set(adapter, found);
    return found;
  }

  #compile(path: string): ValidateFunction | SettingsIssue {
    try {
      const schema = JSON.parse(readFileSync(path, "utf8")) as AnySchema;
      // Formats are notes to people in this version of JSON Schema.
      this.#ajv ??= new Ajv2020({ allErrors: true, strict: false, validateFormats: false, logger: false });
      return this.#ajv.compile(schema);
    } catch {
      return { why: `its schema ${basename(path)} cannot be read, or is none` };
    }
  }
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

function placeOf(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

/** What makes bytes no text of YAML. */
function checkText(bytes: Buffer): SettingsIssue | undefined {
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

/** What a schema demands. Ajv's messages repeat the schema, never the file. */
function sayOf({ keyword, message = "it does not fit its schema", params }: ErrorObject): string {
  const name =
    keyword === "additionalProperties" || keyword === "unevaluatedProperties"
      ? (params.additionalProperty ?? params.unevaluatedProperty)
      : undefined;
  return `schema: ${message}${name === undefined ? "" : `: ${JSON.stringify(name)}`}`;
}

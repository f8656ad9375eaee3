import { SettingsError } from "@drover/shared/errors";

/** Named classes of characters within `[…]`, as inside a class of a regular expression. */
const NAMED_CLASSES: Record<string, string> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\x00-\\x7f",
  blank: " \\t",
  cntrl: "\\x00-\\x1f\\x7f",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-\\/:-@\\[-`\\{-~",
  space: "\\s",
  upper: "A-Z",
  word: "\\w",
  xdigit: "0-9A-Fa-f",
};

/** One element of a glob. Of `[` and `\` it is the whole class and the escaped character, where there is one. */
const TOKEN = /\*\*\/|\*+|\{\{|[?{},\]]|\[[!^]?(?:\[:\w+:\]|\\.|[^\]\\])*\]|\\.|./gsu;

/** One element of the inside of `[…]`. */
const CLASS_TOKEN = /\[:(\w+):\]|\\(.)|(.)/gsu;

/**
 * Compiles a glob, as rclone's filters and rsync understand it, to a regular expression for relative paths with `/`.
 *
 * With a `/` at its start it matches from the root of the source, otherwise from any `/`, always to the end of the path.
 * `dir/` is everything below `dir`. `*` and `?` do not match `/`, `**` does; two stars and a slash, at the start of a
 * component, match no directory, too. `{a,b}` are alternatives, `[…]` is one character of a class, `\` escapes.
 *
 * @throws SettingsError for a pattern that cannot be parsed.
 */
export function compileGlob(pattern: string): RegExp {
  const isAnchored = pattern.startsWith("/");
  const isDirectory = pattern.endsWith("/");
  const glob = pattern.slice(isAnchored ? 1 : 0, isDirectory ? -1 : undefined);
  if (glob === "") throw new SettingsError("an empty pattern matches nothing: leave it out");
  try {
    const source = `${isAnchored ? "^" : "(?:^|/)"}${sourceOf(glob)}${isDirectory ? "/.*" : ""}$`;
    return new RegExp(source, "su");
  } catch (error) {
    const why = (error as Error).message.replace(/^Invalid regular expression: .*: /s, ""); // without the expression
    throw new SettingsError(`invalid pattern ${JSON.stringify(pattern)}: ${why}`);
  }
}

/** The regular expression of a glob without the slashes at its ends. */
function sourceOf(glob: string): string {
  let source = "";
  /** Whether a component of the path begins here. */
  let begins = true;
  /** The same of each `{` that is open, for its alternatives. */
  const open: boolean[] = [];
  for (const [token] of glob.matchAll(TOKEN)) {
    if (token === "{") {
      source += "(?:";
      open.push(begins);
      continue;
    }
    if (token === "," && open.length > 0) {
      source += "|";
      begins = open.at(-1) as boolean;
      continue;
    }
    if (token === "}") {
      if (open.pop() === undefined) throw new SettingsError("} without {: write \\} for the character");
      source += ")";
    } else source += elementOf(token, begins);
    begins = token.endsWith("/");
  }
  if (open.length > 0) throw new SettingsError("{ without }: write \\{ for the character");
  return source;
}

function elementOf(token: string, begins: boolean): string {
  switch (token) {
    case "?":
      return "[^/]";
    case "*":
      return "[^/]*";
    case "**":
      return ".*";
    case "**/":
      return begins ? "(?:.*/)?" : ".*/";
    case "{{":
      throw new SettingsError("regular expressions ({{…}}) are not supported");
    case "[":
      throw new SettingsError("[ without ]: write \\[ for the character");
    case "]":
      throw new SettingsError("] without [: write \\] for the character");
    case "\\":
      throw new SettingsError("nothing follows the \\ at its end: write \\\\ for the character");
  }
  if (token.startsWith("***")) throw new SettingsError("too many stars: ** matches everything");
  if (token.startsWith("[")) return classOf(token);
  if (!token.startsWith("\\")) return literal(token);
  const escaped = escapedOf(token.slice(1));
  return /\\[DWS]/.test(token) ? `(?!/)${escaped}` : escaped;
}

/** @param token `[…]`. */
function classOf(token: string): string {
  const isNegated = /^\[[!^]/.test(token);
  const inside = token.slice(isNegated ? 2 : 1, -1);
  if (inside === "") throw new SettingsError(`${token} is empty: write \\[ and \\] for the characters`);
  let source = "";
  for (const [, name, escaped, character = ""] of inside.matchAll(CLASS_TOKEN)) {
    if (name !== undefined) {
      const named = NAMED_CLASSES[name];
      if (named === undefined) throw new SettingsError(`[:${name}:] is unknown`);
      source += named;
    } else if (escaped !== undefined) source += escaped === "-" ? "\\-" : escapedOf(escaped);
    else source += character === "-" ? "-" : literal(character);
  }
  return `(?!/)[${isNegated ? "^" : ""}${source}]`; // no class matches a /
}

/** @param character that follows a `\`. */
function escapedOf(character: string): string {
  if (/[dws]/i.test(character)) return `\\${character}`;
  if (/[0-9A-Za-z]/.test(character))
    throw new SettingsError(`\\${character} is unknown: a letter needs no \\ before it`);
  return literal(character);
}

function literal(character: string): string {
  return /[\^$\\.*+?()[\]{}|/]/.test(character) ? `\\${character}` : character;
}

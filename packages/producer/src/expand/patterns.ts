import { SettingsError } from "@drover/shared/errors";
import picomatch from "picomatch";

/**
 * `flags: "s"`: without it, a wildcard at the start of a name matches no line break. `debug`: without it, an
 * invalid pattern matches nothing instead of throwing.
 */
const OPTIONS = { dot: true, nonegate: true, flags: "s", debug: true } as const;

/** Whether a path relative to a source directory (with `/`) is wanted. */
export type Wanted = (relative: string) => boolean;

/**
 * Compiles one pattern. Without `/` it matches the file's own name at any depth, with `/` the relative path;
 * `dir/` matches everything below.
 */
function matcher(pattern: string): Wanted {
  if (pattern === "" || pattern === "/")
    throw new SettingsError("an empty pattern matches nothing: leave it out");
  let matches: (text: string) => boolean;
  try {
    const glob = pattern.replaceAll("[!", "[^"); // the shell's negation, which picomatch does not know
    matches = picomatch(glob.replace(/^\//, "").replace(/\/$/, "/**"), OPTIONS);
  } catch (error) {
    throw new SettingsError(`invalid pattern ${JSON.stringify(pattern)}: ${(error as Error).message}`);
  }
  if (pattern.includes("/")) return matches;
  return (relative) => matches(relative.slice(relative.lastIndexOf("/") + 1));
}

/**
 * Compiles `--pattern` and `--include`/`--exclude`.
 *
 * A file is wanted if it matches one of the patterns (or all patterns are negations) and no `!negation`, and
 * if the first filter that matches it is an include. A file that matches no filter is wanted unless one of
 * the filters is an include.
 *
 * @param patterns globs (`*`, `**`, `?`, `{a,b}`, `[…]`), which match dotfiles too; `!glob` negates.
 * @param filters `+ glob` or `- glob`, in the order of the command line.
 * @throws SettingsError for an invalid pattern.
 */
export function compilePatterns(patterns: readonly string[], filters: readonly string[]): Wanted {
  const isNegation = (pattern: string) => pattern.startsWith("!") && !pattern.startsWith("!(");
  const positive = patterns.filter((pattern) => !isNegation(pattern)).map(matcher);
  const negative = patterns.filter(isNegation).map((pattern) => matcher(pattern.slice(1)));
  const rules = filters.map((filter) => ({ include: filter[0] === "+", matches: matcher(filter.slice(2)) }));
  const otherwise = !rules.some((rule) => rule.include);
  return (relative) => {
    if (positive.length > 0 && !positive.some((matches) => matches(relative))) return false;
    if (negative.some((matches) => matches(relative))) return false;
    return rules.find((rule) => rule.matches(relative))?.include ?? otherwise;
  };
}

import { compileGlob } from "./glob.js";

/** Whether a path relative to a source directory (with `/`) is wanted. */
export type Wanted = (relative: string) => boolean;

/** What the text of a pattern means. */
export interface PatternSyntax {
  /** Whether a `--pattern` is `!glob`. */
  isNegation(pattern: string): boolean;
  /** @throws SettingsError for an invalid glob. */
  compile(glob: string): Wanted;
}

/** The syntax of rclone's filters, see {@link compileGlob}. */
export const PATTERNS: PatternSyntax = {
  isNegation: (pattern) => pattern.startsWith("!"),
  compile(glob) {
    const expression = compileGlob(glob);
    return (relative) => expression.test(relative);
  },
};

/**
 * Compiles `--pattern` and `--include`/`--exclude`.
 *
 * A file is wanted if it matches one of the patterns (or all patterns are negations) and no `!negation`, and
 * if the first filter that matches it is an include. A file that matches no filter is wanted unless one of
 * the filters is an include.
 *
 * @param patterns globs, which match dotfiles too; `!glob` negates.
 * @param filters `+ glob` or `- glob`, in the order of the command line.
 * @param syntax default: that of new runs.
 * @throws SettingsError for an invalid pattern.
 */
export function compilePatterns(
  patterns: readonly string[],
  filters: readonly string[],
  syntax = PATTERNS,
): Wanted {
  const positive = patterns.filter((pattern) => !syntax.isNegation(pattern)).map(syntax.compile);
  const negative = patterns.filter(syntax.isNegation).map((pattern) => syntax.compile(pattern.slice(1)));
  const rules = filters.map((filter) => ({
    include: filter[0] === "+",
    matches: syntax.compile(filter.slice(2)),
  }));
  const otherwise = !rules.some((rule) => rule.include);
  return (relative) => {
    if (positive.length > 0 && !positive.some((matches) => matches(relative))) return false;
    if (negative.some((matches) => matches(relative))) return false;
    return rules.find((rule) => rule.matches(relative))?.include ?? otherwise;
  };
}

import { SettingsError } from "@drover/shared/errors";
import { compileGlob } from "./glob.js";
import { PATTERNS } from "./patterns.js";

/** Globs that match every file at any depth. */
const EVERYTHING = new Set(["*", "**", "/**", "**/*", "/**/*", "**/**", "/**/**"]);

/** A pattern that was given, as it was meant. */
interface Rule {
  glob: string;
  include: boolean;
  /** Its compiled text: patterns that have the same match the same. */
  compiled: string;
}

/**
 * Checks the patterns of a new run: each one's syntax, and that none is there in vain. Only what is certain is refused:
 * a rule behind one of the opposite sign that matches everything, or exactly the same, and one that begins with `./` or `../`.
 *
 * @param selection `+ glob` and `- glob` as filters, in order.
 * @throws SettingsError for an invalid pattern, and for one that can never match.
 */
export function checkPatterns({
  patterns,
  filters,
}: {
  patterns: readonly string[];
  filters: readonly string[];
}): void {
  const filterRules = filters.map((filter) => ruleOf(filter.slice(2), filter[0] === "+"));
  for (const rule of filterRules) refuseDots(rule.glob, flagOf(rule));
  for (const pattern of patterns)
    refuseDots(pattern.replace(/^!/, ""), `--pattern ${JSON.stringify(pattern)}`);
  checkOrder(filterRules);
  const rules = patterns.map((pattern) =>
    PATTERNS.isNegation(pattern) ? ruleOf(pattern.slice(1), false) : ruleOf(pattern, true),
  );
  checkNegations(rules);
}

function ruleOf(glob: string, include: boolean): Rule {
  return { glob, include, compiled: compileGlob(glob).source };
}

/** Patterns are about paths below a source, and those never begin with a dot and a slash. */
function refuseDots(glob: string, option: string): void {
  const below = /^\.{1,2}\/(.*)$/s.exec(glob)?.[1];
  if (below === undefined) return;
  const remedy = glob.startsWith("./") ? `: write /${below}` : "";
  throw new SettingsError(`${option} can never match, since paths begin below the source${remedy}`);
}

/** The first rule that matches a file decides. */
function checkOrder(rules: Rule[]): void {
  for (const [at, rule] of rules.entries()) {
    const before = rules.slice(0, at).find((each) => each.include !== rule.include && covers(each, rule));
    if (before === undefined) continue;
    const [late, early] = [flagOf(rule), flagOf(before)];
    throw new SettingsError(
      EVERYTHING.has(before.glob)
        ? `${late} can never match, since ${early} before it matches every file: put ${late} first`
        : `${late} can never match, since ${early} before it matches the same: leave one of them out`,
    );
  }
}

/** A negation decides, wherever it stands. */
function checkNegations(rules: Rule[]): void {
  const negations = rules.filter(({ include }) => !include);
  for (const negation of negations) {
    const text = `--pattern ${JSON.stringify(`!${negation.glob}`)}`;
    if (EVERYTHING.has(negation.glob))
      throw new SettingsError(`${text} leaves every file out: name what is to be left out`);
    const same = rules.find(({ include, compiled }) => include && compiled === negation.compiled);
    if (same === undefined) continue;
    throw new SettingsError(
      `--pattern ${JSON.stringify(same.glob)} can never match, since ${text} leaves the same out: leave one of them out`,
    );
  }
}

/** Whether whatever the later rule matches is matched by the earlier one. False where that is not certain. */
function covers(earlier: Rule, later: Rule): boolean {
  return EVERYTHING.has(earlier.glob) || earlier.compiled === later.compiled;
}

function flagOf({ glob, include }: Rule): string {
  return `${include ? "--include" : "--exclude"} ${JSON.stringify(glob)}`;
}

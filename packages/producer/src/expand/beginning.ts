import type { RunSpec } from "@drover/shared/run";
import { PATTERNS } from "./patterns.js";

/** One character of a glob, or an escaped one. */
const CHARACTER = /\\(.)|(.)/gsu;
/** Characters of a glob that may stand for others. */
const SPECIAL = new Set([..."*?[]{},"]);

/**
 * What the names begin with that a run's patterns can match: a listing need not look at others. "" where they can begin with
 * anything.
 */
export function beginningOf({
  patterns,
  patternSyntax,
}: Pick<RunSpec, "patterns" | "patternSyntax">): string {
  if (patternSyntax === undefined) return "";
  const positive = patterns.filter((pattern) => !PATTERNS.isNegation(pattern));
  let common: string[] | undefined;
  for (const pattern of positive) {
    const literal = literalStart(pattern);
    const same = (common ?? literal).findIndex((character, at) => character !== literal[at]);
    common = same === -1 ? (common ?? literal) : (common ?? literal).slice(0, same);
  }
  return common?.join("") ?? "";
}

/** The characters (code points) that all matches of an anchored glob begin with; none of any other glob. */
function literalStart(glob: string): string[] {
  const literal: string[] = [];
  if (!glob.startsWith("/")) return literal;
  for (const [, escaped, plain] of glob.slice(1).matchAll(CHARACTER)) {
    if (escaped === undefined && (SPECIAL.has(plain as string) || plain === "\\")) break;
    literal.push((escaped ?? plain) as string);
  }
  return literal;
}

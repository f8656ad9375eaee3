import type { RunSpec } from "@drover/shared/run";
import { LEGACY_PATTERNS } from "./legacy-patterns.js";
import { compilePatterns, PATTERNS, type Wanted } from "./patterns.js";

/** Compiles the patterns of a run in the syntax that they were given in. */
export function wantedBy({
  patterns,
  filters,
  patternSyntax,
}: Pick<RunSpec, "patterns" | "filters" | "patternSyntax">): Wanted {
  return compilePatterns(patterns, filters, patternSyntax === undefined ? LEGACY_PATTERNS : PATTERNS);
}

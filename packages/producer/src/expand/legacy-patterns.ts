import { SettingsError } from "@drover/shared/errors";
import picomatch from "picomatch";
import type { PatternSyntax } from "./patterns.js";

/**
 * `flags: "s"`: without it, a wildcard at the start of a name matches no line break. `debug`: without it, an
 * invalid pattern matches nothing instead of throwing.
 */
const OPTIONS = { dot: true, nonegate: true, flags: "s", debug: true } as const;

/**
 * The patterns of runs that began before {@link RunSpec.patternSyntax}: without `/` one matches the file's own name at
 * any depth, with `/` the relative path from its start; `dir/` matches everything below.
 */
export const LEGACY_PATTERNS: PatternSyntax = {
  isNegation: (pattern) => pattern.startsWith("!") && !pattern.startsWith("!("),
  compile(pattern) {
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
  },
};

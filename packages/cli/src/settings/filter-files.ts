import { readFileSync } from "node:fs";
import { errnoCode, SettingsError } from "@drover/shared/errors";

/**
 * Reads the rules of a file, one per line. Empty lines and those that begin with `#` or `;` are skipped.
 *
 * @param sign `+` or `-` if each line is a glob; undefined if each line has its own sign: `+ GLOB` or `-
 *   GLOB`.
 * @throws SettingsError if the file cannot be read, or naming the invalid line.
 */
export function readFilters(path: string, sign: "+" | "-" | undefined): string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new SettingsError(`cannot read the filters in ${path} (${errnoCode(error)})`);
  }
  const rules: string[] = [];
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    const rule = line.trim();
    if (rule === "" || /^[#;]/.test(rule)) continue;
    if (sign !== undefined) rules.push(`${sign} ${rule}`);
    else if (/^[+-]\s+\S/.test(rule)) rules.push(`${rule[0]} ${rule.slice(1).trim()}`);
    else
      throw new SettingsError(
        `line ${at + 1} of ${path} must be "+ GLOB" or "- GLOB", not ${JSON.stringify(rule)}`,
      );
  }
  return rules;
}

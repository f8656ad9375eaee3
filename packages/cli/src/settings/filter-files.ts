import { readFileSync } from "node:fs";
import { errnoCode, SettingsError } from "@drover/shared/errors";

/**
 * Rules of a file, one a line, in the place of the option that names it. Empty lines and those that begin with `#` or
 * `;` say nothing.
 *
 * @param sign `+` or `-` where each line is a glob; undefined where each line says which: `+ GLOB` or `- GLOB`.
 * @throws SettingsError when the file cannot be read, or names the line that is no rule.
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

import { statSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { RunSpec } from "@drover/shared/run";
import { PATTERNS } from "./patterns.js";

/**
 * Warnings about patterns that name a directory and so match nothing of it: rsync and gitignore would take `logs` for the
 * directory, too. Looked at is what lies right in a local source, and in a local destination where `--delete` would remove
 * what was meant to be left out.
 */
export function directoriesMeant({ patterns, filters, sources, root, delete: deletion }: RunSpec): string[] {
  const roots = [...sources, ...(deletion === undefined ? [] : [root])].filter(isAbsolute);
  const globs = [
    ...patterns.map((pattern) => ({
      option: `--pattern ${JSON.stringify(pattern)}`,
      glob: PATTERNS.isNegation(pattern) ? pattern.slice(1) : pattern,
    })),
    ...filters.map((filter) => ({
      option: `${filter[0] === "+" ? "--include" : "--exclude"} ${JSON.stringify(filter.slice(2))}`,
      glob: filter.slice(2),
    })),
  ];
  return globs.flatMap(({ option, glob }) => {
    if (/[*?[\]{}\\]|\/$/.test(glob)) return [];
    const found = roots.map((each) => join(each, glob)).find(isDirectory);
    return found === undefined
      ? []
      : [
          `${option} is about files of that name; of the directory ${found} and all below it, write ${JSON.stringify(`${glob}/`)}`,
        ];
  });
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch {
    return false; // the listing will tell
  }
}

import { existsSync } from "node:fs";
import { walk } from "@drover/shared/storage/local/walk";
import type { Wanted } from "../expand/patterns.js";

/** Which files are templates, where nothing else is said. */
export const TEMPLATE_PATTERNS = ["*.html", "*.jinja2", "*.j2"];

/** The names of the regular files below a directory that are wanted, at any depth; none where there is no directory. */
export async function* namesIn(directory: string, wanted: Wanted): AsyncGenerator<string> {
  if (!existsSync(directory)) return;
  for await (const found of walk(directory, { names: true, wanted: () => true })) {
    if (found.is === "failed") throw found.error;
    if (found.is === "named" && found.kind === "f" && wanted(found.relative)) yield found.relative;
  }
}

import { readFileSync } from "node:fs";

let read: string | undefined;

/** Drover's version. All packages have the same one. */
export function droverVersion(): string {
  // Of the bundle this is the package of the command.
  const path = new URL("../package.json", import.meta.url);
  read ??= (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
  return read;
}

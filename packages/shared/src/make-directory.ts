import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoCode } from "./errors.js";

/**
 * Makes a directory and what is missing above it. Node's own recursive mkdir never returns where a file system
 * answers ENOENT to any mkdir, as /proc does.
 *
 * @param mode of what is made.
 * @throws the system's error, of the topmost directory that cannot be made.
 */
export function makeDirectory(path: string, mode = 0o777): void {
  try {
    mkdirSync(path, { mode });
    return;
  } catch (error) {
    const code = errnoCode(error);
    if (code === "EEXIST" || code === "EISDIR" || code === "EROFS" || code === "EACCES") {
      if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
      throw error;
    }
    const parent = dirname(path);
    if (code !== "ENOENT" || parent === path) throw error;
    if (statSync(parent, { throwIfNoEntry: false })) throw error;
    makeDirectory(parent, mode);
  }
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (errnoCode(error) !== "EEXIST") throw error; // made by somebody else just now
  }
}

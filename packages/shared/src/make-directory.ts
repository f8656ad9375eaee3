import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoCode } from "./errors.js";

/**
 * Creates a directory and its missing parents. Node's recursive mkdir never returns on file systems that
 * answer every mkdir with ENOENT, such as /proc.
 *
 * @param mode of created directories. Default 0o777.
 * @throws the system's error for the topmost directory that cannot be created.
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
    if (errnoCode(error) !== "EEXIST") throw error; // another process has just created it
  }
}

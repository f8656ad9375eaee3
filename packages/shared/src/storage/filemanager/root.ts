import { parseRemote, urlOf } from "../remote/root.js";

/** Where a file manager has its files: what precedes it is the base of its interface, what follows a directory. */
const FILES = "/files";

/**
 * Parses the root of a tree at a file manager: the base of its interface, or a directory in it as `base/files/directory`.
 *
 * @returns the second form always, so that a location below it, without `filemanager+`, is the URL of its file.
 * @throws SettingsError
 */
export function parseFileManagerRoot(text: string): string {
  const root = parseRemote(text);
  return `${urlOf(root).path}/`.includes(`${FILES}/`) ? root : root + FILES;
}

/** A directory at a file manager. */
export interface FileManagerPlace {
  origin: string;
  /** Path of the interface, encoded; "" or beginning with a slash. */
  api: string;
  /** What names in the directory begin with, decoded; "" or ending in a slash. */
  prefix: string;
}

/** @param root as {@link parseFileManagerRoot} gives it. */
export function placeOf(root: string): FileManagerPlace {
  const { origin, path } = urlOf(root);
  const at = `${path}/`.indexOf(`${FILES}/`);
  const directory = path.slice(at + FILES.length + 1);
  const prefix = directory === "" ? "" : `${directory.split("/").map(decodeURIComponent).join("/")}/`;
  return { origin, api: path.slice(0, at), prefix };
}

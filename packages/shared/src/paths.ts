import { realpathSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { TransferError } from "./errors.js";

const COMPONENT_BYTES = 255;
const PATH_BYTES = 4096;
/** What staged files are called; nothing else may be, and nothing of a source that is so called is copied. */
export const STAGING_NAME = /^\.drover-[A-Za-z0-9_-]{16}$/;

/**
 * Checks a name that is to become a key below a destination's prefix. Keys are no paths, so most names are one; but what
 * lies between here and the service may take them for paths.
 *
 * @throws TransferError class `path`, permanent, naming what is wrong.
 */
export function safeKey(name: string): string {
  const refuse = (why: string) =>
    new TransferError("path", `refused name ${JSON.stringify(name)}: ${why}`, { permanent: true });
  if (name === "") throw refuse("it is empty");
  if (name.includes("\0")) throw refuse("it contains a NUL");
  if (!name.isWellFormed()) throw refuse("it is not valid Unicode");
  if (name.endsWith("/")) throw refuse("it ends in /");
  for (const component of name.split("/")) {
    if (component === "." || component === "..") throw refuse(`it has a component ${component}`);
    if (STAGING_NAME.test(component)) throw refuse("such names are Drover's own staging files");
  }
  return name;
}

/**
 * Checks a name that is to become a path below a destination's root, after all decoding: it can lead nowhere else.
 *
 * @param name relative, with `/`.
 * @throws TransferError class `path`, permanent, naming what is wrong.
 */
export function safeRelative(name: string): string {
  const refuse = (why: string) =>
    new TransferError("path", `refused name ${JSON.stringify(name)}: ${why}`, { permanent: true });
  if (name === "") throw refuse("it is empty");
  if (name.includes("\0")) throw refuse("it contains a NUL");
  if (/^[/\\]/.test(name) || /^[A-Za-z]:[/\\]/.test(name)) throw refuse("it is absolute");
  if (Buffer.byteLength(name) >= PATH_BYTES) throw refuse(`it is longer than ${PATH_BYTES} bytes`);
  for (const component of name.split("/")) {
    if (component === "") throw refuse(name.endsWith("/") ? "it ends in /" : "it has an empty component");
    if (component === "." || component.split("\\").includes(".."))
      throw refuse(`it has a component ${component}`);
    if (Buffer.byteLength(component) > COMPONENT_BYTES)
      throw refuse(`a component is over ${COMPONENT_BYTES} bytes`);
    if (STAGING_NAME.test(component)) throw refuse("such names are Drover's own staging files");
  }
  return name;
}

/** The last component of a name. */
export function baseName(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/** Whether a path, or `s3://bucket/key`, is a root or lies below it, by its name. */
export function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith("/") ? root : `${root}/`);
}

/** Whether a path is a directory or lies below it, links of both being resolved as far as they exist. */
export function liesWithin(path: string, directory: string): boolean {
  const way = relative(realAncestor(directory), realAncestor(path));
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`));
}

/** The path with links resolved as far as it exists. */
function realAncestor(path: string): string {
  const names: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      return join(realpathSync(at), ...names);
    } catch (error) {
      if (dirname(at) === at) throw error;
      names.unshift(basename(at));
    }
  }
}

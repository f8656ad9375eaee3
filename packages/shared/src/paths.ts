import { realpathSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { TransferError } from "./errors.js";

const COMPONENT_BYTES = 255;
const PATH_BYTES = 4096;
/**
 * Names of staging files. They are reserved: no destination may have such a name, and such sources are not
 * copied.
 */
export const STAGING_NAME = /^\.drover-[A-Za-z0-9_-]{16}$/;
/** Why a file of such a name is left out or refused, for people. */
export const STAGING_REASON = "such names are Drover's own staging files";

/**
 * Checks a name that becomes a key below a destination's prefix. Keys are not paths, so most names are valid;
 * but software between Drover and the service may treat them as paths.
 *
 * @throws TransferError class `path`, permanent, naming the problem.
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
    if (STAGING_NAME.test(component)) throw refuse(STAGING_REASON);
  }
  return name;
}

/**
 * Checks a decoded name that becomes a path below a destination's root, so that it cannot lead outside.
 *
 * @param name relative, with `/`.
 * @throws TransferError class `path`, permanent, naming the problem.
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
    if (STAGING_NAME.test(component)) throw refuse(STAGING_REASON);
  }
  return name;
}

/** The last component of a name. */
export function baseName(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

/** Whether a path, or `s3://bucket/key`, is the root or below it, judged by name. */
export function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith("/") ? root : `${root}/`);
}

/** Whether a path is the directory or below it, with symbolic links resolved as far as both exist. */
export function liesWithin(path: string, directory: string): boolean {
  const way = relative(realAncestor(directory), realAncestor(path));
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`));
}

/** The path with symbolic links resolved as far as it exists. */
export function realAncestor(path: string): string {
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

import { chmodSync, lstatSync, type Stats, statSync } from "node:fs";
import { dirname } from "node:path";
import { makeDirectory } from "./make-directory.js";

/** Id of the user that owns the files that this process creates; -1 on systems without such ids. */
export function userId(): number {
  return process.geteuid?.() ?? -1;
}

/**
 * Creates a directory for this user alone, or takes possession of one that is there. Others can neither enter it nor put
 * another one in its place, and it is not one that another user has made or leads to by a link.
 *
 * @param path its parent exists and is reached without links.
 * @throws Error that says what another user could do; the system's error if it cannot be created.
 */
export function makePrivateDirectory(path: string): void {
  refuseReplaceable(dirname(path));
  makeDirectory(path, 0o700);
  if (userId() < 0) return;
  refuseForeign(path, lstatSync(path));
  const { uid, mode } = statSync(path);
  // Root could use that of another user, but would leave files that its owner cannot open.
  if (uid !== userId()) throw foreign(path, uid);
  if ((mode & 0o077) !== 0) chmodSync(path, 0o700);
}

/** @throws Error if a file, directory or link was made by another user. Root is trusted. */
export function refuseForeign(path: string, { uid }: Stats): void {
  if (userId() >= 0 && uid !== userId() && uid !== 0) throw foreign(path, uid);
}

/** @throws Error for a directory in which another user can replace what is ours. */
function refuseReplaceable(directory: string): void {
  const stat = statSync(directory);
  refuseForeign(directory, stat);
  const [everybodyWrites, sticky] = [(stat.mode & 0o002) !== 0, (stat.mode & 0o1000) !== 0];
  if (everybodyWrites && !sticky) throw new Error(`everybody may replace what is in ${directory}`);
}

function foreign(path: string, uid: number): Error {
  return new Error(`${path} belongs to another user (uid ${uid})`);
}

import { TransferError } from "../errors.js";
import { type Ancestor, decodeAncestor, encodeAncestor } from "./ancestor.js";
import type { FileLook, PairSide, PairSides } from "./side.js";
import type { UndoEntry } from "./store.js";

/** What is known of a path whose noted write was carried out, although nobody was told so. */
export interface CarriedOut {
  /** What both sides held then; undefined where neither had it any more. */
  ancestor: Ancestor | undefined;
  /** The stamp of what the written side has; "" for none. */
  stamp: string;
}

/**
 * Finds out whether a write that a run noted was carried out, and not settled: its attempt was killed, or the answer was lost.
 * Then both sides were equal, and an edit that came after that is a plain change.
 *
 * @param noted the ancestor of the path as it is recorded now.
 * @returns undefined where it was not, or where that cannot be told.
 */
export async function carriedOut(
  entry: UndoEntry,
  noted: Ancestor | undefined,
  sides: PairSides,
  signal: AbortSignal,
): Promise<CarriedOut | undefined> {
  const { name, side, sha256 } = entry;
  if (sha256 === "") {
    if (!noted || encodeAncestor(noted).toString("base64") !== entry.before) return undefined;
    // Neither side had it any more: what is made there since is new.
    const isGone = (await sides[side].look(name, signal)).is === "absent";
    return isGone ? { ancestor: undefined, stamp: "" } : undefined;
  }
  // Conflict copies were never the same on both sides.
  if (entry.copy || noted?.sha256 === sha256) return undefined;
  const look = await lookFor(name, sha256, sides[side], signal);
  if (!look) return undefined;
  const before = decodeAncestor(Buffer.from(entry.before, "base64"));
  const { mode } = look.mode === undefined ? { mode: before?.mode } : look;
  const ancestor = {
    sha256,
    sizeBytes: look.sizeBytes,
    ...(mode === undefined ? {} : { mode }),
    local: "",
    remote: "",
  };
  return { ancestor, stamp: look.stamp };
}

/** Looks whether a side holds a version. Users may edit it meanwhile: then it is another one. */
async function lookFor(
  name: string,
  sha256: string,
  side: PairSide,
  signal: AbortSignal,
): Promise<FileLook | undefined> {
  const look = await side.look(name, signal);
  if (look.is !== "file") return undefined;
  try {
    const found = (await side.digest(name, look, "sha256", signal)) ?? (await side.read(name, look, signal));
    return found === sha256 ? look : undefined;
  } catch (error) {
    if (error instanceof TransferError && /^(changed|not-found)$/.test(error.class)) return undefined;
    throw error;
  }
}

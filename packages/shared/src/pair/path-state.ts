import { TransferError } from "../errors.js";
import { hasPartsOf } from "../storage/s3/object/parts-etag.js";
import type { Ancestor } from "./ancestor.js";
import type { Decision, PairTerms, PathState, Side, SideState } from "./decide.js";
import type { DigestKind, FileLook, Look, PairSides } from "./side.js";

/** A path and what is seen of it. */
export interface SeenPath {
  name: string;
  ancestor: Ancestor | undefined;
  local: Look;
  remote: Look;
}

/** The state of a path, and what was learnt on the way to it. */
export interface Examined extends PathState {
  /** SHA-256 of the bytes that both sides hold, hexadecimal, where that is known. */
  sha256?: string;
  /** The side whose permissions are to be those of the other one too; undefined if none was changed. */
  modeFrom: Side | undefined;
  /** Whether a side that is `same` has another stamp than the ancestor: it is noted anew. */
  restamped: boolean;
}

/** How sides are examined. */
export interface Examiner {
  sides: PairSides;
  terms: PairTerms;
  /**
   * What is added to times of the local clock to have those of the service (ms); undefined where that is so much that no
   * time can be believed. Asked for when an answer of the service has told its time. See {@link usableOffset}.
   */
  clockOffsetMs(): number | undefined;
  signal: AbortSignal;
}

/**
 * Finds out what a path is in the words of the decision table. A stamp that differs makes no change: the content decides,
 * and it is asked for where it may matter, without a transfer where possible.
 *
 * @throws TransferError class `changed` where a version changes while it is looked at.
 */
export async function examine(seen: SeenPath, examiner: Examiner): Promise<Examined> {
  const { ancestor } = seen;
  const local = await stateOf("local", seen, examiner);
  const remote = await stateOf("remote", seen, examiner, local.state === "same");
  const state: Examined = {
    tracked: ancestor !== undefined,
    local: local.state,
    remote: remote.state,
    equal: false,
    newer: undefined,
    modeFrom: undefined,
    restamped: local.restamped || remote.restamped,
  };
  if (state.local !== "changed" || state.remote !== "changed") {
    if (ancestor && (state.local === "same" || state.remote === "same")) state.sha256 = ancestor.sha256;
    if (ancestor && state.local === "same" && state.remote === "same")
      state.modeFrom = changedMode(seen, ancestor, examiner.terms);
    return state;
  }
  const both = { local: seen.local as FileLook, remote: seen.remote as FileLook };
  const sha256 = await equalBytes(seen.name, both, examiner);
  if (sha256 !== undefined) return { ...state, equal: true, sha256 };
  if (examiner.terms.strategy === "newest-wins") state.newer = await newerOf(seen, both, examiner);
  return state;
}

/** Where permissions of equal bytes were changed on both sides, the local ones win. */
function changedMode(
  { local, remote }: SeenPath,
  ancestor: Ancestor,
  { direction }: PairTerms,
): Side | undefined {
  const isChanged = (look: Look, before: number | undefined) =>
    look.is === "file" && look.mode !== undefined && before !== undefined && look.mode !== before;
  if (direction !== "pull" && isChanged(local, ancestor.mode)) return "local";
  if (direction !== "push" && isChanged(remote, ancestor.remoteMode)) return "remote";
  return undefined;
}

/** @param isKnown whether the local side has the ancestor's bytes, so that its digests are the ancestor's. */
async function stateOf(
  side: Side,
  seen: SeenPath,
  { sides, signal }: Examiner,
  isKnown = false,
): Promise<{ state: SideState; restamped: boolean }> {
  const { ancestor, name } = seen;
  const look = seen[side];
  const as = (state: SideState, restamped = false) => ({ state, restamped });
  if (look.is !== "file") return as(look.is);
  if (!ancestor) return as("changed");
  if (ancestor[side] === look.stamp) return as("same");
  if (ancestor.sizeBytes !== look.sizeBytes) return as("changed");
  const told = await sides[side].digest(name, look, "sha256", signal);
  if (told === undefined && isKnown) {
    const md5 = await sides[side].digest(name, look, "md5", signal);
    if (md5 !== undefined) {
      const isSame = (await sides.local.digest(name, seen.local as FileLook, "md5", signal)) === md5;
      return isSame ? as("same", true) : as("changed");
    }
    const both = { local: seen.local as FileLook, remote: look };
    if (await hasSameParts(name, both, { sides, signal })) return as("same", true);
  }
  if (told === undefined) {
    // A note of other bytes is believed; one of the ancestor's may be left from it, and is no proof.
    const noted = await sides[side].digest(name, look, "noted", signal);
    if (noted !== undefined && noted !== ancestor.sha256) return as("changed");
  }
  const sha256 = told ?? (await sides[side].read(name, look, signal));
  return sha256 === ancestor.sha256 ? as("same", true) : as("changed");
}

/** Whether the ETag of an object that was uploaded in parts shows the bytes of the local file. */
async function hasSameParts(
  name: string,
  { local, remote }: Record<Side, FileLook>,
  { sides, signal }: Pick<Examiner, "sides" | "signal">,
): Promise<boolean> {
  const path = sides.local.location(name);
  if (!(await hasPartsOf(path, local.sizeBytes, remote.stamp))) return false;
  const now = await sides.local.look(name, signal);
  if (now.is === "file" && now.stamp === local.stamp) return true;
  throw new TransferError("changed", `${path} changed while it was read`);
}

/** The SHA-256 of two versions if they have the same bytes. Size and time alone never make them so. */
async function equalBytes(
  name: string,
  { local, remote }: Record<Side, FileLook>,
  { sides, signal }: Examiner,
): Promise<string | undefined> {
  if (local.sizeBytes !== remote.sizeBytes) return undefined;
  const ask = (side: Side, look: FileLook, which: DigestKind) =>
    sides[side].digest(name, look, which, signal);
  const sha256 = (await ask("local", local, "sha256")) ?? (await sides.local.read(name, local, signal));
  if (await hasSameParts(name, { local, remote }, { sides, signal })) return sha256;
  const theirs = await ask("remote", remote, "sha256");
  if (theirs !== undefined) return theirs === sha256 ? sha256 : undefined;
  const md5 = await ask("remote", remote, "md5");
  if (md5 !== undefined) return (await ask("local", local, "md5")) === md5 ? sha256 : undefined;
  const noted = (await ask("remote", remote, "noted")) ?? (await sides.remote.read(name, remote, signal));
  return noted === sha256 ? sha256 : undefined;
}

/** Clocks that differ by no more than this are taken for the same, in milliseconds. */
const SAME_CLOCK_MS = 2_000;
/** Beyond this difference of the clocks no time is believed. */
const MOST_OFFSET_MS = 24 * 3_600_000;

/** What a measured difference of the clocks is worth: 0 where it is small, undefined where it is absurd. */
export function usableOffset(measuredMs: number): number | undefined {
  if (Math.abs(measuredMs) <= SAME_CLOCK_MS) return 0;
  return Math.abs(measuredMs) > MOST_OFFSET_MS ? undefined : measuredMs;
}

async function newerOf(
  { name, ancestor }: SeenPath,
  both: Record<Side, FileLook>,
  { sides, clockOffsetMs, signal }: Examiner,
): Promise<Side | undefined> {
  const keptMs = ancestor === undefined ? undefined : mtimeOfStamp(ancestor.local);
  const [local, remote] = await Promise.all([
    sides.local.edited(name, both.local, undefined, signal),
    sides.remote.edited(name, both.remote, keptMs, signal),
  ]);
  const offsetMs = clockOffsetMs();
  if (offsetMs === undefined) return undefined;
  const toleranceMs = Math.max(local.toleranceMs, remote.toleranceMs, offsetMs === 0 ? 0 : SAME_CLOCK_MS);
  const localMs = local.ms + offsetMs;
  if (Math.abs(localMs - remote.ms) <= toleranceMs) return undefined;
  return localMs > remote.ms ? "local" : "remote";
}

/** The modification time in a stamp of a local file (Unix ms); undefined for any other. */
function mtimeOfStamp(stamp: string): number | undefined {
  const match = /^\d+:(\d+):\d+:\d+$/.exec(stamp);
  return match ? Number(BigInt(match[1] as string) / 1000n) / 1000 : undefined;
}

/**
 * What both sides hold of a path whose bytes are the same.
 *
 * @param sha256 of the bytes, hexadecimal.
 * @returns undefined where a side has no file.
 */
export function ancestorOf({ local, remote }: SeenPath, sha256: string): Ancestor | undefined {
  if (local.is !== "file" || remote.is !== "file") return undefined;
  return {
    sha256,
    sizeBytes: local.sizeBytes,
    ...(local.mode === undefined ? {} : { mode: local.mode }),
    ...(remote.mode === undefined ? {} : { remoteMode: remote.mode }),
    local: local.racy ? "" : local.stamp,
    remote: remote.racy ? "" : remote.stamp,
  };
}

/** Decides on a path whose bytes are the same on both sides, where permissions were changed on one. */
export function withMode(decision: Decision, { modeFrom }: Examined): Decision {
  if (decision.do !== "nothing" || modeFrom === undefined) return decision;
  return { do: "copy", to: modeFrom === "local" ? "remote" : "local", keeps: false, conflict: false };
}

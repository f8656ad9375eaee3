import { type Row, showMode, toBytes } from "@drover/producer/catalog/rows";
import { isLive } from "../state/entry.js";
import type { Pair } from "../state/pairs.js";

/** The row of a path in the state of a mirror; undefined where nothing is wanted. */
export function rowOf({ path, wanted, applied }: Pair): Row | undefined {
  if (!isLive(wanted)) return undefined;
  const { sizeBytes, sha256, version, mode, owner, grants, event, movedFrom, mtimeMs } = wanted;
  const isApplied = applied !== undefined && applied.version === version;
  return {
    path: toBytes(path),
    sizeBytes,
    sha256: sha256 || (isApplied ? applied.sha256 : ""),
    mode: showMode(mode ?? (isApplied ? applied.mode : undefined)),
    sourceId: isApplied ? applied.source : "",
    version: toBytes(version),
    stamp: isApplied ? toBytes(applied.stamp) : "",
    mtime: mtimeMs === 0 ? "" : new Date(mtimeMs).toISOString(),
    owner: toBytes(owner ?? ""),
    grants: toBytes(grants ?? ""),
    movedFrom: toBytes(movedFrom ?? ""),
    eventId: toBytes(event?.id.replace("\n", " ") ?? ""),
    askedMode: showMode(mode),
    eventTime: event === undefined ? "" : new Date(event.timeMs).toISOString(),
  };
}

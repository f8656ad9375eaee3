import type { RunSpec } from "../run.js";
import { storageOf } from "../storage/registry.js";
import { LocalSide } from "./local-side.js";
import { S3Side } from "./s3-side.js";
import type { PairSide } from "./side.js";

/** Opens one side of a pair to be looked at. @throws TransferError where its service has no settings. */
export function openSide(root: string, spec: RunSpec, signal: AbortSignal): PairSide {
  return storageOf(root).name === "local"
    ? new LocalSide(root)
    : new S3Side(root, { spec: { ...spec, root }, signal, warn: () => {} });
}

import type { RunSpec } from "../run.js";
import { LocalTree } from "./local/tree.js";
import { isS3 } from "./s3/name.js";
import { S3Tree } from "./s3/tree.js";
import type { Tree } from "./tree.js";

/**
 * The tree that a run's files go to.
 *
 * @throws TransferError when a local root cannot be made or is no directory.
 */
export function openTree(spec: RunSpec): Tree {
  return isS3(spec.root) ? new S3Tree(spec.root, destinationService(spec)) : new LocalTree(spec.root);
}

/**
 * How a run reaches the S3 service that it writes to.
 *
 * @throws Error where the run has none.
 */
export function destinationService(spec: RunSpec) {
  const service = spec.s3Destination ?? spec.s3;
  if (!service) throw new Error(`the run that writes to ${spec.root} has no S3 settings`);
  return service;
}

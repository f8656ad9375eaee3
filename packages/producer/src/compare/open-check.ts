import type { RunSpec } from "@drover/shared/run";
import { destinationOf } from "@drover/shared/storage/registry";
import type { DestinationCheck } from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";

/**
 * Opens the check of a run's destination, or undefined if none is requested or the tree itself checks. The
 * caller closes it.
 */
export async function openCheck(
  spec: RunSpec,
  tree: Tree,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<DestinationCheck | undefined> {
  if (!spec.checkDestination) return undefined;
  return await destinationOf(spec.root).openCheck?.(tree, { spec, signal, warn });
}

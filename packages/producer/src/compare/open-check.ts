import type { RunSpec } from "@drover/shared/run";
import { destinationOf } from "@drover/shared/storage/registry";
import type { DestinationCheck } from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";

/** What looks at a run's destination where it is to be looked at and the tree itself cannot; to be closed. */
export async function openCheck(
  spec: RunSpec,
  tree: Tree,
  signal: AbortSignal,
  warn: (message: string) => void,
): Promise<DestinationCheck | undefined> {
  if (!spec.checkDestination) return undefined;
  return await destinationOf(spec.root).openCheck?.(tree, { spec, signal, warn });
}

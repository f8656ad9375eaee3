import { TransferError } from "@drover/shared/errors";
import type { RunSpec } from "@drover/shared/run";
import { destinationHost } from "@drover/shared/storage/registry";
import type { WorkFile } from "../attempt/delivery.js";

/**
 * An error of the destination says nothing about the host of the source, so it must not open the breaker of that one.
 *
 * @param root of the tree that was written to.
 * @returns what is to be thrown in its place.
 */
export function destinationError(thrown: unknown, file: WorkFile, spec: RunSpec, root: string): unknown {
  if (!(thrown instanceof TransferError) || thrown.class === "locked") return thrown;
  const ours = file.host === destinationHost(spec);
  return new TransferError(thrown.class, `cannot write to ${root}: ${thrown.message}`, {
    permanent: thrown.permanent,
    verdict: ours ? thrown.verdict : "none",
    throttled: ours && thrown.throttled,
    ...(thrown.retryAfterMs === undefined ? {} : { retryAfterMs: thrown.retryAfterMs }),
    cause: thrown,
  });
}

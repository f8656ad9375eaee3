import { TransferError } from "./errors.js";

/**
 * Why a run must not write a file: by its name a former version is kept in the destination.
 *
 * @param name relative to the destination's root.
 * @param keptSuffix of the files that the run keeps there; undefined if it keeps none there.
 */
export function refusedAsKept(name: string, keptSuffix: string | undefined): TransferError | undefined {
  if (keptSuffix === undefined || !name.endsWith(keptSuffix)) return undefined;
  const why = `${name} ends in ${keptSuffix}: by such names --suffix keeps former versions`;
  return new TransferError("path", why, { permanent: true });
}

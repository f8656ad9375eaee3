import type { TransferError } from "../errors.js";

/** A source could not be listed to its end: what was listed is not everything, so the run is not complete. */
export class ListingError extends Error {
  override name = "ListingError";

  /**
   * @param source as it may be shown.
   * @param remedy what to do where to resume the run does not help.
   */
  constructor(
    readonly source: string,
    override readonly cause: TransferError,
    readonly remedy?: string,
  ) {
    super(`cannot list ${source}: ${cause.message}`);
  }
}

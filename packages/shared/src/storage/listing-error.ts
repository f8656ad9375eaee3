import type { TransferError } from "../errors.js";

/** A source could not be listed completely, so the run is not complete. */
export class ListingError extends Error {
  override name = "ListingError";

  /**
   * @param source redacted.
   * @param remedy what to do if resuming the run does not help.
   */
  constructor(
    readonly source: string,
    override readonly cause: TransferError,
    readonly remedy?: string,
  ) {
    super(`cannot list ${source}: ${cause.message}`);
  }
}

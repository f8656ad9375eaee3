import type { TransferError } from "@drover/shared/errors";
import type { Before, Destination, Staging } from "./destination.js";

/** The destination of a run that this worker must not carry: nothing of it is opened. */
export class RefusedDestination implements Destination {
  /** @param why thrown by all that would look at the destination or change it. */
  constructor(private readonly why: TransferError) {}

  before(): Promise<Before> {
    return Promise.reject(this.why);
  }

  look(): Promise<undefined> {
    return Promise.reject(this.why);
  }

  stage(): Staging {
    throw this.why;
  }

  remove(): Promise<void> {
    return Promise.reject(this.why);
  }

  close(): void {}
}

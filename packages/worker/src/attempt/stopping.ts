/** Reason of the signal when this process stops: staged bytes are kept and the file returns to the queue. */
export class StoppingError extends Error {
  override name = "StoppingError";
}

/** The signal's reason when this process stops: what is staged is kept and the file goes back to the queue. */
export class StoppingError extends Error {
  override name = "StoppingError";
}

import { NO_ENTRY } from "@drover/shared/protocol/admission";
import type { Attempt } from "../attempt/attempt.js";
import type { FileEnd } from "../attempt/settle.js";
import type { Operation } from "../attempt/under-lease.js";

/**
 * The way of a file that is to be removed: check → keep, where it is to be kept → remove. What is at the destination is
 * removed only where it is the version that was seen when the removal was decided, and under the lease: a worker that lost
 * it removes nothing of its successor's.
 */
export class RemoveFile implements Operation {
  readonly tellsOfErrors = false;

  constructor(private readonly attempt: Attempt) {
    // What a copy staged is not gone on with here, and what this try takes away may be left: whoever comes next must know.
    if (attempt.noted) attempt.record = attempt.noted;
    attempt.fencedOff = false;
  }

  async run(): Promise<FileEnd> {
    const { attempt } = this;
    await attempt.context.destination.remove(attempt, attempt.job.v ?? "");
    return { outcome: "deleted", entry: NO_ENTRY, verdict: "none" };
  }
}

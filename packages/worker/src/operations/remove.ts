import { NO_ENTRY } from "@drover/shared/protocol/admission";
import type { Attempt } from "../attempt/attempt.js";
import type { FileEnd } from "../attempt/settle.js";
import type { Operation } from "../attempt/under-lease.js";

/**
 * Removes a file: check → back up if requested → remove. The file is removed only under the lease and only in
 * the version that was listed when the removal was decided, so a worker that lost the lease removes nothing
 * of its successor's.
 */
export class RemoveFile implements Operation {
  readonly tellsOfErrors = false;

  constructor(private readonly attempt: Attempt) {
    // A removal does not continue a copy's staging and may leave its own behind: the next attempt must know
    // of both.
    if (attempt.noted) attempt.record = attempt.noted;
    attempt.fencedOff = false;
  }

  async run(): Promise<FileEnd> {
    const { attempt } = this;
    await attempt.context.destination.remove(attempt, attempt.job.v ?? "");
    return { outcome: "deleted", entry: NO_ENTRY, verdict: "none" };
  }
}

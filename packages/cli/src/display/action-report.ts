import type { PairEvents } from "@drover/producer/pair/sync-pair";
import type { SyncResult } from "@drover/producer/sync-action/results";
import { SILENT_PAIR } from "@drover/producer/sync-action/sync-tree";
import { messageOf } from "@drover/shared/errors";
import { EXIT } from "../exit.js";
import { isOutputWhole, says, warn } from "../output.js";
import type { Format } from "./format.js";
import { PairReport } from "./pair-report.js";

/** Shows a sync of templates or settings: a line for each path, and what came of it. */
export class ActionReport {
  readonly events: PairEvents;

  constructor(private readonly format: Format) {
    this.events = format === "json" ? { ...SILENT_PAIR, warn } : new PairReport(format);
  }

  /** Ends the report. @param more what there is to say beside the numbers. @returns the exit code. */
  async end(result: SyncResult, more: string[]): Promise<number> {
    if (this.format === "json") process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    else if (this.format === "ndjson") process.stdout.write(`${JSON.stringify({ summary: result })}\n`);
    else if (says("normal")) process.stdout.write(`${this.#line(result, more)}\n`);
    await isOutputWhole();
    if (result.interrupted) {
      warn("interrupted: the next sync goes on");
      return EXIT.interrupted;
    }
    if (result.isSettled) return EXIT.ok;
    const hasFailed = result.errors.some(({ path }) => path !== ""); // else it is the cache, or the reload
    const isNothing = hasFailed && result.syncedItems.length === 0 && result.skipped.length === 0;
    return isNothing ? EXIT.none : EXIT.some;
  }

  #line(result: SyncResult, more: string[]): string {
    const { syncedItems, conflicts, skipped, errors, dryRun, isSettled } = result;
    const parts = [`${syncedItems.length} ${dryRun ? "would be synced" : "synced"}`];
    if (conflicts.length > 0) parts.push(`${conflicts.length} conflicts`);
    if (skipped.length > 0) parts.push(`${skipped.length} left`);
    if (errors.length > 0) parts.push(`${errors.length} failed`);
    return [...parts, ...more].join(", ") + (isSettled ? "" : "; not in sync");
  }

  /** Ends the report of a sync that changed nothing. */
  async stopped(error: unknown): Promise<void> {
    const code = error !== null && typeof error === "object" && "code" in error ? error.code : undefined;
    const stopped = { stopped: { ...(code === undefined ? {} : { code }), message: messageOf(error) } };
    if (this.format !== "human") process.stdout.write(`${JSON.stringify(stopped)}\n`);
    await isOutputWhole();
  }
}

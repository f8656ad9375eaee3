import { isSuccess, type Outcome, type RunCounts, successfulFiles } from "@drover/shared/outcome";
import prettyBytes from "pretty-bytes";
import { printable, says } from "../output.js";
import { paint } from "./color.js";
import { showDuration } from "./duration.js";
import type { Format } from "./format.js";
import type { Progress } from "./progress.js";

/** The JSON form of an outcome. */
export function toJson(outcome: Outcome, runId: string): string {
  return JSON.stringify({
    run: runId,
    source: outcome.outcome === "deleted" ? null : outcome.source,
    destination: outcome.destination,
    checksum: outcome.checksum,
    status: isSuccess(outcome.outcome) ? "ok" : outcome.outcome,
    outcome: outcome.outcome,
    bytes: outcome.bytes,
    verified_by: outcome.verifiedBy,
    ...(outcome.unconditional ? { unconditional: true } : {}),
    ...(outcome.movedFrom === undefined ? {} : { moved_from: outcome.movedFrom }),
    ...(outcome.permissionsLost ? { permissions_lost: true } : {}),
    attempts: outcome.attempts,
    duration_ms: Math.round(outcome.durationMs),
    ...(outcome.error ? { error: outcome.error } : {}),
  });
}

/** The line for people about an outcome. */
export function toLine(outcome: Outcome): string {
  const name = printable(outcome.name);
  const good = (about: string) => `${paint("ok", "✓")} ${name} ${paint("detail", `(${about})`)}`;
  if (outcome.outcome === "deleted" || outcome.outcome === "unchanged") return good(outcome.outcome);
  if (!isSuccess(outcome.outcome))
    return paint("error", `✗ ${name} (${printable(outcome.error?.message ?? outcome.outcome)})`);
  const doubt = outcome.verifiedBy === "unverified" ? ", unverified: the server gave no length" : "";
  return good(`${prettyBytes(outcome.bytes)}, ${showDuration(outcome.durationMs)}${doubt}`);
}

/** Writes outcomes to standard output as they arrive, many per write. */
export class Report {
  #buffer: string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #first = true;

  /** @param runId of the run that is reported. */
  constructor(
    private readonly format: Format,
    private readonly runId: string,
    private readonly progress: Progress | undefined,
  ) {}

  start(line: string): void {
    if (this.format === "human" && says("normal")) this.#write(`${line}\n`);
  }

  /** Unchanged files are told with --verbose alone: of most runs they are nearly all. */
  outcome(outcome: Outcome): void {
    if (this.format === "human") {
      const least =
        outcome.outcome === "unchanged" ? "verbose" : isSuccess(outcome.outcome) ? "normal" : "quiet";
      if (says(least)) this.#write(`${toLine(outcome)}\n`);
    } else if (this.format === "ndjson") this.#write(`${toJson(outcome, this.runId)}\n`);
    else {
      this.#write(`${this.#first ? "[\n" : ",\n"}  ${toJson(outcome, this.runId)}`);
      this.#first = false;
    }
  }

  /**
   * Ends the report; resolves when everything is written.
   *
   * @param summary lines for people before the counts. Default none.
   */
  async end(counts: RunCounts, summary: string[] = []): Promise<void> {
    if (this.format === "json") this.#write(this.#first ? "[]\n" : "\n]\n");
    this.progress?.stop();
    if (this.format === "human" && says("normal"))
      this.#write(`${[...summary, `${successfulFiles(counts)}/${counts.files} successful`].join("\n")}\n`);
    this.#flush();
    await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
  }

  /** Ends the report of a run that failed, without counts: the output so far stays valid. */
  breakOff(): void {
    if (this.format === "json" && !this.#first) this.#write("\n]\n");
    this.#flush();
  }

  #write(text: string): void {
    this.#buffer.push(text);
    this.#timer ??= setTimeout(() => this.#flush(), 50);
  }

  #flush(): void {
    clearTimeout(this.#timer); // a pending timer would delay the end of the command
    this.#timer = undefined;
    if (this.#buffer.length === 0) return;
    const text = this.#buffer.join("");
    this.#buffer = [];
    this.progress?.clear();
    process.stdout.write(text);
    this.progress?.draw();
  }
}

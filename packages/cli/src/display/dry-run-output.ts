import type { PlannedFile } from "@drover/producer/runs/foresee/dry-run";
import { printable } from "../output.js";
import { paint } from "./color.js";
import type { Format } from "./format.js";

/** Lines per write. */
const LINES = 500;

/** Prints what a run would do, one line per file, many lines per write. */
export class DryRunOutput {
  #lines: string[] = [];
  #first = true;

  constructor(private readonly format: Format) {}

  file({ source, destination, action, reason, error }: PlannedFile): void {
    if (this.format === "human") {
      const verb = action === "unchanged" ? "leave" : action;
      const what = source === null || action === "unchanged" ? destination : `${source} -> ${destination}`;
      this.#print(
        error
          ? paint("error", printable(`✗ ${source} (${reason})`))
          : `${printable(`would ${verb} ${what}`)} ${paint("detail", printable(`(${reason})`))}`,
      );
      return;
    }
    const status = error ? "failed" : "planned";
    const fields = error ? { error } : { action, reason };
    const text = JSON.stringify({ source, destination, status, ...fields });
    if (this.format === "ndjson") this.#print(text);
    else this.#print(`${this.#first ? "[\n" : ","}  ${text}`);
    this.#first = false;
  }

  end(summary: string): void {
    if (this.format === "human") this.#print(summary);
    if (this.format === "json") this.#print(this.#first ? "[]" : "]");
    this.#flush();
  }

  #print(line: string): void {
    if (this.#lines.push(line) >= LINES) this.#flush();
  }

  #flush(): void {
    if (this.#lines.length > 0) process.stdout.write(`${this.#lines.splice(0).join("\n")}\n`);
  }
}

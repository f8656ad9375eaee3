import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import type { OutputConfiguration } from "commander";

let verbose = false;
let live: { clear(): void; draw(): void } | undefined;

export function setVerbose(value: boolean): void {
  verbose = value;
}

let unwritten = false;

/**
 * Whoever read standard output may go (`| head`): what is still to be done matters more than telling them. So it does
 * where it cannot be written, on a full disk say; but then that is told, and {@link isOutputWhole} is false.
 */
export function tolerateClosedOutput(): void {
  process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
    if (unwritten || code === "EPIPE" || code === "ERR_STREAM_DESTROYED") return;
    unwritten = true;
    line(`drover: cannot write to standard output (${code})`);
  });
  process.stderr.on("error", () => {}); // there is nobody to tell
}

/** Whether everything could be written that somebody was there to read; waits until it is. */
export async function isOutputWhole(): Promise<boolean> {
  await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
  return !unwritten;
}

/** Control characters of a file's name could move the cursor or worse. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "\ufffd");
}

/** A live display on the same terminal makes room for lines. */
export function setLive(display: { clear(): void; draw(): void } | undefined): void {
  live = display;
}

function line(text: string): void {
  live?.clear();
  process.stderr.write(`${redactText(text)}\n`);
  live?.draw();
}

/** Something that a person should know; goes to standard error, without secrets. */
export function warn(message: string): void {
  line(`warning: ${printable(message)}`);
}

/** Only with --verbose. */
export function detail(message: string): void {
  if (verbose) line(printable(message));
}

/** One clear line; the stack only with --verbose. */
export function reportError(error: unknown): void {
  line(`drover: ${printable(messageOf(error))}`);
  if (verbose && error instanceof Error && error.stack) line(error.stack);
}

/** Errors of the command line in one line, with where help is. */
export function oneLine(where: string): OutputConfiguration {
  return {
    outputError: (text, write) =>
      write(
        `drover: ${text
          .replace(/^error: /, "")
          .trim()
          .replace(/\s*\n\s*/g, " ")} (${where})\n`,
      ),
  };
}

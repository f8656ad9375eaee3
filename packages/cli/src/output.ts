import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import type { OutputConfiguration } from "commander";
import { paint, type Tone } from "./display/color.js";
import { counterpartOf } from "./display/other-tools.js";
import { commandLog } from "./log/log.js";

/** How much is said: `quiet` is what went wrong alone. */
export type Verbosity = "quiet" | "normal" | "verbose";

let verbosity: Verbosity = "normal";
let live: { clear(): void; draw(): void } | undefined;

/** @param flags of the command line; `--verbose` wins. */
export function setVerbosity({ verbose, quiet }: { verbose?: boolean; quiet?: boolean }): void {
  verbosity = verbose ? "verbose" : quiet ? "quiet" : "normal";
}

/** Whether as much is said as in `least`, or more. */
export function says(least: Verbosity): boolean {
  const order: Verbosity[] = ["quiet", "normal", "verbose"];
  return order.indexOf(verbosity) >= order.indexOf(least);
}

let unwritten = false;

/**
 * Keeps the command going if standard output fails. A closed pipe (`| head`) is ignored, since the work
 * matters more than its report. Any other failure, such as a full disk, is reported once, and {@link
 * isOutputWhole} is false.
 */
export function tolerateClosedOutput(): void {
  process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
    if (unwritten || code === "EPIPE" || code === "ERR_STREAM_DESTROYED") return;
    unwritten = true;
    line(`cannot write to standard output (${code})`, "error", "drover:");
  });
  process.stderr.on("error", () => {}); // it cannot be reported
}

/** Waits until standard output is written. @returns false if some of it could not be. */
export async function isOutputWhole(): Promise<boolean> {
  await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
  return !unwritten;
}

/** Replaces control characters, which could move the cursor or worse. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "\ufffd");
}

/** Registers the live display, which is cleared and redrawn around each line. */
export function setLive(display: { clear(): void; draw(): void } | undefined): void {
  live = display;
}

/** Writes a line to standard error, behind a head in the colour of a tone; without a head all of it has the colour. */
function line(text: string, tone: Tone, head = ""): void {
  const shown = redactText(text); // before colours: their codes could hide where a URL ends
  const colored = (part: string) => paint(tone, part, process.stderr);
  live?.clear();
  process.stderr.write(`${head === "" ? colored(shown) : `${colored(head)} ${shown}`}\n`);
  live?.draw();
}

/** Writes a warning to standard error, without secrets, and to the log. */
export function warn(message: string): void {
  line(printable(message), "warning", "warning:");
  commandLog()?.warn(message);
}

/** Writes a line of progress to standard error, unless --quiet is given. */
export function progressLine(text: string): void {
  if (says("normal")) line(text, "detail");
}

/** Writes a line to standard error, only with --verbose. */
export function detail(message: string): void {
  if (says("verbose")) line(printable(message), "detail");
}

/**
 * Writes one line to standard error, and the stack with --verbose, and both to the log.
 *
 * @param where help is found; default nowhere.
 */
export function reportError(error: unknown, where?: string): void {
  line(`${printable(messageOf(error))}${where === undefined ? "" : ` (${where})`}`, "error", "drover:");
  const stack = error instanceof Error ? error.stack : undefined;
  if (says("verbose") && stack) line(stack, "detail");
  const log = commandLog();
  log?.error(messageOf(error));
  if (stack) log?.debug({ stack }, "where that was");
}

/** Formats usage errors as one line, without secrets. @param where help is found. */
export function oneLine(where: string): OutputConfiguration {
  return {
    outputError: (text, write) => {
      const line = redactText(text)
        .replace(/^error: /, "")
        .trim()
        .replace(/\s*\n\s*/g, " ");
      const [unknown, option = ""] = /^unknown option '([^']*)'/.exec(line) ?? [];
      const counterpart = counterpartOf(option);
      const head = paint("error", "drover:", process.stderr);
      write(`${head} ${counterpart === undefined ? line : `${unknown}: ${counterpart}`} (${where})\n`);
    },
  };
}

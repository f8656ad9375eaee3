import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";

let verbose = false;
let live: { clear(): void; draw(): void } | undefined;

export function setVerbose(value: boolean): void {
  verbose = value;
}

/** Whoever read standard output may go (`| head`): what is still to be done matters more than telling them. */
export function tolerateClosedOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE" && error.code !== "ERR_STREAM_DESTROYED") throw error;
  });
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
  line(`warning: ${message}`);
}

/** Only with --verbose. */
export function detail(message: string): void {
  if (verbose) line(message);
}

/** One clear line; the stack only with --verbose. */
export function reportError(error: unknown): void {
  line(`drover: ${messageOf(error)}`);
  if (verbose && error instanceof Error && error.stack) line(error.stack);
}

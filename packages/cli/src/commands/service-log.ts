import { openSync, renameSync, statSync } from "node:fs";
import { messageOf } from "@drover/shared/errors";
import { destination, type Logger, multistream, pino } from "pino";
import type { ServiceSettings } from "../settings/service-settings.js";

/** A log file that has grown to this many bytes becomes `FILE.1`, instead of the one before it. */
const ROTATE_BYTES = 100_000_000;

/** Logs JSON lines to standard output and to a file, as far as that can be written. */
export function serviceLogger({ logLevel, logFile }: Pick<ServiceSettings, "logLevel" | "logFile">): Logger {
  const streams: { stream: { write(line: string): void } }[] = [
    { stream: destination({ dest: 1, sync: true }) },
  ];
  let refused: string | undefined;
  try {
    streams.push({ stream: new RotatedFile(logFile) });
  } catch (error) {
    refused = messageOf(error);
  }
  const log = pino(
    {
      level: logLevel,
      base: null,
      messageKey: "message",
      timestamp: () => `,"ts":"${new Date().toISOString()}"`,
      formatters: {
        level: (level) => ({ level: level === "warn" ? "warning" : level === "fatal" ? "critical" : level }),
      },
    },
    multistream(streams.map((each) => ({ ...each, level: logLevel }))),
  );
  if (refused !== undefined)
    log.warn({ log_file: logFile, error: refused }, "the log file cannot be written: this is the only log");
  return log;
}

/** A file of lines that becomes `FILE.1`, instead of the one before it, once it has grown too large. */
export class RotatedFile {
  #file: ReturnType<typeof destination>;
  #sizeBytes: number;

  /**
   * @param mostBytes size that a write may grow it beyond; the next line goes to a new file. Default 100 MB.
   * @throws Error if the file cannot be opened.
   */
  constructor(
    private readonly path: string,
    private readonly mostBytes = ROTATE_BYTES,
  ) {
    this.#file = this.#open();
    this.#sizeBytes = statSync(path).size;
  }

  #open(): ReturnType<typeof destination> {
    const file = destination({ fd: openSync(this.path, "a", 0o640), sync: true });
    file.on("error", () => {}); // a full disk must not end the service: standard output has the line too
    return file;
  }

  /** Writes a line, with its end. */
  write(line: string): void {
    if (this.#sizeBytes > this.mostBytes) this.#rotate();
    this.#sizeBytes += Buffer.byteLength(line);
    this.#file.write(line);
  }

  /** Where the file cannot be renamed, or no new one be opened, it grows on: the log must not end the service. */
  #rotate(): void {
    this.#sizeBytes = 0;
    try {
      renameSync(this.path, `${this.path}.1`);
      const full = this.#file;
      this.#file = this.#open();
      full.end();
    } catch {
      // the next try is as many bytes later
    }
  }
}

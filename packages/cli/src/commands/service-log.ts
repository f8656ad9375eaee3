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
    streams.push({ stream: rotated(logFile) });
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

/** @throws Error if the file cannot be opened. */
function rotated(path: string): { write(line: string): void } {
  const open = () => destination({ fd: openSync(path, "a", 0o640), sync: true });
  let file = open();
  let bytes = statSync(path).size;
  file.on("error", () => {}); // a full disk must not end the service: standard output has the line too
  return {
    write(line) {
      if (bytes > ROTATE_BYTES) {
        file.end();
        renameSync(path, `${path}.1`);
        file = open();
        file.on("error", () => {});
        bytes = 0;
      }
      bytes += Buffer.byteLength(line);
      file.write(line);
    },
  };
}

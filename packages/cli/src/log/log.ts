import type { Logger } from "pino";
import type { LogLevel } from "../settings/log-level.js";

/** How this process logs, as its settings say. */
export interface LogTerms {
  /** Least level; undefined for what the command has without one. */
  level: LogLevel | undefined;
  format: "json" | "text";
  /** The log file, which takes whole lines; undefined for none. */
  file: { write(line: string): void } | undefined;
}

let terms: LogTerms = { level: undefined, format: "json", file: undefined };
let log: Logger | undefined;

/** @param logger of the log file; undefined where there is none. */
export function setLog(given: LogTerms, logger: Logger | undefined): void {
  terms = given;
  log = logger;
}

export function logTerms(): LogTerms {
  return terms;
}

/** The log that `--log-file` asks for, of whatever the command does; undefined where there is none. */
export function commandLog(): Logger | undefined {
  return log;
}

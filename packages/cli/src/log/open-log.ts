import { errnoCode, SettingsError } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import { destination, type Logger, multistream, pino } from "pino";
import { warn } from "../output.js";
import type { LogLevel } from "../settings/log-level.js";
import { type LogTerms, logTerms, setLog } from "./log.js";
import { RotatedFile } from "./rotated-file.js";
import { textLine } from "./text-line.js";

/** What takes lines of JSON. */
interface Lines {
  write(line: string): void;
}

/**
 * Logs what this process does as its settings say.
 *
 * @param path of the log file; undefined for none.
 * @param command its name, in every line of the file.
 * @throws SettingsError if the file cannot be opened.
 */
export function openLog(
  path: string | undefined,
  { level, format }: Omit<LogTerms, "file">,
  command: string,
): void {
  const file = path === undefined ? undefined : openFile(path);
  setLog({ level, format, file }, undefined);
  if (file === undefined) return;
  const logger = makeLogger({
    base: { command, pid: process.pid },
    level: level ?? "info",
    streams: [inFormat(file)],
  });
  setLog({ level, format, file }, logger);
  logger.info("started");
}

/** Says on standard error that a log file cannot be written. @param path of the file. */
export function tellTrouble(path: string): (code: string) => void {
  return (code) => warn(`cannot write the log to ${path} (${code})`);
}

/** @throws SettingsError */
function openFile(path: string): RotatedFile {
  try {
    return new RotatedFile(path, undefined, tellTrouble(path));
  } catch (error) {
    throw new SettingsError(`cannot open the log file ${path} (${errnoCode(error)})`);
  }
}

/**
 * The log of a command that runs until a signal: on one of its streams, as it is without a log file, and in that.
 *
 * @param fd 1 or 2, the stream.
 * @param level without `--log-level`.
 */
export function streamLogger(fd: 1 | 2, level: LogLevel, base: Record<string, unknown>): Logger {
  const { level: asked, file } = logTerms();
  const streams = [destination({ dest: fd, sync: true }), ...(file === undefined ? [] : [file])];
  return makeLogger({ base, level: asked ?? level, streams: streams.map(inFormat) });
}

/** Lines in the format of the settings. */
export function inFormat(lines: Lines): Lines {
  return logTerms().format === "json" ? lines : { write: (line) => lines.write(textLine(line)) };
}

interface LoggerOptions {
  /** In every line. */
  base: Record<string, unknown> | null;
  level: LogLevel;
  streams: Lines[];
  /** The names of levels in JSON. Default: as pino has them. */
  nameOf?: (level: string) => string;
}

/** A logger of JSON lines with `ts`, `level` and `message`. */
export function makeLogger({ base, level, streams, nameOf = (name) => name }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base,
      messageKey: "message",
      timestamp: () => `,"ts":"${new Date().toISOString()}"`,
      formatters: { level: (name) => ({ level: nameOf(name) }) },
      hooks: {
        logMethod(args, method) {
          method.apply(this, args.map(withoutSecrets) as typeof args);
        },
      },
    },
    multistream(streams.map((stream) => ({ stream, level }))),
  );
}

/** A message, or the fields of a line, in which texts have no secrets. */
function withoutSecrets(given: unknown): unknown {
  if (typeof given === "string") return redactText(given);
  if (given === null || typeof given !== "object" || Object.getPrototypeOf(given) !== Object.prototype)
    return given;
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [
      name,
      typeof value === "string" ? redactText(value) : value,
    ]),
  );
}

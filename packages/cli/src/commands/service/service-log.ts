import { messageOf } from "@drover/shared/errors";
import { destination, type Logger } from "pino";
import { logTerms } from "../../log/log.js";
import { inFormat, makeLogger, tellTrouble } from "../../log/open-log.js";
import { RotatedFile } from "../../log/rotated-file.js";
import type { ServiceSettings } from "../../settings/service-settings.js";

/** Names of levels that differ from those of pino. */
const LEVELS: Record<string, string> = { warn: "warning", fatal: "critical" };

/** Logs to standard output and to a file: the one of `--log-file`, else that of LOG_FILE as far as that can be written. */
export function serviceLogger({ logLevel, logFile }: Pick<ServiceSettings, "logLevel" | "logFile">): Logger {
  let { file } = logTerms();
  let refused: string | undefined;
  try {
    file ??= new RotatedFile(logFile, undefined, tellTrouble(logFile));
  } catch (error) {
    refused = messageOf(error);
  }
  const streams = [destination({ dest: 1, sync: true }), ...(file === undefined ? [] : [file])];
  const log = makeLogger({
    base: null,
    level: logLevel,
    streams: streams.map(inFormat),
    nameOf: (level) => LEVELS[level] ?? level,
  });
  if (refused !== undefined)
    log.warn({ log_file: logFile, error: refused }, "the log file cannot be written: this is the only log");
  return log;
}

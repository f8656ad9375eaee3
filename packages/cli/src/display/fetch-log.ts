import { randomUUID } from "node:crypto";
import { redactText } from "@drover/shared/redact";
import { pino } from "pino";
import { commandLog } from "../log/log.js";

type Level = "info" | "warn" | "error";

/** Writes JSON lines only: information to standard output, warnings and errors to standard error. The log file has them too. */
export class FetchLog {
  attempt = 1;
  readonly #out: pino.Logger;
  readonly #err: pino.Logger;

  constructor(version: string) {
    const options: pino.LoggerOptions = {
      messageKey: "message",
      base: {
        script: process.env.SCRIPT_NAME || "drover-fetch",
        run_id: process.env.RUN_ID || randomUUID(),
        pid: process.pid,
        version: process.env.SCRIPT_VERSION || version,
      },
      timestamp: () => `,"ts":"${new Date().toISOString().replace("Z", "000Z")}"`,
      formatters: { level: (label) => ({ level: label }) },
    };
    this.#out = pino(options, pino.destination({ fd: 1, sync: true }));
    this.#err = pino(options, pino.destination({ fd: 2, sync: true }));
  }

  say(level: Level, message: string, fields: Record<string, unknown> = {}): void {
    const logger = level === "info" ? this.#out : this.#err;
    const all = { attempt: String(this.attempt), ...fields };
    logger[level](all, redactText(message));
    commandLog()?.[level](all, message);
  }
}

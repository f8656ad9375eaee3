type Level = "info" | "warn" | "error";

/** Writes one JSON object a line. */
export type Log = (level: Level, message: string, fields?: Readonly<Record<string, unknown>>) => void;

/**
 * @param write gets each line, with its end.
 * @param fields that every line has.
 */
export function createLog(write: (line: string) => void, fields: Readonly<Record<string, unknown>>): Log {
  return (level, message, more) => {
    write(`${JSON.stringify({ level, time: new Date().toISOString(), message, ...fields, ...more })}\n`);
  };
}

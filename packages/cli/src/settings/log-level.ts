/** Levels as pino calls them, and as they are written. */
export const LEVEL_NAMES = {
  debug: "DEBUG",
  info: "INFO",
  warn: "WARNING",
  error: "ERROR",
  fatal: "CRITICAL",
} as const;
export type LogLevel = keyof typeof LEVEL_NAMES;

/** The level that a name means, in any case; `warn` and `fatal` are known too. @returns undefined for none. */
export function levelNamed(given: string): LogLevel | undefined {
  const levels = Object.entries(LEVEL_NAMES) as [LogLevel, string][];
  const named = levels.find(([level, name]) => level === given.toLowerCase() || name === given.toUpperCase());
  return named?.[0];
}

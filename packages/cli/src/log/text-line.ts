import { redactText } from "@drover/shared/redact";
import { LEVEL_NAMES, type LogLevel } from "../settings/log-level.js";

/** Names of levels in JSON lines that are not those of {@link LEVEL_NAMES}. */
const LONG_NAMES: Record<string, string> = { warning: "WARNING", critical: "CRITICAL" };

/**
 * A JSON line of a log as a line for people: `2026-11-29T12:00:00.123Z INFO message key=value`. It is without secrets, and on one
 * line whatever it is about.
 */
export function textLine(json: string): string {
  const { ts, level, message, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const name = LEVEL_NAMES[level as LogLevel] ?? LONG_NAMES[level as string] ?? String(level);
  const parts = [String(ts), name, ...(message === undefined ? [] : [plain(redactText(String(message)))])];
  for (const [key, value] of Object.entries(fields)) parts.push(`${key}=${shown(value)}`);
  return `${parts.join(" ")}\n`;
}

function shown(value: unknown): string {
  if (typeof value !== "string") return plain(JSON.stringify(value, hide) ?? "");
  const text = redactText(value);
  return /^[^\s"=\p{Cc}]+$/u.test(text) ? text : plain(JSON.stringify(text));
}

/** Hides what is secret in the texts of a value. */
function hide(_key: string, value: unknown): unknown {
  return typeof value === "string" ? redactText(value) : value;
}

/** Without control characters, which could end the line or move the cursor of who reads it. */
function plain(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ");
}

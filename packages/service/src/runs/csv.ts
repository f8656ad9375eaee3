import type { ShownFile } from "./shown.js";

const CSV_COLUMNS = [
  "source",
  "destination",
  "outcome",
  "bytes",
  "checksum",
  "attempts",
  "duration_ms",
  "error_class",
  "error",
] as const;

/** The first line of a CSV. */
export const CSV_HEADER = CSV_COLUMNS.join(",");

/** A file as a line of a CSV, without its end. */
export function csvLine({ error, ...file }: ShownFile): string {
  const row: Record<string, unknown> = { ...file, error_class: error?.class, error: error?.message };
  return CSV_COLUMNS.map((column) => csvField(row[column])).join(",");
}

/** A field that no spreadsheet takes for a formula. */
function csvField(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = /^[=+\-@\t\r]/.test(text) && typeof value === "string" ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

import { redactText } from "@drover/shared/redact";

/** Hides the secrets of all texts in a value that becomes JSON. */
export function redactAll(value: unknown): unknown {
  if (typeof value === "string") return redactText(value);
  if (Array.isArray(value)) return value.map(redactAll);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [redactText(name), redactAll(each)]));
}

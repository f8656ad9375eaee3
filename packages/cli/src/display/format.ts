import { OptionError } from "../settings/option-error.js";

/** The format of the output. */
export type Format = "human" | "json" | "ndjson";

/** The format that flags ask for. @throws SettingsError if two formats are requested. */
export function formatOf(flags: { json?: boolean; ndjson?: boolean }): Format {
  if (flags.json && flags.ndjson) throw new OptionError("--json and --ndjson exclude each other: choose one");
  return flags.json ? "json" : flags.ndjson ? "ndjson" : "human";
}

import { redactUrl } from "@drover/shared/redact";
import type { Resolved } from "./settings.js";

/**
 * The options with which another command finds the same runs, as they must be typed, with a blank before each; "" where
 * environment, settings file or defaults say it. A password is hidden: it has to be typed again.
 */
export function ownOptions({ values, origins, typedProfile }: Resolved): string {
  let options = typedProfile === undefined ? "" : ` --profile ${quoted(typedProfile)}`;
  if (origins.redis === "flag" && values.redis !== undefined)
    options += ` --redis ${quoted(redactUrl(values.redis))}`;
  if (origins["state-dir"] === "flag") options += ` --state-dir ${quoted(values["state-dir"] as string)}`;
  return options;
}

/** A word as a shell takes it. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

import { existsSync } from "node:fs";
import { SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import { parseLocation } from "@drover/shared/storage/registry";
import { OptionError } from "./option-error.js";
import { type Resolved, SETTINGS } from "./settings.js";

/**
 * The settings with a destination that stands on the command line instead of artifact root and script name.
 *
 * @param option that names it, for messages.
 * @throws SettingsError where artifact root or script name stand there too, or it is none.
 */
export function withDestination(resolved: Resolved, option: string, destination: string): Resolved {
  const { values, origins } = resolved;
  const other = (["artifact-root", "script-name"] as const).find((name) => origins[name] === "flag");
  if (other !== undefined) throw new OptionError(`${option} says where the files go: leave --${other} out`);
  let root: string;
  try {
    root = SETTINGS["artifact-root"].kind.read(destination);
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    throw new OptionError(`${option} must be ${(error as Error).message}`);
  }
  return {
    ...resolved,
    values: { ...values, "artifact-root": root, "script-name": "" },
    origins: { ...origins, "artifact-root": "flag", "script-name": "flag" },
  };
}

/**
 * Refuses a command line that reads like one of `cp`: the last of several sources could well be meant as the
 * destination, and nothing else says where the files go.
 *
 * @throws SettingsError with both readings.
 */
export function refuseAmbiguous(sources: string[], { values, origins }: Resolved): void {
  const last = sources.at(-1);
  if (last === undefined || sources.length < 2 || origins["artifact-root"] !== "default") return;
  const { storage, text } = parseLocation(last, { directory: process.cwd(), bucket: values["s3-bucket"] });
  if (storage.isTree(text) !== true && (storage.schemes[0] !== "file" || existsSync(text))) return;
  const others = sources.slice(0, -1).map(redactUrl).join(" ");
  const shown = redactUrl(last);
  throw new SettingsError(
    `is ${shown} a source or the destination? drover cp ${others} ${shown} copies into it; ` +
      `drover sync ${others} --to ${shown} --delete makes it the same; ` +
      `drover sync ${others} ${shown} --to DIR takes it as a source`,
  );
}

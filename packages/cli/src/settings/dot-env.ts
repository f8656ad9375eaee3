import { existsSync, readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { errnoCode, SettingsError } from "@drover/shared/errors";

/**
 * Sets the variables of the file `.env` in the current directory that the environment does not have.
 *
 * @throws SettingsError if it cannot be read.
 */
export function loadDotEnv(): void {
  if (!existsSync(".env")) return;
  try {
    for (const [name, value] of Object.entries(parseEnv(readFileSync(".env", "utf8"))))
      process.env[name] ??= value;
  } catch (error) {
    throw new SettingsError(`cannot read .env (${errnoCode(error)})`);
  }
}

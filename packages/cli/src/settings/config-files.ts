import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { nearest } from "./nearest.js";

/** Settings of a file, or of a profile in one. */
export interface Layer {
  /** Where they are, for people: `drover.yaml`, or `profile prod of drover.yaml`. */
  place: string;
  values: Record<string, unknown>;
  /** The section `events`, which `drover serve` reads; undefined where there is none. */
  events?: unknown;
  /** The section `mirrors`; undefined where there is none. */
  mirrors?: unknown;
}

/** The settings file of the user, for all directories. It need not exist. */
function userFile(): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), ".config"), "drover", "config.yaml");
}

/**
 * Reads the settings files.
 *
 * @param config file instead of `drover.yaml` in the current directory, which need not exist.
 * @param known names of all settings.
 * @returns strongest first: the profile in the project's file, in the user's file, the project's file, the user's file.
 * @throws SettingsError for a file that cannot be read or has unknown settings, and for a profile that is in none.
 */
export async function readLayers(
  config: string | undefined,
  profile: string | undefined,
  known: string[],
): Promise<Layer[]> {
  const project = await readFile(config ?? "drover.yaml", config !== undefined, known);
  const user = await readFile(userFile(), false, known);
  const files = [project, user].filter((each) => each !== undefined);
  const layers = files.map(({ path, values, events, mirrors }) => ({ place: path, values, events, mirrors }));
  if (profile === undefined) return layers;
  const chosen = files.flatMap(({ path, profiles }) => {
    const values = Object.hasOwn(profiles, profile) ? profiles[profile] : undefined;
    return values === undefined ? [] : [{ place: `profile ${profile} of ${path}`, values }];
  });
  if (chosen.length > 0) return [...chosen, ...layers];
  const names = files.flatMap(({ profiles }) => Object.keys(profiles));
  const near = nearest(profile, names);
  const places = files.length === 0 ? "there is no settings file" : files.map(({ path }) => path).join(", ");
  throw new SettingsError(
    `there is no profile ${profile} (${places})${near ? `: did you mean ${near}?` : ""}`,
  );
}

interface SettingsFile {
  path: string;
  values: Record<string, unknown>;
  events: unknown;
  mirrors: unknown;
  profiles: Record<string, Record<string, unknown>>;
}

async function readFile(
  path: string,
  mustExist: boolean,
  known: string[],
): Promise<SettingsFile | undefined> {
  if (!mustExist && !existsSync(path)) return undefined;
  const { profiles = null, events, mirrors, ...values } = lines(await parse(path), path);
  check(values, path, known);
  const read: SettingsFile["profiles"] = {};
  for (const [name, content] of Object.entries(lines(profiles, `profiles of ${path}`))) {
    read[name] = lines(content, `profile ${name} of ${path}`);
    check(read[name], `profile ${name} of ${path}`, known);
  }
  return { path, values, events, mirrors, profiles: read };
}

async function parse(path: string): Promise<unknown> {
  const { parse } = await import("yaml");
  try {
    return parse(readFileSync(path, "utf8"));
  } catch (error) {
    const { message } = error as Error;
    // Only the first line: YAML's further lines quote the file.
    const why =
      "errno" in (error as Error)
        ? ` (${errnoCode(error)})`
        : `: ${message.split("\n")[0]?.replace(/:$/, "")}`;
    throw new SettingsError(`cannot read ${path}${why}`);
  }
}

function lines(value: unknown, place: string): Record<string, unknown> {
  if (value === null || value === undefined) return {};
  if (typeof value !== "object" || Array.isArray(value))
    throw new SettingsError(`${place} must hold "name: value" lines`);
  return value as Record<string, unknown>;
}

function check(values: Record<string, unknown>, place: string, known: string[]): void {
  for (const name of Object.keys(values)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    throw new SettingsError(`unknown setting ${name} in ${place}${near ? `: did you mean ${near}?` : ""}`);
  }
}

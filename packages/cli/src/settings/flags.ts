import { messageOf, SettingsError } from "@drover/shared/errors";
import type { Command } from "commander";
import { warn } from "../output.js";
import { OptionError } from "./option-error.js";
import {
  LOG_SETTINGS,
  type LogSettingName,
  type Resolved,
  resolveLogSettings,
  resolveSettings,
  SETTINGS,
  type Setting,
  type SettingName,
  type Settings,
  unknownVariables,
} from "./settings.js";

/** Settings of commands that carry files. */
export const TRANSFER: SettingName[] = [
  "artifact-root",
  "script-name",
  "layout",
  "max-workers",
  "retries",
  "timeout",
  "backoff-factor",
  "circuit-ttl",
  "breaker-wait",
  "max-file-size",
  "bwlimit",
  "streams",
  "check-destination",
  "resume",
  "durability",
  "permissions",
  "backlog-high-water",
];
/** What requests and bytes cost. */
export const PRICES: SettingName[] = ["prices"];
export const S3: SettingName[] = [
  "s3-endpoint",
  "s3-bucket",
  "s3-region",
  "s3-path-style",
  "s3-checksums",
  "s3-anonymous",
  "s3-requester-pays",
  "s3-profile",
  "s3-dest-endpoint",
  "s3-dest-region",
  "s3-dest-profile",
];
/** Settings of commands that write objects. */
export const S3_OBJECTS: SettingName[] = [
  "s3-storage-class",
  "s3-sse",
  "s3-sse-kms-key-id",
  "s3-acl",
  "s3-cache-control",
  "s3-content-type",
  "s3-content-disposition",
  "s3-content-encoding",
  "s3-content-language",
  "s3-metadata",
  "s3-tags",
  "s3-part-size",
];
/** The key of objects that are read. */
export const S3_SOURCE_KEY: SettingName = "s3-source-sse-customer-key-file";
/** Settings of commands that read and write objects which are encrypted with keys of the user. */
export const S3_KEYS: SettingName[] = ["s3-sse-customer-key-file", S3_SOURCE_KEY];
/** Settings of commands that make requests over the network. */
export const NETWORK: SettingName[] = ["user-agent", "ca-file", "client-cert", "client-key"];
/** Settings that locate Redis. */
export const STATE: SettingName[] = ["state-dir", "redis"];
/** Settings of commands that forget old runs. */
export const RETENTION: SettingName[] = ["keep-runs"];
/** Settings of what is kept of the files of a run. */
export const OUTCOMES_KEPT: SettingName[] = ["keep-outcomes", "keep-outcomes-for"];
/** Settings of commands that carry files in a run of their own. */
export const RUN: SettingName[] = [
  ...TRANSFER,
  ...PRICES,
  ...NETWORK,
  ...S3,
  ...S3_OBJECTS,
  ...S3_KEYS,
  ...RETENTION,
  ...OUTCOMES_KEPT,
  ...STATE,
];
/** Settings of how a program is told that its settings have changed. */
export const RELOAD: SettingName[] = ["reload-url", "reload-command", "reload-channel", "reload-timeout"];
export const WORKER: SettingName[] = ["concurrency", "drain-deadline", "health-port"];

/** Names without those that a command does not have. */
export function without(names: readonly SettingName[], left: readonly SettingName[]): SettingName[] {
  return names.filter((name) => !left.includes(name));
}

/** Placeholders of the flags' values in the help. */
const VALUES: Partial<Record<SettingName, string>> = {
  "artifact-root": "DIR|S3",
  "script-name": "NAME",
  layout: "name|url",
  "max-file-size": "SIZE",
  bwlimit: "RATE",
  "user-agent": "TEXT",
  "ca-file": "FILE",
  "client-cert": "FILE",
  "client-key": "FILE",
  durability: "fsync|rename",
  permissions: "metadata|acl",
  "s3-endpoint": "URL",
  "s3-bucket": "NAME",
  "s3-region": "NAME",
  "s3-checksums": "when-supported|when-required",
  "s3-profile": "NAME",
  prices: "FILE",
  "backlog-high-water": "FILES",
  "s3-dest-endpoint": "URL",
  "s3-dest-region": "NAME",
  "s3-dest-profile": "NAME",
  "s3-storage-class": "CLASS",
  "s3-sse": "AES256|aws:kms",
  "s3-sse-kms-key-id": "ID",
  "s3-acl": "NAME",
  "s3-cache-control": "TEXT",
  "s3-content-type": "TYPE",
  "s3-content-disposition": "TEXT",
  "s3-content-encoding": "NAME",
  "s3-content-language": "NAME",
  "s3-metadata": "KEY=VALUE",
  "s3-tags": "KEY=VALUE",
  "s3-part-size": "SIZE",
  "s3-sse-customer-key-file": "FILE",
  "s3-source-sse-customer-key-file": "FILE",
  "state-dir": "DIR",
  redis: "URL",
  cache: "URL",
  "schema-dir": "DIR",
  "reload-url": "URL",
  "reload-command": "ARGV",
  "reload-channel": "NAME",
  "reload-timeout": "TIME",
  "log-file": "FILE",
  "log-level": "LEVEL",
  "log-format": "json|text",
};

/** Adds the flags of the settings, `--config` and `--profile` to a command. */
export function addSettings(command: Command, names: SettingName[]): Command {
  return addSettingFlags(command, names)
    .option("--config <FILE>", "settings file (default: drover.yaml, where there is one)")
    .option("--profile <NAME>", "profile of the settings files");
}

/** Adds the flags of settings to a command. */
export function addSettingFlags(command: Command, names: readonly SettingName[]): Command {
  for (const name of names) {
    const { help, default: fallback, kind } = SETTINGS[name] as Setting<unknown>;
    const shown = fallback === undefined || name === "resume" ? help : `${help} (default: ${fallback})`;
    if (name === "resume") command.option("--no-resume", `do not ${shown}`);
    else if (name === "s3-path-style") {
      command.option(`--${name}`, shown).option(`--no-${name}`, "ask for bucket.endpoint/key");
    } else if (name === "s3-anonymous" || name === "s3-requester-pays") command.option(`--${name}`, help);
    else if (name === "check-destination")
      command.option(`--${name}`, shown).option(`--no-${name}`, "trust the catalog");
    else if (kind.lines)
      command.option(`--${name} <${VALUES[name]}>`, shown, (each, before: string[] = []) => [
        ...before,
        each,
      ]);
    else command.option(`--${name} <${VALUES[name] ?? "N"}>`, shown);
  }
  return command;
}

/** A flag of the command, or else of one that it is below, as typed; undefined where it was not. */
function typed(command: Command, name: SettingName): unknown {
  const key = camel(name);
  for (let each: Command | null = command; each; each = each.parent)
    if (each.getOptionValueSource(key) === "cli") return each.getOptionValue(key);
  return undefined;
}

const camel = (name: string) => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());

/**
 * Resolves a command's settings: flags, then environment, profile, files and defaults.
 *
 * @param tell called with a message for each unknown variable that looks like a setting.
 * @throws SettingsError as {@link resolveSettings}.
 */
export async function settingsOf(
  command: Command,
  tell: (message: string) => void = warn,
): Promise<Resolved> {
  for (const message of unknownVariables()) tell(message);
  const options = command.opts<Record<string, unknown>>();
  const flags = flagsOf(command, Object.keys(SETTINGS) as SettingName[]);
  const { config, profile: typedProfile } = options as { config?: string; profile?: string };
  const profile = typedProfile ?? (process.env.DROVER_PROFILE || undefined);
  const resolved = await resolveSettings(flags, config, profile);
  if (typedProfile !== undefined) resolved.typedProfile = typedProfile;
  await startLog(command, resolved.values);
  await useCertificates(resolved.values);
  return resolved;
}

/** Starts the log of a command that has no other settings. @throws SettingsError if that cannot be. */
export async function startLogAlone(command: Command): Promise<void> {
  await startLog(command, resolveLogSettings(flagsOf(command, LOG_SETTINGS)));
}

function flagsOf(command: Command, names: readonly SettingName[]): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, typed(command, name)]));
}

/** Has the command log as its settings say, which takes no time where they say nothing. @throws SettingsError */
async function startLog(command: Command, values: Pick<Settings, LogSettingName>): Promise<void> {
  const { "log-file": path, "log-level": level, "log-format": format } = values;
  if (path === undefined && level === undefined && format === "json") return;
  const { openLog } = await import("../log/open-log.js");
  openLog(path, { level, format }, nameOf(command));
}

/** The command's name with those that it is below, but not the program's. */
function nameOf(command: Command): string {
  const above = command.parent?.parent ? `${nameOf(command.parent)} ` : "";
  return `${above}${command.name()}`;
}

/** Has this process and its threads use the certificates of the settings. @throws SettingsError if they cannot be used. */
async function useCertificates(values: Settings): Promise<void> {
  const { "ca-file": caFile, "client-cert": clientCert, "client-key": clientKey } = values;
  if (clientKey !== undefined && clientCert === undefined)
    throw new OptionError("--client-key is the key of a certificate: it needs --client-cert");
  if (caFile === undefined && clientCert === undefined) return;
  const { checkCaFile, checkClientCertificate } = await import("@drover/shared/storage/http/trust");
  try {
    if (caFile !== undefined) checkCaFile(caFile);
    if (clientCert !== undefined) checkClientCertificate(clientCert, clientKey);
  } catch (error) {
    throw new SettingsError(messageOf(error));
  }
  if (caFile !== undefined) process.env.DROVER_CA_FILE = caFile;
  if (clientCert === undefined) return;
  process.env.DROVER_CLIENT_CERT = clientCert;
  process.env.DROVER_CLIENT_KEY = clientKey ?? clientCert;
}

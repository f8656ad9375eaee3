import { homedir } from "node:os";
import { join } from "node:path";
import { SettingsError } from "@drover/shared/errors";
import { destinationOf, parseRoot } from "@drover/shared/storage/registry";
import { CANNED_ACLS } from "@drover/shared/storage/s3/object/canned-acls";
import { type Layer, readLayers } from "./config-files.js";
import type { Kind } from "./kind.js";
import {
  anyUrl,
  logLevel,
  number,
  oneOf,
  path,
  redisUrl,
  root,
  seconds,
  serviceUrl,
  size,
  text,
  userAgent,
  yesNo,
} from "./kinds.js";
import { nearest } from "./nearest.js";
import { pairs, partSize } from "./object-kinds.js";
import { OptionError } from "./option-error.js";

/** Origin of a setting's value, strongest first. */
export type Origin = "flag" | "environment" | "file" | "default";

export interface Setting<T> {
  kind: Kind<T>;
  /** Default value. */
  default: T | undefined;
  /** Names of environment variables, strongest first. */
  environment: string[];
  help: string;
}

function setting<T, D extends T | undefined>(
  kind: Kind<T>,
  fallback: D,
  help: string,
  ...environment: string[]
) {
  return { kind, default: fallback, environment, help } as Setting<T> & { default: D };
}

function stateDir(): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), ".local", "state"), "drover");
}

/**
 * Every setting: kind, default, help, and environment variables besides `DROVER_<NAME>`. Flags, environment,
 * `drover.yaml` and `drover config` all use this table.
 */
export const SETTINGS = {
  "artifact-root": setting(root, "reports/scripts", "root directory for the files, or s3://bucket/prefix"),
  "script-name": setting(
    text,
    "resilient-data-sync",
    "directory below the root; '' for none, as is the default for s3://",
  ),
  layout: setting(oneOf("name", "url"), "name", "destination of a URL: its last segment, or host and path"),
  "max-workers": setting(number(1, 1024, true), 8, "files that are carried at once"),
  retries: setting(number(1, 1000, true), 5, "tries per file in all"),
  timeout: setting(
    seconds(0.1, 86_400),
    300,
    "seconds, or a time such as 5m, for connecting, for the answer, and for 1 KiB of the body",
  ),
  "backoff-factor": setting(
    number(1, 10),
    1.5,
    "delay before try n+1: 1 s × factor^(n-1), with jitter, at most 60 s",
  ),
  "circuit-ttl": setting(
    seconds(0.1, 86_400),
    300,
    "seconds that an open circuit breaker keeps a host blocked",
  ),
  "breaker-wait": setting(
    seconds(0, 86_400),
    undefined,
    "seconds to wait for an open breaker (default: one circuit TTL)",
  ),
  "max-file-size": setting(size, undefined, "refuse larger files, e.g. 2GiB"),
  streams: setting(
    number(1, 64, true),
    16,
    "most streams that one large file is fetched by: more than one where that adds to the rate",
  ),
  bwlimit: setting(size, undefined, "bytes per second for this run, e.g. 20MB"),
  "user-agent": setting(userAgent, undefined, "User-Agent of the requests (default: drover/VERSION)"),
  "ca-file": setting(
    path,
    undefined,
    "PEM file with authorities that certificates may be signed by, besides Node's and the system's",
  ),
  "client-cert": setting(path, undefined, "PEM file with the certificate for servers that ask for one"),
  "client-key": setting(
    path,
    undefined,
    "PEM file with its private key (default: the file of --client-cert)",
  ),
  "check-destination": setting(
    yesNo,
    undefined,
    "look whether somebody else changed or removed what a sync left at the destination (always done for a local one)",
  ),
  resume: setting(yesNo, true, "go on where an earlier try or run stopped in a file"),
  durability: setting(
    oneOf("fsync", "rename"),
    "fsync",
    "fsync files and directories, or leave that to the system",
  ),
  permissions: setting(
    oneOf("metadata", "acl"),
    "metadata",
    "acl: owner and grants of objects without a mode are read from their access lists (a request each)",
  ),
  prices: setting(
    path,
    undefined,
    "YAML file that says what requests and bytes cost, for drover plan and --max-cost",
  ),
  "backlog-high-water": setting(
    number(1, 1e9, true),
    200_000,
    "files of a run that may be found and not settled; beyond that the listing waits",
  ),
  "keep-runs": setting(
    number(1, 1_000_000, true),
    20_000,
    "syncs, and as many fetches, that went well and are still known; the oldest beyond that are forgotten",
  ),
  "keep-outcomes": setting(
    number(0, 1_000_000, true),
    10_000,
    "files of a run, the last ones, that drover status --files can list",
  ),
  "keep-outcomes-for": setting(
    seconds(0, 2_592_000),
    86_400,
    "seconds, or a time such as 12h, for which it can after the run ended",
  ),
  "s3-endpoint": setting(
    serviceUrl,
    undefined,
    "S3 service of s3:// sources (default: that of AWS)",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "CUSTOMER_S3_ENDPOINT",
  ),
  "s3-bucket": setting(
    text,
    undefined,
    "bucket of s3:///key, which names none",
    "S3_BUCKET_NAME",
    "CUSTOMER_S3_BUCKET",
  ),
  "s3-region": setting(
    text,
    undefined,
    "its region (default: the profile's, else us-east-1)",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
  ),
  "s3-path-style": setting(
    yesNo,
    undefined,
    "ask for endpoint/bucket/key, not bucket.endpoint/key (default: for any service but AWS)",
  ),
  "s3-checksums": setting(
    oneOf("when-supported", "when-required"),
    undefined,
    "send an x-amz-checksum with uploads, or a Content-MD5 (default: when-supported at AWS, else when-required)",
  ),
  "s3-anonymous": setting(yesNo, false, "do not sign the requests"),
  "s3-requester-pays": setting(yesNo, false, "pay for the requests and the traffic of the bucket"),
  "s3-profile": setting(text, undefined, "profile of the AWS configuration files", "AWS_PROFILE"),
  "s3-dest-endpoint": setting(
    serviceUrl,
    undefined,
    "S3 service of an s3:// destination, where it is another than that of the sources",
  ),
  "s3-dest-region": setting(text, undefined, "its region"),
  "s3-dest-profile": setting(text, undefined, "profile of the AWS configuration files that writes there"),
  "s3-storage-class": setting(text, undefined, "storage class of the objects, such as STANDARD_IA"),
  "s3-sse": setting(oneOf("AES256", "aws:kms"), undefined, "how the service encrypts the objects"),
  "s3-sse-kms-key-id": setting(text, undefined, "key of KMS for --s3-sse aws:kms (default: that of AWS)"),
  "s3-acl": setting(oneOf(...CANNED_ACLS), undefined, "access list of the objects"),
  "s3-cache-control": setting(text, undefined, "Cache-Control of the objects"),
  "s3-content-type": setting(text, undefined, "Content-Type of the objects (default: the source's)"),
  "s3-content-disposition": setting(text, undefined, "Content-Disposition of the objects"),
  "s3-content-encoding": setting(
    text,
    undefined,
    "Content-Encoding of the objects; the bytes stay as they are",
  ),
  "s3-content-language": setting(text, undefined, "Content-Language of the objects"),
  "s3-metadata": setting(pairs, undefined, "metadata of the objects; may be repeated"),
  "s3-tags": setting(pairs, undefined, "tag of the objects; may be repeated"),
  "s3-part-size": setting(
    partSize,
    undefined,
    "size of the parts of a large object, 5M to 5G (default: 16M, and more where there would be over 10,000)",
  ),
  "s3-sse-customer-key-file": setting(
    path,
    undefined,
    "file with the key of 32 bytes that the objects are encrypted with (SSE-C), as it is or in base64",
  ),
  "s3-source-sse-customer-key-file": setting(
    path,
    undefined,
    "file with the key that objects of the sources are encrypted with",
  ),
  concurrency: setting(number(1, 1024, true), 16, "files that a worker carries at once"),
  "drain-deadline": setting(
    seconds(0, 86_400),
    30,
    "seconds that files on their way may take to finish when a worker is stopped",
  ),
  "health-port": setting(number(0, 65_535, true), undefined, "port of a worker's /healthz and /readyz"),
  "state-dir": setting(path, undefined, "where Drover's own Redis and lists are kept"),
  redis: setting(
    redisUrl,
    undefined,
    "Redis to use instead of Drover's own, e.g. rediss://user@host:6379/0; also redis+sentinel://, redis+cluster://",
    "REDIS_URL",
  ),
  cache: setting(
    redisUrl,
    undefined,
    "Redis that is the cache of your program, for templates, settings and cache; never Drover's own",
  ),
  "schema-dir": setting(path, undefined, "directory of ADAPTER.json, JSON Schemas 2020-12 for settings"),
  "reload-url": setting(
    anyUrl,
    undefined,
    "posted to when settings have changed; an address that is not public needs --allow-address",
  ),
  "reload-command": setting(
    text,
    undefined,
    'run without a shell when settings have changed: words, or a JSON array such as ["systemctl","reload","app"]',
  ),
  "reload-channel": setting(
    text,
    undefined,
    "channel of the --cache that is told when settings have changed",
  ),
  "reload-timeout": setting(seconds(0.1, 3600), 30, "seconds that each of these may take"),
  "log-file": setting(path, undefined, "also log there what the command does; at 100 MB it becomes FILE.1"),
  "log-level": setting(
    logLevel,
    undefined,
    "least level that is logged: debug, info, warning, error, critical (default: info)",
  ),
  "log-format": setting(oneOf("json", "text"), "json", "lines of the log"),
} as const;

export type SettingName = keyof typeof SETTINGS;
/** Settings of the log, which every command has. */
export const LOG_SETTINGS = ["log-file", "log-level", "log-format"] as const satisfies SettingName[];
export type LogSettingName = (typeof LOG_SETTINGS)[number];
type ValueOf<S> = S extends Setting<infer T> & { default: infer D }
  ? D extends undefined
    ? T | undefined
    : T
  : never;
export type Settings = { [Name in SettingName]: ValueOf<(typeof SETTINGS)[Name]> };

export interface Resolved {
  values: Settings;
  origins: Record<SettingName, Origin>;
  /** Variable, file or profile that a value comes from; "" for flags and defaults. */
  places: Record<SettingName, string>;
  /** Profile that was chosen on the command line. */
  typedProfile?: string;
  /** The section `events` of the settings files, and in which file it is; absent where there is none. */
  events?: { place: string; value: unknown };
  /** The section `mirrors`, in the same way. */
  mirrors?: { place: string; value: unknown };
}

/**
 * Resolves the settings: flags > environment > profile > files > defaults.
 *
 * @param flags values of the command line, as text.
 * @param configFile file given by the user, or undefined for `drover.yaml` in the current directory, if it
 *   exists. The user's own file counts below it.
 * @param profile of these files.
 * @throws SettingsError naming the setting, its origin, and what is expected.
 */
export async function resolveSettings(
  flags: Record<string, unknown>,
  configFile: string | undefined,
  profile?: string,
): Promise<Resolved> {
  const layers = await readLayers(configFile, profile, Object.keys(SETTINGS));
  const { values, origins, places } = resolveEach(Object.keys(SETTINGS) as SettingName[], flags, layers);
  const root =
    origins["artifact-root"] === "default"
      ? parseRoot(values["artifact-root"] as string, process.cwd())
      : (values["artifact-root"] as string);
  values["artifact-root"] = root;
  if (origins["script-name"] === "default" && !destinationOf(root).ownDirectory) values["script-name"] = "";
  values["state-dir"] ??= stateDir();
  values["breaker-wait"] ??= values["circuit-ttl"];
  const events = sectionOf(layers, "events");
  const mirrors = sectionOf(layers, "mirrors");
  return {
    ...{ values: values as Settings, origins, places },
    ...(events ? { events } : {}),
    ...(mirrors ? { mirrors } : {}),
  };
}

/**
 * The value of each of some settings, before what depends on several.
 *
 * @throws OptionError naming the setting, its origin, and what is expected.
 */
function resolveEach(names: SettingName[], flags: Record<string, unknown>, layers: Layer[]) {
  const values: Record<string, unknown> = {};
  const origins = {} as Resolved["origins"];
  const places = {} as Resolved["places"];
  for (const name of names) {
    const entry = SETTINGS[name] as Setting<unknown>;
    const read = (value: string, where: string) => {
      try {
        return entry.kind.read(value);
      } catch (error) {
        if (error instanceof SettingsError) throw new OptionError(`${where}: ${error.message}`);
        const given = /^(redis|cache|s3-endpoint|s3-dest-endpoint|artifact-root)$/.test(name)
          ? "this"
          : JSON.stringify(value); // the value may contain a password
        throw new OptionError(`${where} must be ${(error as Error).message}, not ${given}`);
      }
    };
    const flag = flags[name];
    const layer = layers.find((each) => name in each.values);
    places[name] = "";
    // AWS's switch to ignore the endpoints of its variables.
    const ignored = name === "s3-endpoint" && process.env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS === "true";
    const variable = [variableOf(name), ...(ignored ? [] : entry.environment)].find(
      (each) => process.env[each] !== undefined && (process.env[each] !== "" || name === "script-name"),
    );
    if (flag !== undefined) {
      values[name] = read(Array.isArray(flag) ? flag.join("\n") : String(flag), `--${name}`);
      origins[name] = "flag";
    } else if (variable !== undefined) {
      values[name] = read(process.env[variable] as string, variable);
      origins[name] = "environment";
      places[name] = variable;
    } else if (layer !== undefined) {
      values[name] = read(
        plain(layer.values[name], name, layer.place, entry.kind.lines),
        `${name} in ${layer.place}`,
      );
      origins[name] = "file";
      places[name] = layer.place;
    } else {
      values[name] = entry.default;
      origins[name] = "default";
    }
  }
  return { values, origins, places };
}

/**
 * The settings of the log for a command that has no others: flags, then the environment.
 *
 * @throws OptionError naming the setting, its origin, and what is expected.
 */
export function resolveLogSettings(flags: Record<string, unknown>): Pick<Settings, LogSettingName> {
  return resolveEach([...LOG_SETTINGS], flags, []).values as Pick<Settings, LogSettingName>;
}

function sectionOf(
  layers: Layer[],
  name: "events" | "mirrors",
): { place: string; value: unknown } | undefined {
  const layer = layers.find((each) => each[name] !== undefined && each[name] !== null);
  return layer && { place: layer.place, value: layer[name] };
}

/** A setting's own environment variable. */
export function variableOf(name: string): string {
  return `DROVER_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** Variables that are not settings: documented ones, and those of Drover's own tests and benchmarks. */
const OTHER_VARIABLES =
  /^DROVER_(PROFILE|REDIS_CA|COMPLETE_MS|EMBEDDED_IDLE_MS|FAULT|BENCH|OPTS|BIG_OPTS|TEST_.*)$|_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP)/;

/**
 * Returns a message for each variable that looks like a setting but is none, so that misspelt ones are
 * noticed. Variables that Kubernetes sets for services called drover are ignored.
 */
export function unknownVariables(env: NodeJS.ProcessEnv = process.env): string[] {
  const known = Object.keys(SETTINGS).map(variableOf);
  return Object.keys(env)
    .filter((name) => name.startsWith("DROVER_") && !known.includes(name) && !OTHER_VARIABLES.test(name))
    .filter((name) => !/^(tcp|udp):/.test(env[name] ?? ""))
    .map((name) => {
      const near = nearest(name.slice("DROVER_".length), Object.keys(SETTINGS));
      return `${name} in the environment is no setting${near ? `: did you mean ${variableOf(near)}?` : ""}`;
    });
}

function plain(value: unknown, name: string, place: string, lines = false): string {
  if (lines && Array.isArray(value)) return value.map((each) => plain(each, name, place)).join("\n");
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean")
    return String(value);
  throw new SettingsError(`${name} in ${place} has no plain value: write ${name}: value`);
}

/** A setting as `drover config` prints it. */
export interface ShownSetting {
  name: string;
  /** Secrets are hidden. */
  value: string;
  origin: Origin;
  /** Variable, file or profile; "" for flags and defaults. */
  place: string;
}

/** The settings as `drover config` prints them. */
export function showSettings(resolved: Resolved): ShownSetting[] {
  return (Object.keys(SETTINGS) as SettingName[]).map((name) => {
    const value = resolved.values[name];
    const kind = SETTINGS[name].kind as Kind<unknown>;
    const shown = value === undefined ? "(none)" : kind.show(value);
    return { name, value: shown, origin: resolved.origins[name], place: resolved.places[name] };
  });
}

import { readFileSync } from "node:fs";
import type { RunRequestInput, S3Settings } from "@drover/producer/runs/plan/request";
import type { ServicesRequest } from "@drover/producer/runs/plan/services";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import { safeRelative } from "@drover/shared/paths";
import { redactUrl } from "@drover/shared/redact";
import { below, storageOf } from "@drover/shared/storage/registry";
import type { S3ObjectOptions } from "@drover/shared/storage/s3/object/object-options";
import { Netrc } from "./netrc.js";
import { OptionError } from "./option-error.js";
import { type Resolved, SETTINGS, type SettingName, type Settings } from "./settings.js";
import {
  parseAge,
  parseAmount,
  parseBinarySize,
  parseBytes,
  parseCount,
  parseInstant,
  parseMostDeleted,
} from "./units.js";

/** Size of a key of SSE-C. */
const KEY_BYTES = 32;

/** Flags of `drover sync` that are not settings, as typed. */
export interface RequestFlags {
  fromFile?: string;
  baseUrl?: string;
  /** Whether wildcards in `s3://` sources choose objects. Default: they are characters. */
  wildcards?: boolean;
  pattern?: string[];
  /** `+ glob` or `- glob`, in order. */
  filters?: string[];
  minSize?: string;
  maxSize?: string;
  minAge?: string;
  maxAge?: string;
  checksum?: string[];
  header?: string[];
  bearerTokenFile?: string;
  netrc?: boolean;
  delete?: boolean;
  maxDelete?: string;
  deleteExcluded?: boolean;
  trackRenames?: boolean;
  copyLinks?: boolean;
  nameFromHeader?: boolean;
  backupDir?: string;
  label?: string;
  /** When the run is cancelled, and after how many failures. */
  deadline?: string;
  stopAfterFailures?: string;
  /** Bytes and costs at which it is cancelled. */
  maxBytes?: string;
  maxCost?: string;
  suffix?: string;
  ignoreTimes?: boolean;
  update?: boolean;
  ignoreExisting?: boolean;
  existing?: boolean;
  sizeOnly?: boolean;
  checksumOnly?: boolean;
}

/** Translates the command line into a request. @throws SettingsError for an invalid value. */
export function requestOf(sources: string[], flags: RequestFlags, resolved: Resolved): RunRequestInput {
  const { values, origins } = resolved;
  const headers = headersOf(flags);
  const netrc = netrcOf(flags, headers);
  const named = (location: string) => netrc?.addTo(location) ?? location;
  return {
    directory: process.cwd(),
    stateDir: values["state-dir"] as string,
    ...(flags.label === undefined ? {} : { label: flags.label }),
    ...(process.env.TRACEPARENT === undefined ? {} : { traceparent: process.env.TRACEPARENT }),
    carriedBy: values.redis === undefined ? "process" : "fleet",
    keepOutcomes: { most: values["keep-outcomes"], ms: values["keep-outcomes-for"] * 1000 },
    selection: {
      sources: sources.map(named),
      wildcards: flags.wildcards ?? false,
      ...(flags.fromFile === undefined ? {} : { list: flags.fromFile }),
      ...(flags.baseUrl === undefined ? {} : { baseUrl: named(flags.baseUrl) }),
      patterns: flags.pattern ?? ["*"],
      filters: flags.filters ?? [],
      followLinks: flags.copyLinks,
      ...limitsOf(flags),
      checksums: checksumsOf(flags.checksum ?? []).map(({ source, sha256 }) => ({
        source: named(source),
        sha256,
      })),
      headers,
      ...(netrc && flags.fromFile !== undefined ? { logins: [...netrc.all] } : {}),
    },
    destination: {
      root: rootOf(values),
      layout: values.layout,
      check: values["check-destination"],
      durability: values.durability,
      ...deletionOf(flags),
      ...backupOf(flags),
      ...leaveOf(flags),
      namesFromHeader: flags.nameFromHeader,
    },
    terms: {
      retries: values.retries,
      timeoutMs: values.timeout * 1000,
      backoffFactor: values["backoff-factor"],
      // A fleet has its own capacity: only an explicit setting limits the run.
      maxWorkers: origins["max-workers"] === "default" ? undefined : values["max-workers"],
      maxFileSizeBytes: values["max-file-size"],
      bytesPerSecond: values.bwlimit,
      ...(origins.streams === "default" ? {} : { streams: values.streams }),
      ...(values["user-agent"] === undefined ? {} : { userAgent: values["user-agent"] }),
      resume: values.resume,
      ...(flags.deadline === undefined
        ? {}
        : { deadlineMs: parseInstant("--deadline", flags.deadline, Date.now()) }),
      ...(flags.stopAfterFailures === undefined
        ? {}
        : { stopAfterFailures: parseCount("--stop-after-failures", flags.stopAfterFailures) }),
      ...(flags.maxBytes === undefined ? {} : { maxBytes: parseBytes("--max-bytes", flags.maxBytes) }),
      ...(flags.maxCost === undefined ? {} : { maxCost: parseAmount("--max-cost", flags.maxCost) }),
      ignoreTimes: flags.ignoreTimes ?? false,
      backlogHighWater: values["backlog-high-water"],
    },
    breaker: {
      ttlMs: values["circuit-ttl"] * 1000,
      waitMs: (values["breaker-wait"] ?? values["circuit-ttl"]) * 1000,
    },
    ...(values.permissions === "acl" ? { permissions: "acl" as const } : {}),
    s3: {
      ...s3RequestOf(resolved),
      ...objectsOf(resolved, values["artifact-root"]),
      ...keysOf(resolved, sources, flags.fromFile !== undefined),
    },
  };
}

/**
 * The settings of storages' services.
 *
 * @throws SettingsError for settings that exclude each other.
 */
export function servicesRequestOf(resolved: Resolved): ServicesRequest {
  return { s3: s3RequestOf(resolved) };
}

function s3RequestOf({ values, origins }: Resolved): S3Settings {
  return {
    endpoint: values["s3-endpoint"],
    region: values["s3-region"],
    profile: values["s3-profile"],
    ambientProfile: origins["s3-profile"] !== "flag",
    bucket: values["s3-bucket"],
    pathStyle: values["s3-path-style"],
    checksums: values["s3-checksums"],
    anonymous: values["s3-anonymous"],
    requesterPays: values["s3-requester-pays"],
    objectsOf: "destination",
    destination: {
      endpoint: values["s3-dest-endpoint"],
      region: values["s3-dest-region"],
      profile: values["s3-dest-profile"],
    },
  };
}

/** The setting of each option of objects. */
const OBJECT_SETTINGS = {
  storageClass: "s3-storage-class",
  sse: "s3-sse",
  sseKmsKeyId: "s3-sse-kms-key-id",
  acl: "s3-acl",
  cacheControl: "s3-cache-control",
  contentType: "s3-content-type",
  contentDisposition: "s3-content-disposition",
  contentEncoding: "s3-content-encoding",
  contentLanguage: "s3-content-language",
  metadata: "s3-metadata",
  tags: "s3-tags",
  partBytes: "s3-part-size",
} as const satisfies Record<keyof S3ObjectOptions, SettingName>;

/**
 * What the objects below a root are to have. Where that is not in S3, flags alone count, which are refused then:
 * environment and files are for all commands.
 */
export function objectsOf({ values, origins }: Resolved, root: string): Pick<S3Settings, "objects"> {
  const isS3 = storageOf(root).settings === "s3";
  const asked = Object.entries(OBJECT_SETTINGS).filter(
    ([, name]) => values[name] !== undefined && (isS3 || origins[name] === "flag"),
  );
  if (asked.length === 0) return {};
  return { objects: Object.fromEntries(asked.map(([key, name]) => [key, values[name]])) };
}

/**
 * The keys that objects are encrypted with. A file that only environment or `drover.yaml` names is left out where nothing
 * could be encrypted with its key: they are for all commands.
 */
function keysOf(
  { values, origins }: Resolved,
  sources: string[],
  hasList: boolean,
): Pick<S3Settings, "customerKeys"> {
  const isS3 = storageOf(values["artifact-root"]).settings === "s3";
  const reads = hasList || sources.some((source) => /^s3:/i.test(source));
  const keyOf = (name: "s3-sse-customer-key-file" | "s3-source-sse-customer-key-file", isUsed: boolean) => {
    const path = values[name];
    return path !== undefined && (isUsed || origins[name] === "flag") ? readKey(name, path) : undefined;
  };
  const destination = keyOf("s3-sse-customer-key-file", isS3);
  const source = keyOf("s3-source-sse-customer-key-file", reads);
  if (source === undefined && destination === undefined) return {};
  return {
    customerKeys: {
      ...(source === undefined ? {} : { source }),
      ...(destination === undefined ? {} : { destination }),
    },
  };
}

/** @returns the key in base64. @throws SettingsError if the file has none; never with its content. */
function readKey(name: string, path: string): string {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    throw new SettingsError(`--${name}: cannot read ${path} (${errnoCode(error)})`);
  }
  if (content.length === KEY_BYTES) return content.toString("base64");
  const text = content.toString("latin1").trim();
  if (/^[A-Za-z0-9+/]{43}=$/.test(text)) return text;
  throw new SettingsError(`--${name}: ${path} must hold a key of 32 bytes, as it is or in base64`);
}

/** The destination: a directory or `s3://bucket/prefix`. */
function rootOf({ "artifact-root": root, "script-name": name }: Settings): string {
  if (name === "") return root;
  try {
    safeRelative(name);
  } catch (error) {
    throw new OptionError(`--script-name: ${(error as Error).message}`);
  }
  return below(root, name);
}

function limitsOf({ minSize, maxSize, minAge, maxAge }: RequestFlags) {
  const nowMs = Date.now();
  return {
    ...(minSize === undefined ? {} : { minSizeBytes: parseBinarySize("--min-size", minSize) }),
    ...(maxSize === undefined ? {} : { maxSizeBytes: parseBinarySize("--max-size", maxSize) }),
    ...(minAge === undefined ? {} : { maxMtimeMs: parseAge("--min-age", minAge, nowMs) }),
    ...(maxAge === undefined ? {} : { minMtimeMs: parseAge("--max-age", maxAge, nowMs) }),
  };
}

function deletionOf(flags: RequestFlags): Pick<RunRequestInput["destination"], "delete"> {
  if (!flags.delete) {
    if (flags.maxDelete !== undefined)
      throw new OptionError("--max-delete says how to delete: it needs --delete");
    if (flags.deleteExcluded)
      throw new OptionError("--delete-excluded says what to delete: it needs --delete");
    if (flags.trackRenames) throw new OptionError("--track-renames spares a removal: it needs --delete");
    return {};
  }
  const most = parseMostDeleted(flags.maxDelete ?? "50%");
  return { delete: { most, excluded: flags.deleteExcluded, renames: flags.trackRenames } };
}

function backupOf({ backupDir, suffix }: RequestFlags): Pick<RunRequestInput["destination"], "backup"> {
  if (backupDir === undefined && suffix === undefined) return {};
  if (backupDir === "") throw new OptionError("--backup-dir must be a directory, or s3://bucket/prefix");
  return {
    backup: {
      ...(backupDir === undefined ? {} : { dir: readBackup(backupDir) }),
      ...(suffix === undefined ? {} : { suffix }),
    },
  };
}

function leaveOf(flags: RequestFlags): Pick<RunRequestInput["destination"], "leave"> {
  const { update: newer, ignoreExisting: existing, existing: missing, sizeOnly, checksumOnly } = flags;
  if (sizeOnly && checksumOnly)
    throw new OptionError("--size-only and --checksum-only exclude each other: leave one out");
  const same = sizeOnly ? "size" : checksumOnly ? "checksum" : undefined;
  return { leave: { newer, existing, missing, same } };
}

function readBackup(given: string): string {
  try {
    return SETTINGS["artifact-root"].kind.read(given);
  } catch (error) {
    throw error instanceof SettingsError ? new OptionError(`--backup-dir: ${error.message}`) : error;
  }
}

function checksumsOf(given: string[]): { source: string; sha256: string }[] {
  return given.map((pair) => {
    const at = pair.lastIndexOf("=");
    const sha256 = pair.slice(at + 1).toLowerCase();
    if (at <= 0 || !/^[0-9a-f]{64}$/.test(sha256)) {
      throw new OptionError(
        `--checksum must be SOURCE=SHA256 (64 hexadecimal digits), not ${redactUrl(pair)}`,
      );
    }
    return { source: pair.slice(0, at), sha256 };
  });
}

/** Flags of what is sent along with requests for URLs. */
export type HeaderFlags = Pick<RequestFlags, "header" | "bearerTokenFile" | "netrc">;

/** @throws SettingsError without the header's value, or for a token file that cannot be used. */
export function headersOf({ header = [], bearerTokenFile }: HeaderFlags): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const line of header) {
    const colon = line.indexOf(":");
    if (colon <= 0) throw new OptionError("--header must be 'Name: value'");
    headers[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
  }
  if (bearerTokenFile === undefined) return headers;
  if (hasAuthorization(headers))
    throw new OptionError("--bearer-token-file and --header Authorization exclude each other");
  return { ...headers, Authorization: `Bearer ${readToken(bearerTokenFile)}` };
}

/** @throws SettingsError if the file cannot be read, or holds no token; never with its content. */
function readToken(path: string): string {
  let token: string;
  try {
    token = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new SettingsError(`--bearer-token-file: cannot read ${path} (${errnoCode(error)})`);
  }
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new SettingsError(`--bearer-token-file: ${path} must hold one token and nothing else`);
}

/** The user names and passwords that are added to URLs. @throws SettingsError where a header has others. */
export function netrcOf({ netrc }: HeaderFlags, headers: Record<string, string>): Netrc | undefined {
  if (!netrc) return undefined;
  if (hasAuthorization(headers))
    throw new OptionError("--netrc and another Authorization exclude each other");
  return Netrc.read();
}

function hasAuthorization(headers: Record<string, string>): boolean {
  return Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
}

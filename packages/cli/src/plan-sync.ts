import { opendirSync, realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { type Limits, limited, URL_LIMITS } from "@drover/producer/expand/limits";
import { compilePatterns } from "@drover/producer/expand/patterns";
import { destinationOf, parseSource, type SourceName, sourceText } from "@drover/producer/expand/source-name";
import { checkReadable, stampOf } from "@drover/producer/runs/run-list";
import { SettingsError } from "@drover/shared/errors";
import { safeRelative } from "@drover/shared/paths";
import { redactUrl } from "@drover/shared/redact";
import type { RunSecrets, RunSpec } from "@drover/shared/run";
import { checkHeader } from "@drover/shared/storage/http/client";
import { below, isS3 } from "@drover/shared/storage/s3/name";
import { type Format, formatOf } from "./display/report.js";
import { type DeletionFlags, planDeletion } from "./plan-deletion.js";
import type { Settings } from "./settings/settings.js";
import { parseAge, parseBinarySize } from "./settings/units.js";

/** Flags of `drover sync` that are no settings. */
export interface SyncFlags extends DeletionFlags {
  pattern?: string[];
  /** `+ glob` or `- glob`, in order. */
  filters?: string[];
  minSize?: string;
  maxSize?: string;
  minAge?: string;
  maxAge?: string;
  checksum?: string[];
  header?: string[];
  dryRun?: boolean;
  /** Submit to the fleet and do not follow. */
  detach?: boolean;
  hostLimit?: string[];
  json?: boolean;
  ndjson?: boolean;
}

/** What a sync is to do. */
export interface Plan {
  spec: RunSpec;
  secrets: RunSecrets;
  title: string;
  format: Format;
  /** The list, where it can be read only once: `-` for standard input, or the path of a pipe. */
  pipe?: string;
}

/** Understands what is asked for. @throws SettingsError for whatever cannot be right. */
export function planSync(sources: string[], flags: SyncFlags, settings: Settings): Plan {
  if (sources.length === 0 && flags.fromFile === undefined) {
    throw new SettingsError(
      "nothing to sync: name a URL, an s3:// source, a file or a directory, or a list with --from-file",
    );
  }
  const format = formatOf(flags);
  const patterns = flags.pattern ?? ["*"];
  const filters = flags.filters ?? [];
  compilePatterns(patterns, filters);
  const limits = parseLimits(flags);
  const scriptName = settings["script-name"];
  if (scriptName !== "") checkScriptName(scriptName);

  const { names, texts } = checkSources(
    sources.map((source) => withBucket(source, settings["s3-bucket"])),
    settings,
  );
  for (const source of names) refuseSame(source, settings);
  if (limited(limits) && names.some((source) => source.is === "url")) throw new SettingsError(URL_LIMITS);
  const list = flags.fromFile === undefined ? undefined : checkList(flags.fromFile);
  const root = rootOf(settings);
  if (settings["check-destination"] === false && !isS3(root))
    throw new SettingsError("check-destination cannot be false: a local destination is always checked");
  const spec: RunSpec = {
    root,
    directory: process.cwd(),
    sources: texts.map(redactUrl),
    ...(list && "list" in list ? list : {}),
    listIsStdin: list !== undefined && "pipe" in list,
    patterns,
    filters,
    ...limits,
    backlogHighWater: settings["backlog-high-water"],
    layout: settings.layout,
    checksums: checkChecksums(flags.checksum ?? [], names, flags.fromFile !== undefined),
    retries: settings.retries,
    timeoutMs: settings.timeout * 1000,
    backoffFactor: settings["backoff-factor"],
    jitter: "full",
    circuitTtlMs: settings["circuit-ttl"] * 1000,
    circuitThreshold: 5,
    breakerWaitMs: (settings["breaker-wait"] ?? settings["circuit-ttl"]) * 1000,
    openWhenSpent: false,
    whenBusy: "wait",
    maxWorkers: settings["max-workers"],
    resume: settings.resume,
    durable: settings.durability === "fsync",
    fleet: false,
    ownFlights: false,
  };
  const deletion = planDeletion(flags, names, root, settings["state-dir"] as string);
  if (deletion) spec.delete = deletion;
  if (settings["max-file-size"] !== undefined) spec.maxFileSizeBytes = settings["max-file-size"];
  if (settings["check-destination"] && isS3(root)) spec.checkDestination = true;
  if (settings.bwlimit !== undefined) spec.bytesPerSecond = settings.bwlimit;
  const many = texts.length === 1 ? "1 source" : `${texts.length} sources`;
  const what = flags.fromFile === undefined ? many : texts.length > 0 ? `${many} and a list` : "a list";
  return {
    spec,
    secrets: { headers: parseHeaders(flags.header ?? []), sources: texts },
    title: `Syncing ${what}...`,
    format,
    ...(list && "pipe" in list ? list : {}),
  };
}

function parseLimits({ minSize, maxSize, minAge, maxAge }: SyncFlags): Limits {
  const nowMs = Date.now();
  const limits: Limits = {
    ...(minSize === undefined ? {} : { minSizeBytes: parseBinarySize("--min-size", minSize) }),
    ...(maxSize === undefined ? {} : { maxSizeBytes: parseBinarySize("--max-size", maxSize) }),
    ...(minAge === undefined ? {} : { maxMtimeMs: parseAge("--min-age", minAge, nowMs) }),
    ...(maxAge === undefined ? {} : { minMtimeMs: parseAge("--max-age", maxAge, nowMs) }),
  };
  if ((limits.minSizeBytes ?? 0) > (limits.maxSizeBytes ?? Number.POSITIVE_INFINITY))
    throw new SettingsError("--min-size is greater than --max-size: no file is both");
  if ((limits.minMtimeMs ?? Number.NEGATIVE_INFINITY) > (limits.maxMtimeMs ?? Number.POSITIVE_INFINITY))
    throw new SettingsError("--min-age is greater than --max-age: no file is both");
  return limits;
}

function checkScriptName(name: string): void {
  try {
    safeRelative(name);
  } catch (error) {
    throw new SettingsError(`--script-name: ${(error as Error).message}`);
  }
}

/** `s3:///key` leaves the bucket to the settings. */
function withBucket(source: string, bucket: string | undefined): string {
  if (!/^s3:\/\/\//i.test(source)) return source;
  if (bucket === undefined)
    throw new SettingsError(`${source} names no bucket: write s3://bucket/key, or set --s3-bucket`);
  return `s3://${bucket}${source.slice("s3://".length)}`;
}

/** The sources, each once; two that would land on one destination are refused by name. */
function checkSources(sources: string[], settings: Settings): { names: SourceName[]; texts: string[] } {
  const byText = new Map<string, SourceName>();
  const byDestination = new Map<string, string>();
  for (const given of sources) {
    const source = parseSource(given, process.cwd());
    const text = sourceText(source);
    if (byText.has(text)) continue;
    byText.set(text, source);
    if (source.is === "path" && isDirectory(source.path)) {
      checkListable(source.path);
      continue;
    }
    if (source.is === "s3") continue; // a prefix or an object: listing it will tell
    const destination = destinationOf(source, settings.layout);
    const other = byDestination.get(destination);
    if (other !== undefined) {
      const byUrl = source.is === "url" ? "use --layout url, " : "";
      const remedy = `${byUrl}give them names in a list (--from-file), or sync them apart`;
      throw new SettingsError(
        `${redactUrl(other)} and ${redactUrl(given)} would both be written to ${destination}: ${remedy}`,
      );
    }
    byDestination.set(destination, given);
  }
  return { names: [...byText.values()], texts: [...byText.keys()] };
}

/** Where the files go: a directory or `s3://bucket/prefix`. */
function rootOf(settings: Settings): string {
  const { "artifact-root": root, "script-name": name } = settings;
  return name === "" ? root : below(root, name);
}

/** A directory that is synced onto itself is a slip, whatever was meant. */
function refuseSame(source: SourceName, settings: Settings): void {
  const root = rootOf(settings);
  if (source.is === "url" || (source.is === "s3") !== isS3(root)) return;
  if (source.is === "s3") {
    const elsewhere = settings["s3-dest-endpoint"] ?? settings["s3-dest-profile"];
    if (elsewhere !== undefined || sourceText(source).replace(/\/$/, "") !== root) return;
  } else {
    try {
      if (realpathSync(source.path) !== realpathSync(root)) return;
    } catch {
      return; // one of them is not there
    }
  }
  throw new SettingsError(`${sourceText(source)} is the destination itself: choose another --artifact-root`);
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch {
    return false; // said of the file itself, when it is its turn
  }
}

function checkListable(directory: string): void {
  try {
    opendirSync(directory).closeSync();
  } catch (error) {
    throw new SettingsError(
      `cannot list the directory ${directory} (${(error as NodeJS.ErrnoException).code})`,
    );
  }
}

function checkList(file: string): { list: string; listStamp: string } | { pipe: string } {
  if (file === "-") return { pipe: file };
  const path = resolve(file);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new SettingsError(`no such list: ${path}`);
  if (stat.isDirectory())
    throw new SettingsError(`the list ${path} is a directory: give it as a source instead`);
  checkReadable(path);
  return stat.isFile() ? { list: path, listStamp: stampOf(stat) } : { pipe: path };
}

function checkChecksums(given: string[], sources: SourceName[], hasList: boolean): Record<string, string> {
  const checksums: Record<string, string> = {};
  const texts = new Set(sources.map(sourceText));
  const directories = sources.filter(
    (each) => each.is === "s3" || (each.is === "path" && isDirectory(each.path)),
  );
  for (const pair of given) {
    const at = pair.lastIndexOf("=");
    const digest = pair.slice(at + 1).toLowerCase();
    if (at <= 0 || !/^[0-9a-f]{64}$/.test(digest)) {
      throw new SettingsError(
        `--checksum must be SOURCE=SHA256 (64 hexadecimal digits), not ${redactUrl(pair)}`,
      );
    }
    const source = parseSource(pair.slice(0, at), process.cwd());
    const text = sourceText(source);
    const inside = directories.some((each) => text.startsWith(`${sourceText(each).replace(/\/$/, "")}/`));
    if (!texts.has(text) && !inside && !hasList) {
      throw new SettingsError(`--checksum names ${redactUrl(text)}, which is none of the sources`);
    }
    const shown = redactUrl(text);
    if (checksums[shown] !== undefined && checksums[shown] !== digest) {
      throw new SettingsError(`two different checksums for ${shown}: leave one out`);
    }
    checksums[shown] = digest;
  }
  return checksums;
}

/** @throws SettingsError; the value is never shown. */
function parseHeaders(given: string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const line of given) {
    const colon = line.indexOf(":");
    if (colon <= 0) throw new SettingsError("--header must be 'Name: value'");
    const value = line.slice(colon + 1).trim();
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
    if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value)) {
      throw new SettingsError(`--header ${line.slice(0, colon)}: its value has control characters`);
    }
    try {
      headers[checkHeader(line.slice(0, colon).trim())] = value;
    } catch (error) {
      throw new SettingsError(`--header: ${(error as Error).message}`);
    }
  }
  return headers;
}

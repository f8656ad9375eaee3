import { opendirSync, realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import type { RunSecrets, RunSpec } from "@drover/shared/run";
import { checkHeader } from "@drover/shared/storage/http/client";
import { isS3 } from "@drover/shared/storage/s3/name";
import { type Limits, limited, URL_LIMITS } from "../expand/limits.js";
import { compilePatterns } from "../expand/patterns.js";
import { destinationOf, parseSource, type SourceName, sourceText } from "../expand/source-name.js";
import { checkSourcesApart, planDeletion } from "./plan-deletion.js";
import { readRoot } from "./read-root.js";
import { type RunRequest, type RunRequestInput, runRequestSchema } from "./request.js";
import { checkReadable, stampOf } from "./run-list.js";

/** A run that may be submitted: all that is to be known of it, and nothing that has changed yet. */
export interface PlannedRun {
  spec: RunSpec;
  secrets: RunSecrets;
  /** The list, where it can be read only once: `-` for standard input, or the path of a pipe. */
  pipe?: string;
}

/**
 * Understands a request, and checks it against what is there. Nothing is changed.
 *
 * @throws SettingsError for whatever cannot be right.
 */
export async function planRun(input: RunRequestInput): Promise<PlannedRun> {
  const request = parseRequest(input);
  const { directory, selection, destination, terms, breaker } = request;
  if (selection.sources.length === 0 && selection.list === undefined) {
    throw new SettingsError(
      "nothing to sync: name a URL, an s3:// source, a file or a directory, or a list with --from-file",
    );
  }
  compilePatterns(selection.patterns, selection.filters);
  const limits = limitsOf(request);
  const root = readRoot(destination.root, directory);
  const { names, texts } = checkSources(request);
  for (const source of names) refuseSame(source, root, request);
  if (limited(limits) && names.some((source) => source.is === "url")) throw new SettingsError(URL_LIMITS);
  const list = selection.list === undefined ? undefined : checkList(resolveList(selection.list, directory));
  if (destination.check === false && !isS3(root))
    throw new SettingsError("check-destination cannot be false: a local destination is always checked");
  const fleet = request.carriedBy === "fleet";
  const headers = checkHeaders(selection.headers);
  const spec: RunSpec = {
    root,
    directory,
    sources: texts.map(redactUrl),
    ...(list && "list" in list ? list : {}),
    listIsStdin: list !== undefined && "pipe" in list,
    patterns: selection.patterns,
    filters: selection.filters,
    ...limits,
    backlogHighWater: terms.backlogHighWater,
    layout: destination.layout,
    checksums: checkChecksums(request, names),
    ...(destination.name === undefined ? {} : { destination: destination.name }),
    retries: terms.retries,
    timeoutMs: terms.timeoutMs,
    backoffFactor: terms.backoffFactor,
    jitter: terms.jitter,
    circuitTtlMs: breaker.ttlMs,
    circuitThreshold: breaker.threshold,
    breakerWaitMs: breaker.waitMs ?? breaker.ttlMs,
    openWhenSpent: breaker.openWhenSpent,
    whenBusy: terms.whenBusy,
    maxWorkers: terms.maxWorkers ?? (fleet ? 0 : MAX_WORKERS),
    resume: terms.resume,
    durable: destination.durability === "fsync",
    fleet,
    ownFlights: fleet && Object.keys(headers).length > 0,
  };
  const deletion = planDeletion(request, names, root);
  if (deletion) spec.delete = deletion;
  if (terms.maxFileSizeBytes !== undefined) spec.maxFileSizeBytes = terms.maxFileSizeBytes;
  if (destination.check && isS3(root)) spec.checkDestination = true;
  if (terms.bytesPerSecond !== undefined) spec.bytesPerSecond = terms.bytesPerSecond;
  // A list may name anything.
  if (isS3(root) || texts.some(isS3) || list !== undefined) {
    const { s3ServicesOf } = await import("./s3-services.js");
    const services = await s3ServicesOf(request.s3, isS3(root));
    spec.s3 = services.sources;
    if (services.destination) spec.s3Destination = services.destination;
    checkSourcesApart(spec);
  }
  return {
    spec,
    secrets: { headers, sources: texts },
    ...(list && "pipe" in list ? list : {}),
  };
}

/** Files at once that a process carries by itself. */
const MAX_WORKERS = 8;

function parseRequest(input: RunRequestInput): RunRequest {
  const parsed = runRequestSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new SettingsError(`${issue?.path.join(".") || "the request"}: ${issue?.message}`);
}

function limitsOf({ selection }: RunRequest): Limits {
  const { minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs } = selection;
  if ((minSizeBytes ?? 0) > (maxSizeBytes ?? Number.POSITIVE_INFINITY))
    throw new SettingsError("--min-size is greater than --max-size: no file is both");
  if ((minMtimeMs ?? Number.NEGATIVE_INFINITY) > (maxMtimeMs ?? Number.POSITIVE_INFINITY))
    throw new SettingsError("--min-age is greater than --max-age: no file is both");
  return {
    ...(minSizeBytes === undefined ? {} : { minSizeBytes }),
    ...(maxSizeBytes === undefined ? {} : { maxSizeBytes }),
    ...(minMtimeMs === undefined ? {} : { minMtimeMs }),
    ...(maxMtimeMs === undefined ? {} : { maxMtimeMs }),
  };
}

/** `s3:///key` leaves the bucket to the settings. */
function withBucket(source: string, bucket: string | undefined): string {
  if (!/^s3:\/\/\//i.test(source)) return source;
  if (bucket === undefined)
    throw new SettingsError(`${source} names no bucket: write s3://bucket/key, or set --s3-bucket`);
  return `s3://${bucket}${source.slice("s3://".length)}`;
}

/** The sources, each once; two that would land on one destination are refused by name. */
function checkSources(request: RunRequest): { names: SourceName[]; texts: string[] } {
  const byText = new Map<string, SourceName>();
  const byDestination = new Map<string, string>();
  for (const written of request.selection.sources) {
    const given = withBucket(written, request.s3.bucket);
    const source = parseSource(given, request.directory);
    const text = sourceText(source);
    if (byText.has(text)) continue;
    byText.set(text, source);
    if (source.is === "path" && isDirectory(source.path)) {
      checkListable(source.path);
      continue;
    }
    if (source.is === "s3") continue; // a prefix or an object: listing it will tell
    const destination = destinationOf(source, request.destination.layout);
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

/** A directory that is synced onto itself is a slip, whatever was meant. */
function refuseSame(source: SourceName, root: string, { s3 }: RunRequest): void {
  if (source.is === "url" || (source.is === "s3") !== isS3(root)) return;
  if (source.is === "s3") {
    const elsewhere = s3.destination?.endpoint ?? s3.destination?.profile;
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

function resolveList(list: string, directory: string): string {
  return list === "-" ? list : resolve(directory, list);
}

function checkList(path: string): { list: string; listStamp: string } | { pipe: string } {
  if (path === "-") return { pipe: path };
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new SettingsError(`no such list: ${path}`);
  if (stat.isDirectory())
    throw new SettingsError(`the list ${path} is a directory: give it as a source instead`);
  checkReadable(path);
  return stat.isFile() ? { list: path, listStamp: stampOf(stat) } : { pipe: path };
}

function checkChecksums({ selection, directory }: RunRequest, sources: SourceName[]): Record<string, string> {
  const checksums: Record<string, string> = {};
  const texts = new Set(sources.map(sourceText));
  const directories = sources.filter(
    (each) => each.is === "s3" || (each.is === "path" && isDirectory(each.path)),
  );
  for (const { source, sha256 } of selection.checksums) {
    const text = sourceText(parseSource(source, directory));
    const inside = directories.some((each) => text.startsWith(`${sourceText(each).replace(/\/$/, "")}/`));
    if (!texts.has(text) && !inside && selection.list === undefined)
      throw new SettingsError(`--checksum names ${redactUrl(text)}, which is none of the sources`);
    const redacted = redactUrl(text);
    if (checksums[redacted] !== undefined && checksums[redacted] !== sha256)
      throw new SettingsError(`two different checksums for ${redacted}: leave one out`);
    checksums[redacted] = sha256;
  }
  return checksums;
}

/** @throws SettingsError; the value is never shown. */
function checkHeaders(given: Record<string, string>): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(given)) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
    if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value))
      throw new SettingsError(`--header ${name}: its value has control characters`);
    try {
      headers[checkHeader(name)] = value;
    } catch (error) {
      throw new SettingsError(`--header: ${(error as Error).message}`);
    }
  }
  return headers;
}

import { statSync } from "node:fs";
import { resolve } from "node:path";
import { SettingsError, TransferError, UnavailableError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import type { RunSecrets, RunSpec } from "@drover/shared/run";
import { checkHeader } from "@drover/shared/storage/http/client";
import {
  destinationOf,
  type Location,
  parseLocation,
  parseRoot,
  storageOf,
} from "@drover/shared/storage/registry";
import type { Expected, Looked } from "@drover/shared/storage/storage";
import { TRACEPARENT } from "@drover/shared/tracing";
import { checkPatterns } from "../../expand/check-patterns.js";
import { type Limits, limited, URL_LIMITS } from "../../expand/limits.js";
import { Listers } from "../../expand/listers.js";
import { escapedText, type PlannedSource, parseSource, textOf } from "../../expand/wildcards.js";
import { bytesBudget, costBudget } from "../../prices/budgets.js";
import { checkReadable, stampOf } from "../carry/run-list.js";
import { planBackup } from "./plan-backup.js";
import { planDeletion } from "./plan-deletion.js";
import { planLeave } from "./plan-leave.js";
import { type RunRequest, type RunRequestInput, runRequestSchema } from "./request.js";
import { planCustomerKeys } from "./s3-keys.js";
import { flagOfObjects, planS3Objects } from "./s3-objects.js";
import { planServices } from "./services.js";

/** A checked request, ready to submit. */
export interface PlannedRun {
  spec: RunSpec;
  secrets: RunSecrets;
  /** The list if it can be read only once: `-` for standard input, or the path of a pipe. */
  pipe?: string;
}

/**
 * Parses a request and checks it against the file system and the configuration. Planning changes nothing.
 *
 * @throws SettingsError for an invalid request.
 */
export async function planRun(input: RunRequestInput): Promise<PlannedRun> {
  const request = parseRequest(input);
  const { directory, selection, destination, terms, breaker } = request;
  if (selection.list !== undefined && selection.listText !== undefined)
    throw new SettingsError("list and listText exclude each other: choose one");
  const hasList = selection.list !== undefined || selection.listText !== undefined;
  if (selection.sources.length === 0 && !hasList) {
    throw new SettingsError(
      "nothing to sync: name a URL, an s3:// source, a file or a directory, or a list with --from-file",
    );
  }
  checkPatterns(selection);
  const limits = limitsOf(request);
  const root = parseRoot(destination.root, directory);
  let sources = checkSources(request);
  if (limited(limits) && sources.some(({ storage }) => !storage.listsSizes))
    throw new SettingsError(URL_LIMITS);
  const kept = selection.wildcards ? textOf : ({ text }: Location) => text;
  const list = selection.list === undefined ? undefined : checkList(resolveList(selection.list, directory));
  const baseUrl = checkBaseUrl(request);
  const asksForCheck = destinationOf(root).openCheck !== undefined;
  if (destination.check === false && !asksForCheck)
    throw new SettingsError("check-destination cannot be false: a local destination is always checked");
  const leave = planLeave(request, root);
  const fleet = request.carriedBy === "fleet";
  const headers = checkHeaders(selection.headers);
  const spec: RunSpec = {
    kind: request.kind,
    root,
    directory,
    sources: sources.map((source) => redactUrl(kept(source))),
    ...(selection.wildcards ? { wildcards: true } : {}),
    ...(list && "list" in list ? list : {}),
    listIsStdin: list !== undefined && "pipe" in list,
    ...(selection.listText === undefined ? {} : { list: "of the request", listIsStored: true }),
    ...(hasList ? { listSyntax: "forms" } : {}),
    patterns: selection.patterns,
    filters: selection.filters,
    patternSyntax: "rclone",
    ...limits,
    backlogHighWater: terms.backlogHighWater,
    keepOutcomes: request.keepOutcomes,
    layout: destination.layout,
    checksums: checkChecksums(request, sources),
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
  const [first = ""] = spec.sources;
  const objects = planS3Objects(request.s3, request.s3.objectsOf === "source" ? first : root);
  if (objects) spec.s3Objects = objects;
  if (terms.ignoreTimes) spec.ignoreTimes = true;
  if (leave) spec.leave = leave;
  if (destination.namesFromHeader) spec.namesFromHeader = checkUrls(request, sources, hasList);
  if (selection.followLinks) spec.followLinks = checkLinks(sources, hasList);
  if (terms.backoffBaseMs !== undefined) spec.backoffBaseMs = terms.backoffBaseMs;
  if (request.label !== undefined) spec.label = request.label;
  if (request.guarded) spec.guarded = true;
  if (request.traceparent !== undefined && TRACEPARENT.test(request.traceparent))
    spec.traceparent = request.traceparent;
  if (request.whenGone !== undefined) spec.whenGone = request.whenGone;
  if (request.permissions !== undefined) spec.permissions = request.permissions;
  if (terms.maxFileSizeBytes !== undefined) spec.maxFileSizeBytes = terms.maxFileSizeBytes;
  if (destination.check && asksForCheck) spec.checkDestination = true;
  if (terms.deadlineMs !== undefined) spec.deadlineMs = checkDeadline(terms.deadlineMs);
  if (terms.stopAfterFailures !== undefined) spec.stopAfterFailures = terms.stopAfterFailures;
  const { maxBytes, maxCost, prices } = terms;
  if (maxCost !== undefined && prices === undefined)
    throw new SettingsError("--max-cost needs a price table: name one with --prices FILE");
  if (terms.userAgent !== undefined) spec.userAgent = terms.userAgent;
  if (terms.streams !== undefined) spec.streams = terms.streams;
  if (terms.bytesPerSecond !== undefined) spec.bytesPerSecond = terms.bytesPerSecond;
  Object.assign(
    spec,
    await planServices(request, {
      read: spec.sources,
      readsAny: hasList,
      written: root,
    }),
  );
  const customerKeys = planCustomerKeys(request.s3, { spec, sources, hasList });
  if (customerKeys) {
    spec.s3CustomerKeys = Object.keys(customerKeys) as (keyof typeof customerKeys)[];
    spec.ownFlights = fleet;
  }
  const [only] = !hasList && sources.length === 1 ? sources : [];
  const mayBeFile =
    destination.rootMayBeFile && !destination.namesFromHeader ? destinationOf(root).asFile(root) : undefined;
  if (destination.delete || (only && mayBeFile)) sources = await resolveTrees(sources, spec);
  await refuseNames(sources, spec);
  spec.sources = sources.map((source) => redactUrl(kept(source)));
  if (only && mayBeFile && !sources.some(isTree))
    Object.assign(spec, { root: mayBeFile.root, destination: mayBeFile.name });
  for (const source of sources) refuseSame(source, spec);
  const deletion = planDeletion(request, sources, spec);
  const backup = planBackup(request, sources, spec);
  if (backup) spec.backup = backup;
  const budgets = [
    ...(maxBytes === undefined ? [] : [bytesBudget(maxBytes)]),
    ...(maxCost === undefined || prices === undefined ? [] : [costBudget(maxCost, prices, spec)]),
  ];
  if (budgets.length > 0) spec.budgets = budgets;
  if (deletion) spec.delete = backup?.dir === undefined ? deletion : { ...deletion, backupDir: backup.dir };
  return {
    spec,
    secrets: {
      headers,
      sources: sources.map(kept),
      ...(baseUrl === undefined ? {} : { baseUrl }),
      ...(selection.listText === undefined ? {} : { list: selection.listText }),
      ...(list === undefined || selection.logins.length === 0 ? {} : { logins: selection.logins }),
      ...(customerKeys ? { customerKeys } : {}),
    },
    ...(list && "pipe" in list ? list : {}),
  };
}

/** @throws SettingsError where no source can have links. */
function checkLinks(sources: Location[], hasList: boolean): true {
  if (hasList || sources.some(({ storage }) => storage.hasLinks)) return true;
  throw new SettingsError("--copy-links is about local sources, and there is none");
}

/** @throws SettingsError where no server is to name a file. */
function checkUrls({ destination }: RunRequest, sources: Location[], hasList: boolean): true {
  if (destination.name !== undefined)
    throw new SettingsError("--name-from-header and a name of its own exclude each other: leave one out");
  if (hasList || sources.some(({ storage }) => storage.hasHosts)) return true;
  throw new SettingsError("--name-from-header is about URLs, and there is none");
}

/** Default number of files that a process carries at once. */
const MAX_WORKERS = 8;

function checkDeadline(deadlineMs: number): number {
  if (deadlineMs > Date.now()) return deadlineMs;
  throw new SettingsError(`the deadline ${new Date(deadlineMs).toISOString()} has passed already`);
}

function parseRequest(input: RunRequestInput): RunRequest {
  const parsed = runRequestSchema.safeParse(input, { jitless: true });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path.join(".") ?? "";
  throw new SettingsError(`${flagOfObjects(path) ?? (path || "the request")}: ${issue?.message}`);
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

/** The sources without repetitions. Two that would be written to the same destination are refused. */
function checkSources(request: RunRequest): PlannedSource[] {
  const { selection, destination, directory, s3 } = request;
  const parse = selection.wildcards ? parseSource : parseLocation;
  const byText = new Map<string, PlannedSource>();
  const byDestination = new Map<string, string>();
  for (const written of selection.sources) {
    const source: PlannedSource = parse(written, { directory, bucket: s3.bucket });
    const text = textOf(source);
    if (byText.has(text)) continue;
    byText.set(text, source);
    if (source.storage.isTree(source.text) !== false) continue; // the listing will tell
    if (destination.namesFromHeader && source.storage.hasHosts) continue; // its server will tell
    const name = source.storage.fileName(source.text, destination.layout);
    const other = byDestination.get(name);
    if (other !== undefined) {
      const byHost = source.storage.hasHosts ? "use --layout url, " : "";
      const remedy = `${byHost}give them names in a list (--from-file), or sync them apart`;
      throw new SettingsError(
        `${redactUrl(other)} and ${redactUrl(written)} would both be written to ${name}: ${remedy}`,
      );
    }
    byDestination.set(name, written);
  }
  return [...byText.values()];
}

function isTree({ storage, text }: Location): boolean {
  return storage.isTree(text) === true;
}

/**
 * Asks services which of the sources are trees, where their names do not tell. A tree gets a slash at its end.
 *
 * @throws SettingsError if a source is not there, or is both a file and a tree; UnavailableError if a service does not
 *   tell.
 */
async function resolveTrees(sources: PlannedSource[], spec: RunSpec): Promise<PlannedSource[]> {
  return await withListers(spec, async (listers) => {
    const resolved: PlannedSource[] = [];
    for (const source of sources) resolved.push(await resolveTree(source, listers));
    return resolved;
  });
}

async function withListers<T>(spec: RunSpec, use: (listers: Listers) => Promise<T>): Promise<T> {
  const { signal } = new AbortController(); // never aborted: Ctrl-C ends the process
  const listers = new Listers({ spec, of: "sources", signal, warn: () => {} });
  try {
    return await use(listers);
  } finally {
    await listers.close();
  }
}

/**
 * Asks whether sources with wildcards are names of objects as they stand: nobody could tell what is meant.
 *
 * @throws SettingsError if one is; UnavailableError if a service does not tell.
 */
async function refuseNames(sources: PlannedSource[], spec: RunSpec): Promise<void> {
  if (!sources.some(({ wildcards }) => wildcards)) return;
  await withListers(spec, async (listers) => {
    for (const { wildcards } of sources) {
      if (!wildcards) continue;
      const { exact, tree } = wildcards;
      const looked = await lookAt(exact, "file", listers);
      // Who may not list gets no version; the listing itself will say so.
      if (looked.is === "file" && looked.version !== undefined)
        throw new SettingsError(
          `${exact.text} has wildcards, and is the name of an object: write ${escapedText(exact.text)} for the object, or choose by ${tree.text} and --include`,
        );
    }
  });
}

/** @throws UnavailableError if the service does not tell. */
async function lookAt({ storage, text }: Location, expected: Expected, listers: Listers): Promise<Looked> {
  const lister = await listers.of(storage);
  return await lister.look(text, expected).catch((error) => {
    if (!(error instanceof TransferError)) throw error;
    throw new UnavailableError(`cannot look at ${redactUrl(text)}: ${error.message}`);
  });
}

async function resolveTree(source: PlannedSource, listers: Listers): Promise<PlannedSource> {
  const { storage, text } = source;
  if (storage.isTree(text) !== undefined) return source;
  const looked = await lookAt(source, "either", listers);
  if (looked.is === "failed") throw new SettingsError(looked.error.message);
  if (looked.is === "nothing") throw new SettingsError(`${redactUrl(text)}: ${looked.why}`);
  return looked.is === "tree" ? { storage, text: `${text}/` } : source;
}

/** @throws SettingsError if a tree would be synced onto itself. */
function refuseSame({ storage, text }: Location, spec: RunSpec): void {
  if (storage !== storageOf(spec.root) || !storage.destination?.isSame(text, spec.root, spec)) return;
  throw new SettingsError(`${text} is the destination itself: choose another`);
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

/** @throws SettingsError for a base URL without a list, or that is no http(s) URL; without its secrets. */
function checkBaseUrl({ selection: { baseUrl, list, listText } }: RunRequest): string | undefined {
  if (baseUrl === undefined) return undefined;
  if (list === undefined && listText === undefined)
    throw new SettingsError("--base-url is for names in a list: it needs --from-file");
  if (!/^https?:\/\//i.test(baseUrl) || !URL.canParse(baseUrl))
    throw new SettingsError(`--base-url must be an http(s) URL, not ${redactUrl(baseUrl)}`);
  return parseLocation(baseUrl, { directory: "/" }).text;
}

function checkChecksums(
  { selection, directory, s3 }: RunRequest,
  sources: Location[],
): Record<string, string> {
  const checksums: Record<string, string> = {};
  const texts = new Set(sources.map(({ text }) => text));
  const trees = sources.filter(({ storage, text }) => storage.isTree(text) !== false);
  for (const { source, sha256 } of selection.checksums) {
    const parse = selection.wildcards ? parseSource : parseLocation;
    const { text } = parse(source, { directory, bucket: s3.bucket });
    const inside = trees.some((tree) => text.startsWith(`${tree.text.replace(/\/$/, "")}/`));
    if (!texts.has(text) && !inside && selection.list === undefined && selection.listText === undefined)
      throw new SettingsError(`--checksum names ${redactUrl(text)}, which is none of the sources`);
    const redacted = redactUrl(text);
    if (checksums[redacted] !== undefined && checksums[redacted] !== sha256)
      throw new SettingsError(`two different checksums for ${redacted}: leave one out`);
    checksums[redacted] = sha256;
  }
  return checksums;
}

/** @throws SettingsError without the header's value. */
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

import { createReadStream, statSync } from "node:fs";
import { join } from "node:path";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import { HttpClient } from "@drover/shared/storage/http/client";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import { compilePatterns } from "../expand/patterns.js";
import type { Cache, CacheNamespace } from "./cache.js";
import { prefixesOf } from "./cache.js";
import { namesIn, TEMPLATE_PATTERNS } from "./directory-names.js";
import type { SyncIssue } from "./results.js";
import type { Pace } from "./strategy.js";
import { withTries } from "./tries.js";

/** What may be done with a cache: `refresh` removes and warms, `clear` removes whole namespaces. */
export const CACHE_OPERATIONS = ["refresh", "invalidate", "warm", "clear"] as const;
export type CacheOperation = (typeof CACHE_OPERATIONS)[number];

/** What namespaces are meant where none is named, nor a key. */
export const DEFAULT_NAMESPACES: readonly CacheNamespace[] = ["templates", "bccache", "responses"];

/** Templates that are larger are not put into a cache, in bytes. */
const MOST_RAW_BYTES = 16 << 20;
/** Redirects and bodies of one URL that is warmed, in all, as a multiple of the time limit for its answer. */
const BODY_TIMES = 4;

export interface CacheRequest {
  operation: CacheOperation;
  namespaces: readonly CacheNamespace[];
  /** Keys that are removed beside those of the namespaces. */
  keys: readonly string[];
  /** Whether templates are warmed after they were removed. */
  warmTemplates: boolean;
  /** URLs whose requests make the program fill its cache. */
  warmUrls: readonly string[];
  /** Whether the bytes of templates are put into the cache as they are: right only for programs that store them so. */
  warmRaw: boolean;
  /** Directories of templates, absolute: the first one wins a name. */
  templatePaths: readonly string[];
  /** Whether nothing is changed. */
  dryRun: boolean;
}

/** What an operation tells, key by key: there may be millions. */
export interface CacheEvents {
  invalidated(key: string): void;
  warmed(key: string): void;
  /** @param keys how many it had. */
  cleared(namespace: CacheNamespace, keys: number): void;
  /** Could not be warmed. */
  skipped(issue: SyncIssue): void;
  failed(issue: SyncIssue): void;
}

/** With what it is done. */
export interface CacheMeans {
  cache: Cache;
  /** Decides where the URLs may lead. */
  guard: AddressGuard;
  pace: Pace;
  signal: AbortSignal;
}

/**
 * Does an operation with the cache of the user's program.
 *
 * @throws SettingsError for a key of Drover's own, and URLs that are none, before anything was changed.
 */
export async function operateCache(
  request: CacheRequest,
  means: CacheMeans,
  events: CacheEvents,
): Promise<void> {
  const { operation, namespaces, keys, warmTemplates } = request;
  const { cache } = means;
  for (const key of keys) if (cache.isOwn(key)) await cache.existing([key]); // throws
  for (const url of request.warmUrls) checkUrl(url);
  if (operation === "clear") await clear(request, means, events);
  if (operation === "refresh" || operation === "invalidate") {
    for await (const key of removing([...keys], request, means)) events.invalidated(key);
    for (const namespace of namespaces)
      for await (const key of removingAll(namespace, request, means)) events.invalidated(key);
  }
  if (operation === "warm") await warm(namespaces, request, means, events);
  const warmsAfter =
    operation === "refresh"
      ? namespaces.filter((each) => each !== "bccache")
      : namespaces.filter(isTemplates);
  if ((operation === "refresh" || operation === "invalidate") && warmTemplates)
    await warm(warmsAfter, request, means, events);
}

function isTemplates(namespace: CacheNamespace): boolean {
  return namespace === "templates";
}

async function clear(
  { namespaces, keys, ...request }: CacheRequest,
  means: CacheMeans,
  events: CacheEvents,
): Promise<void> {
  for await (const key of removing([...keys], { ...request, namespaces, keys }, means))
    events.invalidated(key);
  for (const namespace of namespaces) {
    let count = 0;
    for await (const _ of removingAll(namespace, { ...request, namespaces, keys }, means)) count++;
    events.cleared(namespace, count);
  }
}

async function* removingAll(
  namespace: CacheNamespace,
  request: CacheRequest,
  means: CacheMeans,
): AsyncGenerator<string> {
  for (const prefix of prefixesOf(namespace))
    for await (const keys of means.cache.keys(prefix)) {
      means.signal.throwIfAborted();
      yield* removing(keys, request, means);
    }
}

async function* removing(
  keys: string[],
  { dryRun }: CacheRequest,
  { cache }: CacheMeans,
): AsyncGenerator<string> {
  yield* dryRun ? await cache.existing(keys) : await cache.unlink(keys);
}

/** Warms some namespaces, by what means there are. */
async function warm(
  namespaces: readonly CacheNamespace[],
  request: CacheRequest,
  means: CacheMeans,
  events: CacheEvents,
): Promise<void> {
  const { warmUrls, warmRaw } = request;
  for (const namespace of namespaces) {
    if (namespace === "bccache")
      events.skipped({ path: namespace, why: "the program compiles a template when it uses it next" });
    else if (warmUrls.length === 0 && !(warmRaw && namespace === "templates"))
      events.skipped({
        path: namespace,
        why: `only the program knows what belongs there: name URLs that make it fill its cache (warm-url)${namespace === "templates" ? ", or say that it stores templates as they are (warm-raw)" : ""}`,
      });
  }
  if (warmRaw && namespaces.some(isTemplates)) await warmRawTemplates(request, means, events);
  if (namespaces.some((each) => each !== "bccache")) await askUrls(request, means, events);
}

/** Puts the bytes of every template into the cache. */
async function warmRawTemplates(
  { templatePaths, dryRun }: CacheRequest,
  { cache, signal }: CacheMeans,
  events: CacheEvents,
): Promise<void> {
  const wanted = compilePatterns(TEMPLATE_PATTERNS, []);
  const done = new Set<string>();
  for (const directory of templatePaths)
    for await (const name of namesIn(directory, wanted)) {
      signal.throwIfAborted();
      if (done.has(name)) continue;
      done.add(name);
      const path = join(directory, name);
      const key = `template:${name}`;
      try {
        if (statSync(path).size > MOST_RAW_BYTES)
          events.skipped({ path: key, why: "it is larger than 16 MiB" });
        else {
          if (!dryRun) await cache.set(key, await bytesOf(path));
          events.warmed(key);
        }
      } catch (error) {
        events.failed({ path: key, why: messageOf(error) });
      }
    }
}

async function bytesOf(path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Asks for each URL, so that the program fills its cache. */
async function askUrls(
  { warmUrls, dryRun }: CacheRequest,
  means: CacheMeans,
  events: CacheEvents,
): Promise<void> {
  const { guard, pace, signal } = means;
  if (dryRun) {
    for (const url of warmUrls) events.warmed(redactUrl(url));
    return;
  }
  const http = new HttpClient({ timeoutMs: pace.timeoutMs, connections: pace.atOnce, guard });
  let next = 0;
  const askSome = async () => {
    for (let at = next++; at < warmUrls.length; at = next++) {
      const url = warmUrls[at] as string;
      try {
        await withTries(pace, signal, () => ask(http, url, means));
        events.warmed(redactUrl(url));
      } catch (error) {
        signal.throwIfAborted();
        events.failed({ path: redactUrl(url), why: messageOf(error) });
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: pace.atOnce }, askSome));
  } finally {
    await http.close();
  }
}

/** @throws TransferError without an answer; Error for an answer that is no success. */
async function ask(http: HttpClient, url: string, { pace, signal }: CacheMeans): Promise<void> {
  const within = AbortSignal.any([signal, AbortSignal.timeout(pace.timeoutMs * BODY_TIMES)]);
  const { status, body } = await http.get(url, {}, {}, within);
  while (await body.read()); // the program may fill its cache only while it sends
  if (status >= 300) throw new Error(`HTTP ${status}`);
}

function checkUrl(url: string): void {
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return;
  throw new SettingsError(`a URL that is warmed must be http(s)://…, not ${redactUrl(url)}`);
}

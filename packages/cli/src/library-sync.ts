import { resolve } from "node:path";
import type { PairEvents } from "@drover/producer/pair/sync-pair";
import { planRun } from "@drover/producer/runs/plan/plan";
import { Cache, type CacheNamespace, namespaceOf } from "@drover/producer/sync-action/cache";
import {
  CACHE_OPERATIONS,
  type CacheOperation,
  DEFAULT_NAMESPACES,
  operateCache,
} from "@drover/producer/sync-action/cache-operation";
import { TEMPLATE_PATTERNS } from "@drover/producer/sync-action/directory-names";
import { checkReload, type ReloadTarget } from "@drover/producer/sync-action/reload";
import {
  CacheSyncResult,
  type SettingsSyncResult,
  SyncResult,
  type TemplateSyncResult,
} from "@drover/producer/sync-action/results";
import { limitsOf, paceOf, type SyncStrategy, termsOf } from "@drover/producer/sync-action/strategy";
import {
  refuseListed,
  SILENT_PAIR,
  type SyncContext,
  syncTree,
  type TreeRequest,
} from "@drover/producer/sync-action/sync-tree";
import { syncTemplates } from "@drover/producer/sync-action/templates";
import { type Engine, openEngine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { pairRequestOf, pairRunRequestOf } from "./settings/pair-request.js";
import { reloadOf } from "./settings/reload-target.js";
import { type Resolved, resolveSettings } from "./settings/settings.js";
import { bucketLocation } from "./settings/tree-request.js";

/** What all of `sync` take. What is left out is as the environment and `drover.yaml` of the current directory say. */
export interface SyncOptions {
  strategy?: SyncStrategy;
  /** URL of the Redis that keeps what is known of pairs. Default: Drover's own of the state directory. */
  redis?: string;
  stateDir?: string;
  /** An open connection to that Redis, which stays open. Default: one is opened. */
  engine?: Engine;
  /** Who carries the files: this process, or the workers of a fleet. Default `process`. */
  carriedBy?: "process" | "fleet";
  /** The S3 service. */
  s3?: { endpoint?: string; region?: string; profile?: string; pathStyle?: boolean };
  /** URL of the Redis that is the cache of the program. Default: none. */
  cache?: string;
  /** Beside public addresses, where URLs may lead that are warmed or told of new settings: `localhost:8000`, `10.1.0.0/16`. */
  allowAddresses?: string[];
  /** Stops it in an orderly way: the next sync goes on. */
  signal?: AbortSignal;
  /** Told of every path while it goes on. */
  events?: Partial<PairEvents>;
}

export interface PairOptions extends SyncOptions {
  /** A directory. */
  local: string;
  /** `s3://bucket/prefix`, or another directory. */
  remote: string;
  /** Globs of the files that are synced; `!glob` excludes. Default: all. */
  patterns?: string[];
}

export interface TemplatesOptions extends SyncOptions {
  /** Directories; the first one wins a name. Default `["templates"]`. */
  templatePaths?: string[];
  /** Default `["*.html", "*.jinja2", "*.j2"]`. */
  patterns?: string[];
  /** A bucket, a bucket and a prefix, or a directory that begins with `/` or `.`. Default `templates`. */
  storageBucket?: string;
}

export interface SettingsOptions extends SyncOptions {
  /** Default `settings`. */
  settingsPath?: string;
  /** Names of files without their extensions. Default: all. */
  adapterNames?: string[];
  /** As that of templates. Default `settings`. */
  storageBucket?: string;
  /** Whether the program is told to load its settings again. Default true. */
  reloadConfig?: boolean;
  /** How it is told. Default: as the settings say. */
  reload?: ReloadTarget;
  /** Directory of `ADAPTER.json`. Default: no schemas. */
  schemaDir?: string;
  /** Whether an invalid file holds back all others. Default false. */
  allOrNothing?: boolean;
}

export interface CacheOptions extends SyncOptions {
  /** Default `refresh`. */
  operation?: CacheOperation;
  /** Default `["templates", "bccache", "responses"]`, or none where there are keys. */
  namespaces?: CacheNamespace[];
  /** Keys that are removed, too. */
  keys?: string[];
  /** Whether templates are warmed after they were removed. Default true. */
  warmTemplates?: boolean;
  /** URLs whose requests make the program fill its cache. */
  warmUrls?: string[];
  /** Whether templates are put into the cache as they are: only for programs that store them so. Default false. */
  warmRaw?: boolean;
  /** Directories of these templates. Default `["templates"]`. */
  templatePaths?: string[];
}

/**
 * Syncs a directory with a prefix of S3, or with another directory.
 *
 * @throws ManualResolutionRequired with the strategy `MANUAL` and conflicts; PairGuardError where a guard stops it;
 *   SettingsError, UnavailableError, TransferError, ListingError. Nothing was changed in all cases but the first.
 */
async function pair(options: PairOptions): Promise<SyncResult> {
  const resolved = await resolvedOf(options);
  const tree = treeOf(options.local, options.remote, options.patterns ?? ["*"], { options, resolved });
  const result = new SyncResult(tree.dryRun);
  await within(options, resolved, (context) => syncTree(context, tree, result));
  return refuseListed(result);
}

/** Syncs templates, and removes from the cache what it has of those that were changed. @throws as `pair`. */
async function templates(options: TemplatesOptions = {}): Promise<TemplateSyncResult> {
  const resolved = await resolvedOf(options);
  const {
    templatePaths = ["templates"],
    patterns = TEMPLATE_PATTERNS,
    storageBucket = "templates",
  } = options;
  const pace = paceOf(options.strategy ?? {});
  const trees = templatePaths.map((path) => {
    const tree = treeOf(path, bucketLocation(storageBucket), patterns, { options, resolved });
    return { ...tree, pair: { ...tree.pair, suffixed: true } };
  });
  const openCache = cacheOpener(options, resolved);
  return refuseListed(
    await within(options, resolved, (context) => syncTemplates(context, { trees, openCache, pace })),
  );
}

/** Syncs settings, each checked before it is published, and tells the program to load them again. @throws as `pair`. */
async function settings(options: SettingsOptions = {}): Promise<SettingsSyncResult> {
  const resolved = await resolvedOf(options);
  const {
    settingsPath = "settings",
    storageBucket = "settings",
    reload = reloadOf(resolved.values),
  } = options;
  // With the parsers of YAML and schemas, which nothing else needs.
  const { adapterPatterns, syncSettings } = await import("@drover/producer/sync-action/settings");
  const openCache = cacheOpener(options, resolved);
  checkReload(reload, openCache !== undefined);
  const request = {
    tree: treeOf(settingsPath, bucketLocation(storageBucket), adapterPatterns(options.adapterNames), {
      options,
      resolved,
    }),
    schemaDir: options.schemaDir === undefined ? resolved.values["schema-dir"] : resolve(options.schemaDir),
    allOrNothing: options.allOrNothing ?? false,
    reloadConfig: options.reloadConfig ?? true,
    reload,
    reloadTimeoutMs: resolved.values["reload-timeout"] * 1000,
    guard: new AddressGuard(options.allowAddresses),
    openCache,
    pace: paceOf(options.strategy ?? {}),
  };
  return refuseListed(await within(options, resolved, (context) => syncSettings(context, request)));
}

/**
 * Removes, warms or clears what the cache of a program holds.
 *
 * @throws SettingsError where no cache is named, or a key is Drover's own; UnavailableError where it does not answer.
 */
async function cache(options: CacheOptions = {}): Promise<CacheSyncResult> {
  const resolved = await resolvedOf(options);
  const { operation = "refresh", keys = [], strategy = {} } = options;
  if (!CACHE_OPERATIONS.includes(operation))
    throw new SettingsError(
      `operation must be one of ${CACHE_OPERATIONS.join(", ")}, not ${JSON.stringify(operation)}`,
    );
  const openCache = cacheOpener(options, resolved);
  if (!openCache) throw new SettingsError("say where the cache of the program is: cache, or DROVER_CACHE");
  const result = new CacheSyncResult(operation, strategy.dryRun ?? false);
  const opened = await openCache();
  try {
    await operateCache(
      {
        ...{ operation, keys, dryRun: result.dryRun },
        namespaces: options.namespaces?.map(namespaceOf) ?? (keys.length > 0 ? [] : DEFAULT_NAMESPACES),
        warmTemplates: options.warmTemplates ?? true,
        warmUrls: options.warmUrls ?? [],
        warmRaw: options.warmRaw ?? false,
        templatePaths: (options.templatePaths ?? ["templates"]).map((path) => resolve(path)),
      },
      {
        cache: opened,
        guard: new AddressGuard(options.allowAddresses),
        pace: paceOf(strategy),
        signal: options.signal ?? new AbortController().signal,
      },
      {
        invalidated: (key) => result.invalidatedKeys.push(key),
        warmed: (key) => result.warmedKeys.push(key),
        cleared: (namespace) => result.clearedNamespaces.push(namespace),
        skipped: (issue) => result.skipped.push(issue),
        failed: (issue) => result.errors.push(issue),
      },
    );
  } finally {
    opened.close();
  }
  return result;
}

/** Two-way syncs for programs: see docs/templates-settings-cache.md. */
export const sync = { pair, templates, settings, cache };

/** The settings of the environment and of `drover.yaml`, with what the options say instead. */
async function resolvedOf({ redis, stateDir, s3 = {}, cache }: SyncOptions): Promise<Resolved> {
  const given = {
    redis,
    cache,
    "state-dir": stateDir,
    "s3-endpoint": s3.endpoint,
    "s3-region": s3.region,
    "s3-profile": s3.profile,
    "s3-path-style": s3.pathStyle,
  };
  const flags = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return await resolveSettings(flags, undefined, process.env.DROVER_PROFILE || undefined);
}

function treeOf(
  local: string,
  remote: string,
  patterns: string[],
  { options, resolved }: { options: SyncOptions; resolved: Resolved },
): TreeRequest {
  const { strategy = {}, carriedBy = "process" } = options;
  const { atOnce, timeoutMs, tries, delayMs } = paceOf(strategy);
  const run = pairRunRequestOf(local, remote, { pattern: patterns }, resolved);
  const terms = { ...run.terms, maxWorkers: atOnce, timeoutMs, retries: tries, backoffBaseMs: delayMs };
  return {
    local,
    plan: () => planRun({ ...run, carriedBy, terms }),
    pair: {
      ...pairRequestOf({}, resolved),
      terms: termsOf(strategy),
      limits: limitsOf(strategy),
      adopt: strategy.adopt ?? false,
      waitMs: timeoutMs,
    },
    dryRun: strategy.dryRun ?? false,
  };
}

function cacheOpener(
  { engine, strategy = {} }: SyncOptions,
  { values }: Resolved,
): (() => Promise<Cache>) | undefined {
  const { cache } = values;
  const { timeoutMs } = paceOf(strategy);
  return cache === undefined ? undefined : () => Cache.open(cache, timeoutMs, engine?.keys.namespace);
}

/** Does something with a connection to Redis, which is closed afterwards if it was opened for that. */
async function within<T>(
  { engine, signal = new AbortController().signal, events = {} }: SyncOptions,
  { values }: Resolved,
  use: (context: SyncContext) => Promise<T>,
): Promise<T> {
  const stateDir = values["state-dir"] as string;
  const opened = engine ?? (await openEngine({ redis: values.redis, stateDir }));
  try {
    return await use({
      ...{ engine: opened, startPool: startLocalPool, stateDir, keepRuns: values["keep-runs"], signal },
      events: { ...SILENT_PAIR, ...events },
    });
  } finally {
    if (!engine) opened.close();
  }
}

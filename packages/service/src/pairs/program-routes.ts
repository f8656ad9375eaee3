import { CACHE_NAMESPACES, Cache } from "@drover/producer/sync-action/cache";
import {
  CACHE_OPERATIONS,
  DEFAULT_NAMESPACES,
  operateCache,
} from "@drover/producer/sync-action/cache-operation";
import { TEMPLATE_PATTERNS } from "@drover/producer/sync-action/directory-names";
import { adapterPatterns, syncSettings } from "@drover/producer/sync-action/settings";
import type { TreeRequest } from "@drover/producer/sync-action/sync-tree";
import { syncTemplates } from "@drover/producer/sync-action/templates";
import { SettingsError } from "@drover/shared/errors";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Reply, type Route, route } from "../http/route.js";
import { isBelowAny } from "../runs/submission.js";
import { replyOf, told } from "./answers.js";
import { begunSchema, newPairSchema, requestOf, type TermsBody } from "./pair-schema.js";
import type { PairSyncs } from "./pair-syncs.js";
import { type AskedPair, ownTerms, pairOf, planPairRun } from "./plan-pair-run.js";

const TAG = "Templates, settings, cache";
/** How often and how fast the cache, or the program, is asked again. */
const TRIES = { tries: 3, delayMs: 500, atOnce: 5 };
/** Keys and paths that an answer names. */
const MOST_NAMED = 1_000;
const MOST_OPEN_MS = 10_000;

const settingsSchema = newPairSchema
  .extend({
    adapters: z
      .array(z.string().min(1).max(255))
      .max(1_000)
      .optional()
      .meta({ description: "Names of settings files without `.yml` or `.yaml`. Default: all." }),
    all_or_nothing: z
      .boolean()
      .optional()
      .meta({ description: "Whether an invalid file holds back all others." }),
    reload: z.boolean().optional().meta({
      description: "Whether the program is told, as the server's settings say how. Default: true.",
    }),
  })
  .meta({ id: "SettingsSyncRequest" });

const cacheSchema = z
  .strictObject({
    operation: z.enum(CACHE_OPERATIONS),
    namespaces: z
      .array(z.enum(CACHE_NAMESPACES))
      .optional()
      .meta({ description: `Default: ${DEFAULT_NAMESPACES.join(", ")}; none where there are \`keys\`.` }),
    keys: z.array(z.string().min(1).max(4_096)).max(10_000).optional(),
    warm_templates: z.boolean().optional().meta({ description: "Default: true." }),
    warm_urls: z
      .array(z.string().min(1).max(8_192))
      .max(1_000)
      .optional()
      .meta({ description: "URLs whose requests make the program fill its cache." }),
    warm_raw: z
      .boolean()
      .optional()
      .meta({ description: "Whether the bytes of templates are put into the cache as they are." }),
    templates: z
      .array(z.string().min(1).max(4_096))
      .max(100)
      .optional()
      .meta({ description: "Directories of templates below the server's roots, which are warmed." }),
    dry_run: z.boolean().optional(),
  })
  .meta({ id: "CacheRequest" });

const issuesSchema = z.array(z.object({ path: z.string(), why: z.string() }));
const cacheAnswerSchema = z
  .object({
    operation: z.enum(CACHE_OPERATIONS),
    dry_run: z.boolean(),
    invalidated: z.int().meta({ description: "How many keys were removed." }),
    invalidated_keys: z.array(z.string()).meta({ description: `The first ${MOST_NAMED}.` }),
    warmed_keys: z.array(z.string()),
    cleared: z.record(z.string(), z.int()).meta({ description: "Keys by namespace." }),
    skipped: issuesSchema,
    errors: issuesSchema,
  })
  .meta({ id: "CacheResult" });

/** `/api/v1/templates/sync`, `/api/v1/settings/sync`, `/api/v1/cache`: for the program that the server's settings name. */
export function programRoutes(context: ServiceContext, syncs: PairSyncs): Route[] {
  const { config, engine, guard, stopping } = context;
  const { program, timeoutMs } = config;
  const { cache } = program;
  const openMs = Math.min(timeoutMs, MOST_OPEN_MS);
  const openCache = cache === undefined ? undefined : () => Cache.open(cache, openMs, engine.keys.namespace);
  const pace = { ...TRIES, timeoutMs: openMs };

  const treeOf = async (asked: AskedPair, patterns: string[]): Promise<TreeRequest> => {
    const body: TermsBody = { ...asked.body, patterns: asked.body.patterns ?? patterns };
    const planned = await planPairRun({ ...asked, body }, context); // refused before anything is done
    const { spec } = planned;
    const pair = requestOf(body, undefined, ownTerms({ ...asked, local: spec.root, body }, config));
    return {
      local: spec.root,
      plan: async () => planned,
      pair: { ...pair, suffixed: true },
      dryRun: body.dry_run ?? false,
    };
  };
  const begin = async (tree: TreeRequest, work: Parameters<PairSyncs["syncFor"]>[1]): Promise<Reply> => {
    const begun = await told(syncs.syncFor(tree.local, work));
    return replyOf(begun, (await pairOf(engine, (await tree.plan()).spec))?.id);
  };
  return [
    route({
      method: "post",
      path: "/api/v1/templates/sync",
      scope: "enqueue",
      tag: TAG,
      summary: "Sync a directory of templates",
      description:
        "As a pair. When its run has ended, this server removes what the program's cache holds of the templates that were changed; if it cannot, the next sync does.",
      body: newPairSchema,
      isSlow: true,
      answers: { 202: { description: "What was planned, and its run.", schema: begunSchema } },
      async handle({ body: { local, remote, ...body } }) {
        const tree = await treeOf({ local, remote, body }, TEMPLATE_PATTERNS);
        return await begin(tree, (syncing) => syncTemplates(syncing, { trees: [tree], openCache, pace }));
      },
    }),
    route({
      method: "post",
      path: "/api/v1/settings/sync",
      scope: "enqueue",
      tag: TAG,
      summary: "Sync a directory of YAML settings",
      description:
        "As a pair. Each file is checked before it is published on either side: `left` says which are not, and why. When the run has ended, this server tells the program, in the ways that its own settings name; if it cannot, the next sync does.",
      body: settingsSchema,
      isSlow: true,
      answers: { 202: { description: "What was planned, and its run.", schema: begunSchema } },
      async handle({ body: { local, remote, adapters, all_or_nothing, reload, ...body } }) {
        const tree = await treeOf({ local, remote, body }, adapterPatterns(adapters));
        const { schemaDir, reloadTimeoutMs } = program;
        const request = {
          ...{ tree, schemaDir, reloadTimeoutMs, guard, openCache, pace },
          allOrNothing: all_or_nothing ?? false,
          reloadConfig: reload ?? true,
          reload: program.reload,
        };
        return await begin(tree, (syncing) => syncSettings(syncing, request));
      },
    }),
    route({
      method: "post",
      path: "/api/v1/cache",
      scope: "operate",
      tag: TAG,
      summary: "Refresh, invalidate, warm or clear the program's cache",
      description: "That of the server's `--cache`. Keys of Drover's own are never touched.",
      body: cacheSchema,
      isSlow: true,
      answers: { 200: { description: "What was done.", schema: cacheAnswerSchema } },
      async handle({ body }) {
        if (!openCache)
          throw new SettingsError("this server knows no cache: --cache of drover serve says where it is");
        const { operation, keys = [], templates = [], dry_run: dryRun = false } = body;
        for (const each of templates)
          if (!isBelowAny(each, config.roots))
            throw new Problem(403, `${each} is not below ${config.roots.join(" or ")}`);
        const done = new CacheAnswer(operation, dryRun);
        const opened = await openCache();
        try {
          await operateCache(
            {
              ...{ operation, keys, dryRun, templatePaths: templates },
              namespaces: body.namespaces ?? (keys.length > 0 ? [] : DEFAULT_NAMESPACES),
              warmTemplates: body.warm_templates ?? true,
              warmUrls: body.warm_urls ?? [],
              warmRaw: body.warm_raw ?? false,
            },
            { cache: opened, guard, pace, signal: stopping },
            done,
          );
        } finally {
          opened.close();
        }
        return { status: 200, body: done.body, changed: dryRun ? 0 : done.body.invalidated };
      },
    }),
  ];
}

/** Counts what is told of an operation, and keeps the first of it. */
class CacheAnswer {
  readonly body: z.infer<typeof cacheAnswerSchema>;

  constructor(operation: z.infer<typeof cacheSchema>["operation"], dryRun: boolean) {
    this.body = {
      ...{ operation, dry_run: dryRun, invalidated: 0, invalidated_keys: [], warmed_keys: [] },
      ...{ cleared: {}, skipped: [], errors: [] },
    };
  }

  invalidated(key: string): void {
    this.body.invalidated++;
    keep(this.body.invalidated_keys, key);
  }

  warmed(key: string): void {
    keep(this.body.warmed_keys, key);
  }

  cleared(namespace: string, keys: number): void {
    this.body.cleared[namespace] = keys;
  }

  skipped({ path, why }: { path: string; why: string }): void {
    keep(this.body.skipped, { path, why });
  }

  failed({ path, why }: { path: string; why: string }): void {
    keep(this.body.errors, { path, why });
  }
}

function keep<T>(list: T[], each: T): void {
  if (list.length < MOST_NAMED) list.push(each);
}

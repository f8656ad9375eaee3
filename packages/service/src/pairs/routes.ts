import { dirname } from "node:path";
import { findPairBy, pairOfRun } from "@drover/producer/pair/find-pair";
import { PairGuardError } from "@drover/producer/pair/guards";
import { TAKES } from "@drover/producer/pair/resolve-conflicts";
import type { PlannedRun } from "@drover/producer/runs/plan";
import { planS3Objects } from "@drover/producer/runs/s3-objects";
import { messageOf, SettingsError, TransferError } from "@drover/shared/errors";
import { allPairs, type PairRecord, PairStore } from "@drover/shared/pair/store";
import { redactText } from "@drover/shared/redact";
import { ListingError } from "@drover/shared/storage/listing-error";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Reply, type Route, route } from "../http/route.js";
import { runParam } from "../runs/run-param.js";
import { isBelowAny, objectsOf, planSubmission } from "../runs/submission.js";
import {
  conflictSchema,
  pairSchema,
  requestOf,
  showConflict,
  showPair,
  type TermsBody,
  termsSchema,
} from "./pair-schema.js";
import { type BegunSync, PairSyncs } from "./pair-syncs.js";

const TAG = "Pairs";
/** Another sync of the pair is waited for so long, in milliseconds. */
const WAIT_MS = 5_000;

const paramsSchema = z.object({ pair: z.string().min(4).max(64) });
const numbersSchema = z.object({
  paths: z.int(),
  push: z.int(),
  pull: z.int(),
  "delete-local": z.int(),
  "delete-remote": z.int(),
  conflicts: z.int(),
  listed: z.int(),
  left: z.int(),
  unknown: z.int(),
});
const begunSchema = z
  .object({
    pair: z.string().nullable(),
    run: z.string().nullable(),
    planned: numbersSchema.nullable(),
    left: z.array(z.object({ path: z.string(), why: z.string() })),
  })
  .meta({ id: "PairSync" });

const newPairSchema = termsSchema
  .extend({
    local: z.string().min(1).max(4_096).meta({ description: "A directory below the server's roots." }),
    remote: z.string().min(1).max(4_096).meta({
      description: "`s3://bucket/prefix`, or a directory; below the server's roots.",
    }),
  })
  .meta({ id: "PairRequest" });

const resolveSchema = z
  .strictObject({
    paths: z
      .array(z.string())
      .min(1)
      .max(100_000)
      .optional()
      .meta({ description: "Default: all conflicts." }),
    take: z.enum(TAKES),
  })
  .meta({ id: "PairResolution" });

/** `/api/v1/pairs/…`: two-way syncs. @returns the routes, and what is stopped with the server. */
export function pairRoutes(context: ServiceContext): { routes: Route[]; syncs: PairSyncs } {
  const { engine, config } = context;
  const syncs = new PairSyncs(context);
  const storeOf = (id: string) => new PairStore(engine.redis, engine.keys, id);
  const recordOf = async (id: string): Promise<PairRecord> => {
    try {
      return await findPairBy(engine, id, "/");
    } catch (error) {
      throw error instanceof SettingsError ? new Problem(404, `there is no pair ${id}`) : error;
    }
  };
  /** Plans the run of a sync, within the server's roots. */
  const plan = async (
    local: string,
    remote: string,
    body: TermsBody,
    last?: PairRecord,
  ): Promise<PlannedRun> => {
    const source = /^s3:/i.test(remote) && !remote.endsWith("/") ? `${remote}/` : remote;
    const { patterns, filters, label } = body;
    const planned = await planSubmission(
      {
        sources: [source],
        to: local,
        ...(patterns === undefined ? {} : { patterns }),
        ...(filters === undefined ? {} : { filters }),
        ...(label === undefined ? {} : { label }),
      },
      config,
    );
    for (const each of [remote, body.backup_dir, body.remote_backup_dir])
      if (each !== undefined && !isBelowAny(each.replace(/\/$/, ""), config.roots))
        throw new Problem(
          403,
          `${each} is not below ${config.roots.join(" or ")}: the server's --root says what is`,
        );
    const isPull = (body.direction ?? last?.terms?.direction) === "pull"; // which writes no object
    const s3Objects =
      body.s3 === undefined ? last?.s3Objects : planS3Objects(objectsOf(body), isPull ? local : remote);
    return { ...planned, spec: { ...planned.spec, ...(s3Objects ? { s3Objects } : {}) } };
  };
  /** Backups are beside the directories, where the workers that write to these may write too. */
  const own = (local: string, remote: string, body: TermsBody) => ({
    stateDir: config.stateDir,
    waitMs: WAIT_MS,
    backupDirs: {
      local: body.backup_dir ?? backupBeside(local),
      ...(body.remote_backup_dir === undefined
        ? remote.startsWith("/") && { remote: backupBeside(remote) }
        : { remote: body.remote_backup_dir }),
    },
  });
  const sync = async (local: string, remote: string, body: TermsBody, last?: PairRecord): Promise<Reply> => {
    const planned = await plan(local, remote, body, last);
    const request = requestOf(body, last?.terms, own(planned.spec.root, remote, body));
    const begun = await told(syncs.sync(planned, request, body.dry_run ?? false));
    const other = planned.spec.sources[0]?.replace(/\/$/, "");
    const pairs = await allPairs(engine.redis, engine.keys);
    const pair = pairs.find((each) => each.local === planned.spec.root && each.remote === other);
    return replyOf(begun, pair?.id);
  };
  const again = async (record: PairRecord) => {
    const planned = await plan(record.local, record.remote, {}, record);
    const request = requestOf(
      { conflict: "manual", backup: "all" },
      record.terms,
      own(record.local, record.remote, {}),
    );
    return { planned, request };
  };
  const routes = [
    route({
      method: "get",
      path: "/api/v1/pairs",
      scope: "read",
      tag: TAG,
      summary: "Pairs that are synced both ways",
      answers: {
        200: {
          description: "All of them.",
          schema: z.object({ pairs: z.array(pairSchema) }).meta({ id: "PairList" }),
        },
      },
      async handle() {
        const pairs = [];
        for (const record of await allPairs(engine.redis, engine.keys))
          pairs.push(showPair(record, (await storeOf(record.id).conflicts()).length));
        return { status: 200, body: { pairs } };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/pairs",
      scope: "enqueue",
      tag: TAG,
      summary: "Sync a directory and another side, for the first time or again",
      description:
        "Both sides are listed and compared before the answer comes; then the fleet carries what is to be done. Stopped by a guard, nothing was changed, and the answer is 409.",
      body: newPairSchema,
      isSlow: true,
      answers: { 202: { description: "What was planned, and its run.", schema: begunSchema } },
      handle: ({ body: { local, remote, ...terms } }) => sync(local, remote, terms),
    }),
    route({
      method: "get",
      path: "/api/v1/pairs/{pair}",
      scope: "read",
      tag: TAG,
      summary: "One pair",
      params: paramsSchema,
      answers: { 200: { description: "The pair.", schema: pairSchema } },
      async handle({ params: { pair } }) {
        const record = await recordOf(pair);
        return { status: 200, body: showPair(record, (await storeOf(record.id).conflicts()).length) };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/pairs/{pair}/sync",
      scope: "enqueue",
      tag: TAG,
      summary: "Sync a pair again",
      description: "By the terms of the last time, but for those that the body names.",
      params: paramsSchema,
      body: termsSchema.meta({ id: "PairTerms" }),
      bodyIsOptional: true,
      isSlow: true,
      answers: { 202: { description: "What was planned, and its run.", schema: begunSchema } },
      async handle({ params: { pair }, body }) {
        const record = await recordOf(pair);
        return await sync(record.local, record.remote, body, record);
      },
    }),
    route({
      method: "get",
      path: "/api/v1/pairs/{pair}/conflicts",
      scope: "read",
      tag: TAG,
      summary: "Conflicts that a person resolves",
      params: paramsSchema,
      answers: {
        200: {
          description: "Sorted by path.",
          schema: z.object({ conflicts: z.array(conflictSchema) }).meta({ id: "PairConflicts" }),
        },
      },
      async handle({ params: { pair } }) {
        const { id } = await recordOf(pair);
        return { status: 200, body: { conflicts: (await storeOf(id).conflicts()).map(showConflict) } };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/pairs/{pair}/resolve",
      scope: "operate",
      tag: TAG,
      summary: "Resolve conflicts",
      description:
        "The versions that were listed are taken: one that was changed since is listed anew. The one that loses goes to the backup.",
      params: paramsSchema,
      body: resolveSchema,
      isSlow: true,
      answers: { 202: { description: "The run that does it.", schema: begunSchema } },
      async handle({ params, body: { paths, take } }) {
        const record = await recordOf(params.pair);
        const { planned, request } = await again(record);
        return replyOf(await told(syncs.resolve(planned, request, { paths, take })), record.id);
      },
    }),
    route({
      method: "post",
      path: "/api/v1/runs/{run}/rollback",
      scope: "operate",
      tag: TAG,
      summary: "Take back what a sync of a pair did",
      description:
        "What was changed since is left alone, and fails. It is a run itself, which can be taken back too.",
      params: runParam,
      isSlow: true,
      answers: { 202: { description: "The run that does it.", schema: begunSchema } },
      async handle({ params }) {
        const record = await pairOfRun(engine, params.run).catch((error) => {
          throw error instanceof SettingsError ? new Problem(404, error.message) : error;
        });
        const { planned, request } = await again(record);
        return replyOf(await told(syncs.rollback(planned, request, params.run)), record.id);
      },
    }),
  ];
  return { routes, syncs };
}

function backupBeside(directory: string): string {
  return `${dirname(directory)}/.drover-backups`;
}

function replyOf({ run, planned, left }: BegunSync, pair: string | undefined): Reply {
  return {
    status: 202,
    body: { pair: pair ?? null, run: run ?? null, planned: planned ?? null, left },
    ...(run === undefined ? {} : { headers: { Location: `/api/v1/runs/${run}` } }),
  };
}

/** @throws Problem for what has stopped a sync before its first change. */
async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const why = redactText(`${messageOf(error)}; nothing was changed`);
    if (error instanceof PairGuardError) throw new Problem(409, why);
    if (error instanceof ListingError || error instanceof TransferError) throw new Problem(502, why);
    throw error;
  }
}

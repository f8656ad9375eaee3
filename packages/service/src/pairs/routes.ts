import { findPairBy, pairOfRun } from "@drover/producer/pair/find-pair";
import { TAKES } from "@drover/producer/pair/resolve-conflicts";
import { SettingsError } from "@drover/shared/errors";
import { allPairs, type PairRecord, PairStore } from "@drover/shared/pair/store";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Reply, type Route, route } from "../http/route.js";
import { runParam } from "../runs/run-param.js";
import { replyOf, told } from "./answers.js";
import {
  begunSchema,
  conflictSchema,
  newPairSchema,
  pairSchema,
  requestOf,
  showConflict,
  showPair,
  type TermsBody,
  termsSchema,
} from "./pair-schema.js";
import { PairSyncs } from "./pair-syncs.js";
import { ownTerms, pairOf, planPairRun } from "./plan-pair-run.js";

const TAG = "Pairs";

const paramsSchema = z.object({ pair: z.string().min(4).max(64) });
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
  const sync = async (local: string, remote: string, body: TermsBody, last?: PairRecord): Promise<Reply> => {
    const planned = await planPairRun({ local, remote, body, last }, context);
    const request = requestOf(
      body,
      last?.terms,
      ownTerms({ local: planned.spec.root, remote, body }, config),
    );
    const begun = await told(syncs.sync(planned, request, body.dry_run ?? false));
    return replyOf(begun, (await pairOf(engine, planned.spec))?.id);
  };
  const again = async (record: PairRecord) => {
    const planned = await planPairRun(
      { local: record.local, remote: record.remote, body: {}, last: record },
      context,
    );
    const request = requestOf(
      { conflict: "manual", backup: "all" },
      record.terms,
      ownTerms({ local: record.local, remote: record.remote, body: {} }, config),
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

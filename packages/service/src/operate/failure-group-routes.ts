import { summaryOf } from "@drover/producer/runs/summary";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";
import { runOf, runParam } from "../runs/run-param.js";
import { type CountedFailures, type FailureCounts, TRUNCATED } from "./failure-groups.js";

/** Groups that are told of, the largest. */
const MOST_GROUPS = 200;

const count = z.int().min(0);
const groupSchema = z
  .object({
    class: z.string().meta({ description: "Class of the error." }),
    host: z.string().meta({ description: "Host of the source, or `local`." }),
    files: count,
    retriable: count.meta({ description: "How many of them a retry takes up." }),
  })
  .meta({ id: "FailureGroup" });
const groupsShape = {
  groups: z.array(groupSchema).meta({ description: `The ${MOST_GROUPS} largest.` }),
  files: count.meta({ description: "In all groups, those too that are not told of." }),
  retriable: count,
  truncated: z.boolean().meta({
    description: `${TRUNCATED} Or there are more groups.`,
  }),
};

/** What failed, counted by class and host. */
export function failureGroupRoutes({ engine }: ServiceContext, counts: FailureCounts): Route[] {
  return [
    route({
      method: "get",
      path: "/api/v1/failures/groups",
      scope: "read",
      tag: "Operation",
      summary: "How much failed lately, by class of the error and host",
      description: "Of runs that have not ended, or ended in the last so many minutes.",
      query: z.object({ minutes: z.coerce.number().int().min(1).max(10_080).default(60) }),
      answers: {
        200: {
          description: "The largest groups first.",
          schema: z
            .object({ since: z.iso.datetime(), runs: count, ...groupsShape })
            .meta({ id: "RecentFailures" }),
        },
      },
      isSlow: true,
      async handle({ query: { minutes } }) {
        const sinceMs = Date.now() - minutes * 60_000;
        const { runs, ...counted } = await counts.since(sinceMs);
        return { status: 200, body: { since: new Date(sinceMs).toISOString(), runs, ...shown(counted) } };
      },
    }),
    route({
      method: "get",
      path: "/api/v1/runs/{run}/failures",
      scope: "read",
      tag: "Runs",
      summary: "How much of a run failed, by class of the error and host",
      params: runParam,
      answers: {
        200: {
          description: "The largest groups first.",
          schema: z.object(groupsShape).meta({ id: "RunFailures" }),
        },
      },
      isSlow: true,
      async handle({ params }) {
        const summary = await summaryOf(engine, (await runOf(engine, params.run)).id);
        return { status: 200, body: shown(await counts.ofRun(summary)) };
      },
    }),
  ];
}

function shown({ groups, truncated }: CountedFailures) {
  const sum = (of: "files" | "retriable") => groups.reduce((all, group) => all + group[of], 0);
  const largest = [...groups].sort((one, other) => other.files - one.files).slice(0, MOST_GROUPS);
  return {
    groups: largest,
    files: sum("files"),
    retriable: sum("retriable"),
    truncated: truncated || largest.length < groups.length,
  };
}

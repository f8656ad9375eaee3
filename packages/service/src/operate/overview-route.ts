import type { Engine } from "@drover/shared/engine";
import type { Queue } from "bullmq";
import { z } from "zod";
import { type Route, route } from "../http/route.js";
import { carried, type Overview, oldestWaitingMs, overviewOf, waitingFiles } from "./overview.js";
import { verdictOf } from "./verdict.js";

const count = z.int().min(0);

const overviewSchema = z
  .object({
    at: z.iso.datetime(),
    state: z.enum(["ok", "warning", "critical"]),
    sentence: z.string().meta({ example: "Stuck: no workers, 12,400 files wait" }),
    files_per_second: z.number().meta({ description: "On average of the last half minute." }),
    bytes_per_second: z.number(),
    oldest_waiting_seconds: z.number().meta({
      description: "How long the file whose turn is next has waited; 0 where none does.",
    }),
    open_files: count.meta({ description: "Files that are accepted and have not ended." }),
    waiting_files: count.meta({ description: "Those that wait for a worker." }),
    blocked_files: count.meta({ description: "Those that wait for a blocked host: an estimate." }),
    workers: z.object({
      alive: count,
      draining: count,
      capacity: count.meta({ description: "Files that they can carry at once." }),
      carrying: count,
    }),
    queue: z.object({ waiting: count, active: count, delayed: count }),
    runs: z.object({ running: count, interrupted: count }),
    blocked_hosts: z
      .array(
        z.object({
          host: z.string(),
          breaker: z.enum(["open", "half-open"]),
          open_until: z.iso.datetime().nullable(),
          since: z.iso.datetime(),
          files: count.meta({
            description: "Files that wait for it, in the queue and in the backlog: an estimate.",
          }),
          runs: count.meta({ description: "Runs that they are of." }),
        }),
      )
      .meta({ description: "Hosts of waiting files whose breakers are not closed: at most 100." }),
    dispatch_paused: z.boolean(),
    has_leader: z.boolean().meta({ description: "Whether a worker dispatches for the fleet." }),
  })
  .meta({ id: "Overview" });

const NUMBERS = ["files_per_second", "bytes_per_second", "oldest_waiting_seconds", "waiting_files"] as const;
const sampleSchema = z
  .object({
    at: z.iso.datetime(),
    ...overviewSchema.pick({
      files_per_second: true,
      bytes_per_second: true,
      oldest_waiting_seconds: true,
      waiting_files: true,
    }).shape,
    carrying: count,
  })
  .meta({ id: "OverviewSample" });
type Sample = z.infer<typeof sampleSchema>;

/** Samples are kept for this time, and are so far apart at least, in milliseconds. */
const RECENT_MS = 600_000;
const SPACING_MS = 4_000;

/** `/api/v1/overview`: how the fleet stands, and stood while somebody asked for that. */
export function overviewRoutes(engine: Engine, queue: Queue): Route[] {
  let recent: Sample[] = [];
  const note = (overview: z.infer<typeof overviewSchema>) => {
    const atMs = Date.parse(overview.at);
    recent = recent.filter(({ at }) => Date.parse(at) > atMs - RECENT_MS);
    const last = recent.at(-1);
    if (last === undefined || atMs - Date.parse(last.at) >= SPACING_MS) recent.push(sampleOf(overview));
  };
  return [
    overviewRoute(engine, queue, note),
    route({
      method: "get",
      path: "/api/v1/overview/recent",
      scope: "read",
      tag: "Operation",
      summary: "How the fleet stood in the last ten minutes",
      description:
        "As this server saw it: at most every four seconds, and only while somebody asked for the overview.",
      answers: {
        200: {
          description: "The oldest first.",
          schema: z.object({ samples: z.array(sampleSchema) }).meta({ id: "RecentOverviews" }),
        },
      },
      async handle() {
        const sinceMs = Date.now() - RECENT_MS;
        return { status: 200, body: { samples: recent.filter(({ at }) => Date.parse(at) > sinceMs) } };
      },
    }),
  ];
}

function sampleOf(overview: z.infer<typeof overviewSchema>): Sample {
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, overview[name]]));
  return { at: overview.at, carrying: overview.workers.carrying, ...numbers } as Sample;
}

function overviewRoute(
  engine: Engine,
  queue: Queue,
  note: (overview: z.infer<typeof overviewSchema>) => void,
): Route {
  return route({
    method: "get",
    path: "/api/v1/overview",
    scope: "read",
    tag: "Operation",
    summary: "How the fleet stands, in one sentence and some numbers",
    answers: { 200: { description: "At this moment.", schema: overviewSchema } },
    async handle() {
      const body = show(await overviewOf(engine, queue));
      note(body);
      return { status: 200, body };
    },
  });
}

function show(overview: Overview): z.infer<typeof overviewSchema> {
  const { leader, workers } = overview;
  const sums = carried(workers);
  const verdict = verdictOf(overview);
  return {
    at: isoOf(overview.atMs),
    state: verdict.level,
    sentence: verdict.sentence,
    files_per_second: rounded(sums.filesPerSecond),
    bytes_per_second: rounded(sums.bytesPerSecond),
    oldest_waiting_seconds: rounded(oldestWaitingMs(overview) / 1_000),
    open_files: overview.openFiles,
    waiting_files: waitingFiles(overview),
    blocked_files: leader?.blockedFiles ?? 0,
    workers: {
      alive: workers.length,
      draining: workers.filter(({ draining }) => draining).length,
      capacity: sums.capacity,
      carrying: sums.files,
    },
    queue: overview.queue,
    runs: overview.runs,
    blocked_hosts: (leader?.hosts ?? []).map(({ host, breaker, openUntilMs, sinceMs, files, runs }) => ({
      host,
      breaker,
      open_until: openUntilMs === undefined ? null : isoOf(openUntilMs),
      since: isoOf(sinceMs),
      files,
      runs,
    })),
    dispatch_paused: overview.pause !== undefined,
    has_leader: leader !== undefined,
  };
}

function isoOf(unixMs: number): string {
  return new Date(unixMs).toISOString();
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

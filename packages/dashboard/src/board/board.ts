import { join } from "node:path";
import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { ExpressAdapter } from "@bull-board/express";
import { requireScope } from "@drover/service/security/access";
import { isWrite } from "@drover/service/security/same-origin";
import type { Caller } from "@drover/service/security/scopes";
import type { ServiceParts } from "@drover/service/service";
import { transferJobSchema } from "@drover/shared/job";
import { Queue } from "bullmq";
import { type RequestHandler, Router } from "express";
import { BASE, BOARD_PATH } from "../page.js";
import { BOARD_POLICY } from "../responses.js";
import { READS } from "./allowed-routes.js";
import { redactAll } from "./redact.js";
import { boardWrites, problem } from "./writes.js";

/** Jobs of the fleet's queue are looked at with this interval, in seconds, by each tab. */
const POLL_SECONDS = 10;
/** Jobs of each state in one answer. */
const MOST_JOBS = 100;

export interface BoardOptions {
  /** Directory with Bull Board's page below `bull-board`. */
  assets: string;
  /** Whether jobs may be retried and removed. */
  boardWrites: boolean;
}

/** Bull Board, for those who are logged in. */
export interface Board {
  handler: RequestHandler;
  close(): Promise<void>;
}

/** Opens Bull Board on the fleet's queue. Its answers hold no secrets, and its requests change nothing past the ledger. */
export function openBoard(parts: ServiceParts, { assets, boardWrites: mayWrite }: BoardOptions): Board {
  const { redis, keys } = parts.engine;
  const queue = new Queue(keys.fleetQueue(), { connection: redis, prefix: keys.queuePrefix() });
  queue.on("error", () => {}); // the service says that Redis is away
  const server = new ExpressAdapter();
  server.setBasePath(BASE + BOARD_PATH);
  createBullBoard({
    queues: [adapterOf(queue, !mayWrite)],
    serverAdapter: server,
    options: {
      uiBasePath: join(assets, "bull-board"),
      uiConfig: {
        boardTitle: "Drover",
        miscLinks: [{ text: "Drover", url: `${BASE}/` }],
        hideDocsLink: true,
        showWorkers: false,
        pollingInterval: { showSetting: false, forceInterval: POLL_SECONDS },
      },
      handlerHooks: {
        before: ({ method, route }) =>
          READS.has(`${method} ${route}`) ? undefined : { allow: false, status: 403, message: REFUSED },
        after: (_context, result) => ({ ...result, body: redactAll(result.body) as typeof result.body }),
      },
    },
  });
  const router = Router();
  router.use((_request, response, next) => {
    response.setHeader("Content-Security-Policy", BOARD_POLICY);
    next();
  });
  router.use(guard(mayWrite), async (_request, _response, next) => {
    await parts.availability.whileThere(redis.ping());
    next();
  });
  if (mayWrite) router.use(boardWrites(parts, queue));
  router.use((request, _response, next) => {
    if (isWrite(request)) throw problem(403, REFUSED);
    next();
  });
  router.use("/static", (_request, response, next) => {
    response.setHeader("Cache-Control", "private, max-age=86400"); // a new version has other names
    next();
  });
  router.use(server.getRouter() as RequestHandler);
  return { handler: router, close: () => queue.close() };
}

const REFUSED = "this would go past the ledger: runs are changed by Drover's own pages, commands and API";

/** Lets only those change something who may operate, where the settings allow it. */
function guard(mayWrite: boolean): RequestHandler {
  return (request, response, next) => {
    if (isWrite(request)) {
      if (!mayWrite)
        throw problem(403, "the board is read-only: --board-writes lets it retry and remove jobs");
      requireScope(response.locals.who as Caller, "operate");
    }
    next();
  };
}

/** The fleet's queue, of which no more jobs are shown at once than a page can have, whatever is asked for. */
class FleetQueue extends BullMQAdapter {
  override async getJobs(...[statuses, start = 0, end = start]: Parameters<BullMQAdapter["getJobs"]>) {
    return await super.getJobs(statuses, start, Math.min(end, start + MOST_JOBS - 1));
  }
}

/** What the board sees of the queue: jobs are called by their files, and lead to their runs. */
function adapterOf(queue: Queue, readOnlyMode: boolean): BullMQAdapter {
  const adapter = new FleetQueue(queue, {
    readOnlyMode,
    description:
      "What workers have, or take next. What waits for its turn is in the backlog, which the runs show.",
    externalJobUrl: ({ data }) => {
      const run = transferJobSchema.safeParse(data).data?.r ?? "";
      return { displayText: "Its run", href: `${BASE}/runs/${encodeURIComponent(run)}` };
    },
  });
  adapter.setFormatter("name", ({ data }) => transferJobSchema.safeParse(data).data?.d ?? "");
  adapter.setFormatter("data", (data) => {
    const job = transferJobSchema.safeParse(data).data;
    if (job === undefined) return data;
    const { r: run, i: index, g: retries = 0, op: operation = "copy", s: source, d: destination } = job;
    return { run, index, retries, operation, source, destination, version: job.v, sha256: job.x };
  });
  return adapter;
}

/** A route of Bull Board as it names it: method and path. */
export type BoardRoute = `${"get" | "put" | "post" | "patch"} ${string}`;

/**
 * Routes of Bull Board that read, and that are let through. Not among them: the workers of a
 * queue, for which Redis would list all its clients. The page of workers knows them.
 */
export const READS: ReadonlySet<string> = new Set<BoardRoute>([
  "get /api/redis/stats",
  "get /api/queues",
  "get /api/job-schedulers",
  "get /api/queues/:queueName/metrics",
  "get /api/queues/:queueName/default-job-options",
  "get /api/queues/:queueName/rate-limit",
  "get /api/queues/:queueName/job-data-schema",
  "get /api/queues/:queueName/:jobId/logs",
  "get /api/queues/:queueName/:jobId/flow",
  "get /api/queues/:queueName/:jobId",
]);

/** Routes whose place Drover's own operations take, so that the ledger knows. All others would go past it. */
export const RETRY = "/api/queues/:queueName/:jobId/retry";
export const REMOVE = "/api/queues/:queueName/:jobId/clean";

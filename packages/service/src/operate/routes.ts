import type { Queue } from "bullmq";
import type { ServiceContext } from "../context.js";
import type { Route } from "../http/route.js";
import { dispatchRoutes } from "./dispatch.js";
import { failureGroupRoutes } from "./failure-group-routes.js";
import { FailureCounts } from "./failure-groups.js";
import { failureRoutes } from "./failures.js";
import { hostRoutes } from "./hosts.js";
import { overviewRoutes } from "./overview-route.js";
import { workersRoute } from "./workers.js";

/** What operators of a fleet ask and do. @param queue the fleet's. */
export function operateRoutes(context: ServiceContext, queue: Queue): Route[] {
  const counts = new FailureCounts(context.engine);
  return [
    ...overviewRoutes(context.engine, queue),
    ...hostRoutes(context),
    workersRoute(context),
    ...failureRoutes(context, counts),
    ...failureGroupRoutes(context, counts),
    ...dispatchRoutes(context),
  ];
}

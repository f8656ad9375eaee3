import type { ServiceContext } from "../context.js";
import type { Route } from "../http/route.js";
import { dispatchRoutes } from "./dispatch.js";
import { failureRoutes } from "./failures.js";
import { hostRoutes } from "./hosts.js";
import { workersRoute } from "./workers.js";

/** What operators of a fleet ask and do. */
export function operateRoutes(context: ServiceContext): Route[] {
  return [
    ...hostRoutes(context),
    workersRoute(context),
    ...failureRoutes(context),
    ...dispatchRoutes(context),
  ];
}

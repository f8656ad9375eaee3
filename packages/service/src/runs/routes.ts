import type { ServiceContext } from "../context.js";
import type { Route } from "../http/route.js";
import { changeRoutes } from "./change-routes.js";
import { fileRoutes } from "./file-routes.js";
import { showRoutes } from "./show-routes.js";
import { startRoute } from "./start-route.js";

/** `/api/v1/runs`: makes runs, tells how they and their files stand, and ends or retries them. */
export function runRoutes(context: ServiceContext): Route[] {
  return [startRoute(context), ...showRoutes(context), ...fileRoutes(context), ...changeRoutes(context)];
}

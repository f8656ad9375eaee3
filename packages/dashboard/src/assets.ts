import { join } from "node:path";
import { type RequestHandler, Router, static as serve } from "express";

/**
 * Serves script and style of the pages, which the login page needs too.
 *
 * @param directory that they are in.
 */
export function pageAssets(directory: string): RequestHandler {
  const router = Router();
  router.use((_request, response, next) => {
    response.setHeader("Cache-Control", "no-cache"); // a new version has them under the same names
    next();
  });
  router.use(serve(join(directory, "dashboard"), { index: false, redirect: false }));
  return router;
}

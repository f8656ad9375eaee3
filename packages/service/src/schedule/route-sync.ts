import { setTimeout as sleep } from "node:timers/promises";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import { type RunSummary, summaryOf } from "@drover/producer/runs/summary";
import { planCopy } from "../bucket/sync.js";
import type { ServiceConfig } from "../config.js";
import type { ServiceContext } from "../context.js";
import { MOST_KEYS_PER_RUN, planObjects } from "../intake/object-run.js";
import { type EventRoute, parentOf } from "../intake/route.js";
import { isOver } from "../runs/shown.js";
import { findGone } from "./gone.js";
import { type Repairs, repairsOf } from "./repairs.js";

/** Label of the runs. */
export const PERIODIC = "periodic-sync";
/** Interval in milliseconds at which a run is looked at. */
const LOOK_MS = 500;

/** What is kept like its bucket by the clock: every route but those of mirrors, which do so themselves, and the bucket of the settings. */
export function routesOf({ bucket, downloadDir, events }: ServiceConfig): EventRoute[] {
  const routes = events.routes.filter(({ mirror }) => mirror === undefined);
  const isThere = routes.some(
    (route) => route.bucket === bucket && route.prefix === "" && route.destination === downloadDir,
  );
  if (bucket === undefined || isThere) return routes;
  const own = { bucket, prefix: "", destination: downloadDir, deletes: false, maxDelete: 0 };
  return [{ ...own, secret: undefined }, ...routes];
}

/**
 * Copies what is new or changed in a route's objects, and removes the files whose objects are gone where the route deletes.
 *
 * @returns what there was to do; undefined if the server stops before that is done.
 * @throws SettingsError if it cannot be done now.
 */
export async function syncRoute(context: ServiceContext, route: EventRoute): Promise<Repairs | undefined> {
  const { engine, config, log, stopping } = context;
  const { bucket, prefix, destination: root, backup } = route;
  const parent = parentOf(route);
  const planned = await planCopy(
    { bucket, parent, beginning: prefix.slice(parent.length), root, backup },
    config,
  );
  const copied = await runToEnd(context, planned);
  if (copied === undefined) return undefined;
  const repairs = await repairsOf(engine, copied);
  if (!route.deletes) return repairs;
  const gone =
    copied.run.state === "done"
      ? await findGone(
          engine,
          route,
          { planned, counts: copied.counts },
          { signal: stopping, warn: (message) => log.warn({ bucket }, message) },
        )
      : { refused: "not all objects could be listed", keys: [] };
  if (stopping.aborted) return undefined;
  repairs.notRemoved = gone.refused;
  if (gone.refused !== "") log.error({ bucket, destination: root, why: gone.refused }, "nothing is removed");
  for (let from = 0; from < gone.keys.length; from += MOST_KEYS_PER_RUN) {
    const keys = gone.keys.slice(from, from + MOST_KEYS_PER_RUN);
    const terms = { label: PERIODIC, whenGone: "remove" as const, retries: config.retries };
    const removed = await runToEnd(context, await planObjects({ bucket, route, keys }, terms, config));
    if (removed === undefined) return undefined;
    repairs.removed += removed.counts.deleted;
    repairs.endedMs = removed.run.endedMs ?? Date.now();
  }
  return repairs;
}

/** Makes a run, so that the next one does not overlap it. @returns undefined if the server stops before its end. */
async function runToEnd(
  { engine, keeper, log, stopping }: ServiceContext,
  planned: PlannedRun,
): Promise<RunSummary | undefined> {
  planned.spec.label = PERIODIC;
  const { id } = await keeper.submit(planned, (message) => log.warn(message));
  log.info({ run: id }, "periodic sync begun");
  while (!stopping.aborted) {
    const summary = await summaryOf(engine, id);
    if (isOver(summary.run)) return summary;
    await sleep(LOOK_MS, undefined, { signal: stopping }).catch(() => {});
  }
  return undefined;
}

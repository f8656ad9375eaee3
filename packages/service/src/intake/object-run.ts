import { type PlannedRun, planRun } from "@drover/producer/runs/plan/plan";
import type { RunRequestInput } from "@drover/producer/runs/plan/request";
import { SettingsError } from "@drover/shared/errors";
import { s3Text } from "@drover/shared/storage/s3/object/name";
import type { ServiceConfig } from "../config.js";
import { isBelowAny } from "../runs/submission.js";
import { nameOf, type RouteTarget } from "./route.js";

/** Objects that one run looks at, at most. */
export const MOST_KEYS_PER_RUN = 1_000;

/** Objects of a route that are to be looked at. */
export interface RouteObjects {
  bucket: string;
  route: RouteTarget;
  keys: readonly string[];
}

/** How a run of objects is called, what it does, and how long it tries. */
export interface ObjectRunTerms extends Pick<RunRequestInput, "breaker"> {
  label: string;
  /** What becomes of the copy of an object that is gone: see the run's spec. */
  whenGone: "leave" | "remove";
  /** Tries per file in all. */
  retries: number;
  backoffFactor?: number;
}

/**
 * Plans a run that looks at objects one by one, and copies, leaves or removes each by what S3 says then.
 *
 * @throws SettingsError if none can be made now.
 */
export async function planObjects(
  { bucket, route, keys }: RouteObjects,
  { label, whenGone, breaker, ...terms }: ObjectRunTerms,
  config: ServiceConfig,
): Promise<PlannedRun> {
  const { destination: root, backup } = route;
  for (const written of backup?.dir === undefined ? [root] : [root, backup.dir])
    if (!isBelowAny(written, config.roots))
      throw new SettingsError(`${written} is not below ${config.roots.join(" or ")}`);
  const rows = keys.map((key) => [s3Text({ bucket, key }), nameOf(route, key)].map(quoted).join(","));
  return await planRun({
    directory: config.downloadDir,
    stateDir: config.stateDir,
    carriedBy: "fleet",
    label,
    keepOutcomes: config.keepOutcomes,
    whenGone,
    selection: { listText: `${["source,destination", ...rows].join("\n")}\n` },
    destination: { root, ...(backup === undefined ? {} : { backup }) },
    terms: { ...terms, timeoutMs: config.timeoutMs, maxFileSizeBytes: config.maxFileSizeBytes },
    ...(breaker === undefined ? {} : { breaker }),
    s3: config.s3,
  });
}

function quoted(field: string): string {
  return `"${field.replaceAll('"', '""')}"`;
}

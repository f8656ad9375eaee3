import { COUNTER_METRICS } from "@drover/shared/metrics/names";
import { increase } from "./promql.ts";

/** A series that Prometheus works out itself, for alerts and panels. */
export interface Recording {
  record: string;
  expression: string;
}

/** Windows over which failures are looked at. */
export const WINDOWS = ["5m", "30m", "1h", "6h"] as const;
export type Window = (typeof WINDOWS)[number];

const SETTLED = COUNTER_METRICS["files.settled"];
/** Files that did not arrive, for a reason that is not the operator's own. */
const FAILED = { outcome: "~failed|blocked" };

/** Files that ended within a window. */
export const endedIn = (window: Window) => `drover:files_ended:increase${window}`;
/** Those of them that failed or were blocked, from 0 to 1. */
export const failureRatioIn = (window: Window) => `drover:files_failed:ratio${window}`;

/** The recording rules, which are always loaded. */
export const RECORDINGS: Recording[] = WINDOWS.flatMap((window) => [
  { record: endedIn(window), expression: increase(SETTLED, window) },
  {
    record: failureRatioIn(window),
    expression: `${increase(SETTLED, window, FAILED)} / (${increase(SETTLED, window)} > 0)`,
  },
]);

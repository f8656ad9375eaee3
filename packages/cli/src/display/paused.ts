import type { DispatchPause } from "@drover/shared/protocol/dispatch-pause";
import { printable } from "../output.js";

/** One line on a fleet whose dispatch is paused. */
export function pausedText({ sinceMs, by, untilMs }: DispatchPause): string {
  const until = untilMs === undefined ? "" : ` until ${new Date(untilMs).toISOString()}`;
  return `dispatch is paused since ${new Date(sinceMs).toISOString()} by ${printable(by)}: no more files are given to the workers${until}`;
}

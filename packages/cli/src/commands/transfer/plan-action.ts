import { existsSync } from "node:fs";
import { join } from "node:path";
import { showPlan } from "../../display/show-plan.js";
import { warn } from "../../output.js";
import type { Resolved } from "../../settings/settings.js";
import { displayOf } from "../options.js";
import type { RunFlags } from "./run-options.js";
import { planOf } from "./sync-action.js";

/** `drover plan`: says what a sync would do, take and cost. @returns the exit code. */
export async function plan(sources: string[], flags: RunFlags, resolved: Resolved): Promise<number> {
  const { redis, prices: file } = resolved.values;
  const stateDir = resolved.values["state-dir"] as string;
  const { format } = displayOf(flags);
  const planned = await planOf(sources, flags, resolved, { rootMayBeFile: false, needsPrices: true });
  const { openEngine } = await import("@drover/shared/engine");
  // A state directory without a Redis knows of no run, so none is started.
  const isNoted = redis !== undefined || existsSync(join(stateDir, "redis"));
  const engine = isNoted ? await openEngine({ redis, stateDir }) : undefined;
  try {
    const { estimate } = await import("@drover/producer/runs/foresee/estimate");
    const { readPriceTable } = await import("@drover/producer/prices/read-price-table");
    const prices = file === undefined ? undefined : readPriceTable(file);
    return showPlan(planned.spec, await estimate(planned, { engine, prices, warn }), format);
  } finally {
    engine?.close();
  }
}

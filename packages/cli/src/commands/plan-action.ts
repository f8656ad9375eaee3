import { existsSync } from "node:fs";
import { join } from "node:path";
import { showPlan } from "../display/show-plan.js";
import { warn } from "../output.js";
import type { Resolved } from "../settings/settings.js";
import { displayOf } from "./options.js";
import type { RunFlags } from "./run-options.js";
import { planOf } from "./sync-action.js";

/** `drover plan`: says what a sync would do, take and cost. @returns the exit code. */
export async function plan(sources: string[], flags: RunFlags, resolved: Resolved): Promise<number> {
  const { redis, prices: file } = resolved.values;
  const stateDir = resolved.values["state-dir"] as string;
  const { format } = displayOf(flags);
  const planned = await planOf(sources, flags, resolved, { rootMayBeFile: false, needsPrices: true });
  const { openRunningEngine } = await import("@drover/shared/engine");
  const engine = await openRunningEngine({ redis, stateDir });
  if (!engine && existsSync(join(stateDir, "redis")))
    warn(
      "Drover's own Redis does not run, and a plan starts nothing: what it knows of earlier runs is left out (drover runs starts it)",
    );
  try {
    const { estimate } = await import("@drover/producer/runs/estimate");
    const { readPriceTable } = await import("@drover/producer/prices/read-price-table");
    const prices = file === undefined ? undefined : readPriceTable(file);
    return showPlan(planned.spec, await estimate(planned, { engine, prices, warn }), format);
  } finally {
    engine?.close();
  }
}

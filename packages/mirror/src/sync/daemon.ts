import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import type { MirrorContext } from "../context.js";
import { type Holding, whileHolding } from "../state/holding.js";
import { MirrorLostError } from "../state/mirror-state.js";
import type { SyncReport } from "./report.js";
import { deliverReports, type PostReport } from "./report-deliveries.js";
import { incrementalSync, initialSync, reconcile } from "./sync.js";

/** Interval in ms at which a daemon looks whether a sync is due, wherever in the fleet the last one ran. */
const LOOK_MS = 1_000;
/** Wait in ms after an error. */
const RETRY_MS = 5_000;

export interface DaemonEvents {
  synced(report: SyncReport): void;
  failed(message: string): void;
}

/**
 * Syncs a mirror by the clock until it is to stop: the initial sync where there is none, then incremental ones, and full
 * listings. Of several daemons one syncs at a time. Errors are told and survived.
 *
 * @param stop ends it; a sync that is under way ends in an orderly way.
 */
export async function runDaemon(
  context: MirrorContext,
  post: PostReport,
  events: DaemonEvents,
  stop: AbortSignal,
): Promise<void> {
  const { engine, config, state, warn } = context;
  while (!stop.aborted) {
    let waitMs = LOOK_MS;
    try {
      if ((await dueSync(context)) !== undefined) {
        const report = await whileHolding(engine, config.name, { stop, wait: false }, async (holding) => {
          const sync = await dueSync(context); // another daemon may have been quicker
          if (sync === undefined) return undefined;
          await state.change(holding.fence, { fields: { nextSyncMs: Date.now() + config.intervalMs } });
          return await sync(context, holding);
        });
        if (report !== undefined) events.synced(report);
      }
      await deliverReports(engine, config.name, post, warn);
    } catch (error) {
      if (stop.aborted) break;
      waitMs = RETRY_MS;
      if (!isRedisAway(error) && !(error instanceof MirrorLostError))
        events.failed(redactText(messageOf(error)));
    }
    await sleep(waitMs, undefined, { signal: stop }).catch(() => {});
  }
}

type Sync = (context: MirrorContext, holding: Holding) => Promise<SyncReport>;

/** Which sync is due; undefined for none. */
async function dueSync({ state, config }: MirrorContext): Promise<Sync | undefined> {
  const fields = await state.fields();
  const nowMs = Date.now();
  const nextMs = Number(fields.nextSyncMs ?? 0);
  // A time that is further ahead than the interval was noted before a clock was set back, or the interval was longer.
  if (nowMs < nextMs && nextMs <= nowMs + config.intervalMs) return undefined;
  if (fields.initialMs === undefined) return initialSync;
  if (nowMs >= Number(fields.reconciledMs ?? 0) + config.reconcileMs) return reconcile;
  return incrementalSync;
}

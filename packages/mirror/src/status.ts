import type { Engine } from "@drover/shared/engine";
import { z } from "zod";
import { EventStream, msOfId } from "./events/event-stream.js";
import { MirrorState } from "./state/mirror-state.js";
import { syncReportSchema } from "./sync/report.js";

const time = z.iso.datetime().nullable();

/** How a mirror stands. */
export const mirrorStatusSchema = z
  .object({
    mirror: z.string(),
    records: z.int(),
    pending: z.int().meta({ description: "Paths whose copy may differ from what is wanted." }),
    events_waiting: z.int(),
    oldest_event_at: time,
    dead_letters: z.int(),
    reports_waiting: z.int(),
    initial_sync_at: time,
    incremental_sync_at: time,
    reconcile_at: time,
    next_sync_at: time,
    listing: z.enum(["none", "running", "complete", "failed"]),
    syncing: z.string().nullable().meta({ description: "Process that syncs now." }),
    lag_seconds: z
      .number()
      .nullable()
      .meta({ description: "Age of the oldest event that waits; null for none." }),
    last_syncs: z.array(syncReportSchema),
  })
  .meta({ id: "MirrorStatus" });
export type MirrorStatus = z.infer<typeof mirrorStatusSchema>;

/** @param most syncs that are told. */
export async function statusOf(
  engine: Pick<Engine, "redis" | "keys">,
  name: string,
  most = 5,
): Promise<MirrorStatus> {
  const { redis } = engine;
  const state = new MirrorState(engine, name);
  const stream = new EventStream(engine, name);
  const [fields, pending, waiting, dead, deliveries, holder, reports, [oldest]] = await Promise.all([
    state.fields(),
    state.pendingCount(),
    stream.waiting(),
    stream.deadCount(),
    redis.hlen(state.keys.deliveries()),
    redis.get(state.keys.holder()),
    redis.lrange(state.keys.reports(), 0, most - 1),
    redis.xrange(state.keys.events(), "-", "+", "COUNT", 1),
  ]);
  const at = (field: string) => (fields[field] ? new Date(Number(fields[field])).toISOString() : null);
  const oldestMs = oldest === undefined ? undefined : msOfId(oldest[0]);
  const listing = z.enum(["running", "complete", "failed"]).safeParse(fields.listingState);
  return {
    mirror: name,
    records: Number(fields.records ?? 0),
    pending,
    events_waiting: waiting,
    oldest_event_at: oldestMs === undefined ? null : new Date(oldestMs).toISOString(),
    dead_letters: dead,
    reports_waiting: deliveries,
    initial_sync_at: at("initialMs"),
    incremental_sync_at: at("incrementalSyncMs"),
    reconcile_at: at("reconciledMs"),
    next_sync_at: at("nextSyncMs"),
    listing: listing.success ? listing.data : "none",
    syncing: holder,
    lag_seconds: oldestMs === undefined ? null : Math.max(Date.now() - oldestMs, 0) / 1000,
    last_syncs: reports.map((each) => syncReportSchema.parse(JSON.parse(each))),
  };
}

import { z } from "zod";

const count = z.int().min(0);

/** What a sync did, as it is printed and sent to the report URLs. */
export const syncReportSchema = z
  .object({
    type: z.literal("mirror.sync"),
    id: z.string(),
    mirror: z.string(),
    sync: z.enum(["initial", "incremental", "reconcile"]),
    status: z.enum(["success", "partial", "error"]),
    started_at: z.iso.datetime(),
    ended_at: z.iso.datetime(),
    duration_seconds: z.number(),
    events_processed: count,
    events: z.object({ applied: count, superseded: count, duplicate: count, ignored: count, dead: count }),
    changes: z.object({ added: count, removed: count, changed: count, renamed: count, permissions: count }),
    operations_executed: count,
    operations_failed: count,
    /** `not_kept`: permissions that the destination does not keep; the files are there. */
    operations: z.object({
      copied: count,
      /** Renamed at the destination; nothing was transferred. Reports of earlier versions lack it. */
      moved: count.default(0),
      removed: count,
      permissions: count,
      unchanged: count,
      not_kept: count,
    }),
    failures: z.array(z.object({ path: z.string(), class: z.string(), message: z.string() })),
    error_counts: z.record(z.string(), count),
    records: count,
    pending: count,
    /** What a full listing found that no event had told of. */
    reconciled: z
      .object({
        listed: count,
        refused: count,
        missed: count,
        to_remove: count,
        removals_refused: z.string().nullable(),
      })
      .nullable(),
    /** Age of the oldest change that this sync applied when it ended; null for none. */
    convergence_lag_seconds: z.number().nullable(),
    state_file: z.string().nullable(),
    runs: z.array(z.string()),
    error: z.string().nullable(),
  })
  .meta({ id: "MirrorSyncReport" });

export type SyncReport = z.infer<typeof syncReportSchema>;

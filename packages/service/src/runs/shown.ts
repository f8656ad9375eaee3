import type { FailedFile } from "@drover/producer/runs/run-files";
import type { RunSummary } from "@drover/producer/runs/summary";
import { isSuccess, OUTCOMES, type Outcome } from "@drover/shared/outcome";
import { kindOf, type Run } from "@drover/shared/run";
import { below } from "@drover/shared/storage/registry";
import { z } from "zod";
import { webhookSchema } from "../webhooks/schema.js";

const count = z.int().min(0);

export const runSchema = z
  .object({
    id: z.string().meta({ example: "rmx1pkhdr-264269" }),
    kind: z.enum(["sync", "fetch"]),
    label: z.string().nullable(),
    state: z.enum(["running", "interrupted", "done", "cancelled"]),
    started_at: z.iso.datetime(),
    ended_at: z.iso.datetime().nullable(),
    sources: z.array(z.string()).meta({ description: "The first 100, without secrets." }),
    sources_count: count,
    destination: z.string(),
    sealed: z.boolean().meta({ description: "Whether all sources have been read to their ends." }),
    files: count.meta({ description: "Files that were found so far." }),
    settled: count,
    copied: count,
    unchanged: count,
    deleted: count,
    failed: count,
    blocked: count,
    locked: count,
    cancelled: count,
    bytes: count.meta({ description: "Bytes that were copied." }),
    not_deleted_because: z.string().nullable(),
    stopped_because: z.string().nullable().meta({
      description:
        "Why it was cancelled by itself: its deadline, `stop_after_failures`, `max_bytes` or `max_cost`.",
    }),
  })
  .meta({ id: "Run" });

/** A run as it is shown by itself. */
export const runDetailSchema = runSchema
  .extend({
    webhook: webhookSchema.nullable().meta({ description: "Where the run's end is told of." }),
  })
  .meta({ id: "RunDetail" });

export type ShownRun = z.infer<typeof runSchema>;

const SHOWN_SOURCES = 100;

export function showRun({ run, counts }: RunSummary): ShownRun {
  const { spec } = run;
  return {
    id: run.id,
    kind: kindOf(spec),
    label: spec.label ?? null,
    state: run.state,
    started_at: new Date(run.startedMs).toISOString(),
    ended_at: run.endedMs === undefined ? null : new Date(run.endedMs).toISOString(),
    sources: spec.sources.slice(0, SHOWN_SOURCES),
    sources_count: spec.sources.length,
    destination: destinationOf(run),
    sealed: run.sealed,
    ...counts,
    bytes: run.bytes,
    not_deleted_because: run.deletionRefused === "" ? null : run.deletionRefused,
    stopped_because: run.stoppedBecause === "" ? null : run.stoppedBecause,
  };
}

function destinationOf({ spec }: Run): string {
  return spec.destination === undefined ? spec.root : below(spec.root, spec.destination);
}

/** Whether a run ends by itself no more, and does nothing. */
export function isOver({ state, sealed }: Run): boolean {
  return state === "done" || state === "cancelled" || (state === "interrupted" && !sealed);
}

export const fileSchema = z
  .object({
    source: z.string().nullable(),
    destination: z.string(),
    outcome: z.enum(OUTCOMES),
    bytes: count,
    checksum: z.string().nullable().meta({ description: "SHA-256, hexadecimal." }),
    verified_by: z.string().nullable(),
    attempts: count,
    duration_ms: count,
    error: z.object({ class: z.string(), message: z.string() }).nullable(),
  })
  .meta({ id: "File" });

export type ShownFile = z.infer<typeof fileSchema>;

export function showOutcome(outcome: Outcome): ShownFile {
  return {
    source: outcome.outcome === "deleted" ? null : outcome.source,
    destination: outcome.destination,
    outcome: outcome.outcome,
    bytes: outcome.bytes,
    checksum: outcome.checksum,
    verified_by: outcome.verifiedBy,
    attempts: outcome.attempts,
    duration_ms: Math.round(outcome.durationMs),
    error: outcome.error ?? null,
  };
}

export function showFailed({ job, error, attempts, outcome, path }: FailedFile): ShownFile {
  if (isSuccess(outcome)) throw new Error(`${outcome} is no failure`);
  return {
    source: job.s,
    destination: path,
    outcome,
    bytes: 0,
    checksum: null,
    verified_by: null,
    attempts,
    duration_ms: 0,
    error,
  };
}

import type { PairLimits } from "@drover/producer/pair/guards";
import type { PairRequest } from "@drover/producer/pair/pair-session";
import { BACKUPS, DIRECTIONS, type PairTerms, STRATEGIES } from "@drover/shared/pair/decide";
import type { PairConflict, PairRecord } from "@drover/shared/pair/store";
import { z } from "zod";
import { s3ObjectsSchema } from "../runs/submission.js";

/** Terms of a sync of a pair, as `drover bisync` has them. */
export const termsSchema = z.strictObject({
  direction: z.enum(DIRECTIONS).optional(),
  conflict: z.enum(STRATEGIES).optional(),
  backup: z.enum(BACKUPS).optional(),
  backup_dir: z.string().min(1).max(4_096).optional(),
  remote_backup_dir: z.string().min(1).max(4_096).optional(),
  no_delete: z.boolean().optional(),
  max_delete: z.union([z.int().min(0), z.string().regex(/^\d+(\.\d+)?%$/)]).optional(),
  max_change: z
    .string()
    .regex(/^\d+(\.\d+)?%$/)
    .optional(),
  allow_empty: z.enum(["local", "remote"]).optional(),
  adopt: z.boolean().optional(),
  dry_run: z.boolean().optional(),
  patterns: z.array(z.string()).max(1_000).optional(),
  filters: z
    .array(z.string().regex(/^[+-] /, "must begin with '+ ' or '- '"))
    .max(1_000)
    .optional(),
  label: z.string().max(200).optional(),
  s3: s3ObjectsSchema.optional(),
});
export type TermsBody = z.infer<typeof termsSchema>;

/** The terms of a sync; what the body leaves out is as it was the last time. */
export function requestOf(
  body: TermsBody,
  last: PairTerms | undefined,
  own: Pick<PairRequest, "stateDir" | "backupDirs" | "waitMs">,
): PairRequest {
  return {
    ...own,
    terms: {
      direction: body.direction ?? last?.direction ?? "bidirectional",
      strategy: body.conflict ?? last?.strategy ?? "newest-wins",
      backups: body.backup ?? last?.backups ?? "all",
      noDelete: body.no_delete ?? last?.noDelete ?? false,
    },
    limits: limitsOf(body),
    adopt: body.adopt ?? false,
    suffixed: false,
  };
}

function limitsOf({
  max_delete: most = "50%",
  max_change: change,
  allow_empty: allowEmpty,
}: TermsBody): PairLimits {
  return {
    maxDelete: typeof most === "number" ? { files: most } : { percent: Number(most.slice(0, -1)) },
    maxChangePercent: change === undefined ? 99.999 : Number(change.slice(0, -1)),
    allowEmpty,
  };
}

export const pairSchema = z
  .object({
    id: z.string(),
    local: z.string(),
    remote: z.string(),
    created_at: z.iso.datetime(),
    generation: z.int(),
    last_run: z.string().nullable(),
    ended_at: z.iso.datetime().nullable(),
    conflicts: z.int(),
  })
  .meta({ id: "Pair" });

export function showPair(record: PairRecord, conflicts: number): z.infer<typeof pairSchema> {
  return {
    id: record.id,
    local: record.local,
    remote: record.remote,
    created_at: new Date(record.createdMs).toISOString(),
    generation: record.generation,
    last_run: record.lastRun ?? null,
    ended_at: record.lastEndedMs === undefined ? null : new Date(record.lastEndedMs).toISOString(),
    conflicts,
  };
}

const versionSchema = z.object({ size: z.int(), mtime: z.iso.datetime(), stamp: z.string() }).nullable();

export const conflictSchema = z
  .object({
    path: z.string(),
    reason: z.string(),
    local: versionSchema,
    remote: versionSchema,
    listed_at: z.iso.datetime(),
  })
  .meta({ id: "PairConflict" });

export function showConflict({
  path,
  reason,
  local,
  remote,
  listedMs,
}: PairConflict): z.infer<typeof conflictSchema> {
  const shown = (version: PairConflict["local"]) =>
    version
      ? { size: version.sizeBytes, mtime: new Date(version.mtimeMs).toISOString(), stamp: version.stamp }
      : null;
  return {
    path,
    reason,
    local: shown(local),
    remote: shown(remote),
    listed_at: new Date(listedMs).toISOString(),
  };
}

const numbersSchema = z.object({
  paths: z.int(),
  push: z.int(),
  pull: z.int(),
  "delete-local": z.int(),
  "delete-remote": z.int(),
  conflicts: z.int(),
  listed: z.int(),
  left: z.int(),
  unknown: z.int(),
});
/** What is known of a sync once it has begun. */
export const begunSchema = z
  .object({
    pair: z.string().nullable(),
    run: z.string().nullable(),
    planned: numbersSchema.nullable(),
    left: z.array(z.object({ path: z.string(), why: z.string() })),
  })
  .meta({ id: "PairSync" });

export const newPairSchema = termsSchema
  .extend({
    local: z.string().min(1).max(4_096).meta({ description: "A directory below the server's roots." }),
    remote: z.string().min(1).max(4_096).meta({
      description: "`s3://bucket/prefix`, or a directory; below the server's roots.",
    }),
  })
  .meta({ id: "PairRequest" });

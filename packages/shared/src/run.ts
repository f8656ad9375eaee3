import { z } from "zod";
import { s3SpecSchema } from "./storage/s3/spec.js";

/** What a run was asked to do, as it is kept in Redis: without secrets, and enough to go on after a kill. */
export const runSpecSchema = z.object({
  /** Where the files go, the root of the destination tree: an absolute path, or `s3://bucket/prefix`. */
  root: z.string(),
  /** What relative paths of a list are relative to. */
  directory: z.string(),
  /** Sources of the command line in order, without secrets; absolute paths. */
  sources: z.array(z.string()),
  /** List of sources, absolute; for standard input the copy that was kept of it. */
  list: z.string().optional(),
  /** Size and time of the list when the run began. */
  listStamp: z.string().optional(),
  /** The list came through standard input or another pipe: what was read is kept in the state directory. */
  listIsStdin: z.boolean().default(false),
  patterns: z.array(z.string()),
  /** `+ pattern` and `- pattern`, in order. */
  filters: z.array(z.string()),
  /** Of what is found in directories and prefixes, only files of these sizes and modification times are taken. */
  minSizeBytes: z.number().optional(),
  maxSizeBytes: z.number().optional(),
  minMtimeMs: z.number().optional(),
  maxMtimeMs: z.number().optional(),
  /** What is at the destination and not at the sources is removed at the end. */
  delete: z
    .object({
      /** Nothing is removed where there is more to remove: files, or percent of the files that are there. */
      most: z.object({ files: z.number() }).or(z.object({ percent: z.number() })),
      /** What keeps what is removed: of the kind of the root, and at its service. */
      backupDir: z.string().optional(),
    })
    .optional(),
  /** Files that may be registered and not settled at once. */
  backlogHighWater: z.number().default(200_000),
  layout: z.enum(["name", "url"]),
  /** Expected SHA-256 by source (without secrets). */
  checksums: z.record(z.string(), z.string()),
  /** A destination that is given outright, for a single file. */
  destination: z.string().optional(),
  retries: z.number(),
  timeoutMs: z.number(),
  backoffFactor: z.number(),
  jitter: z.enum(["full", "near"]),
  circuitTtlMs: z.number(),
  circuitThreshold: z.number(),
  breakerWaitMs: z.number(),
  openWhenSpent: z.boolean(),
  whenBusy: z.enum(["wait", "skip-same-source"]),
  maxWorkers: z.number(),
  maxFileSizeBytes: z.number().optional(),
  bytesPerSecond: z.number().optional(),
  /** How s3:// sources are reached, where there can be any. */
  s3: s3SpecSchema.optional(),
  /** How an s3:// destination is reached, where that is another service or another identity. */
  s3Destination: s3SpecSchema.optional(),
  /** Objects of an s3:// destination are looked at before they count as unchanged. A local one always is. */
  checkDestination: z.boolean().optional(),
  resume: z.boolean(),
  durable: z.boolean(),
  /** Carried by a fleet's workers rather than by one process. */
  fleet: z.boolean().default(false),
  /** It has request headers of its own: no other run may be served by its files. */
  ownFlights: z.boolean().default(false),
});

export type RunSpec = z.infer<typeof runSpecSchema>;

/** Everything that a run writes below. */
export function rootsWritten({ root, delete: deletion }: Pick<RunSpec, "root" | "delete">): string[] {
  return deletion?.backupDir === undefined ? [root] : [root, deletion.backupDir];
}

/** What of a run must stay secret: it lives in one expiring key. */
export interface RunSecrets {
  /** The person's own request headers. */
  headers: Record<string, string>;
  /** Sources of the command line with their secrets, in the order of the spec's. */
  sources: string[];
}

export type RunState = "running" | "interrupted" | "done" | "cancelled";

export interface RunCounts {
  /** Files that were registered. */
  files: number;
  settled: number;
  copied: number;
  unchanged: number;
  /** Removed at the destination. */
  deleted: number;
  failed: number;
  blocked: number;
  locked: number;
  cancelled: number;
}

/** Files of a run that are as they are meant to be. */
export function successfulFiles(counts: RunCounts): number {
  return counts.copied + counts.unchanged + counts.deleted;
}

export interface Run {
  id: string;
  state: RunState;
  startedMs: number;
  endedMs: number | undefined;
  /** Process that works on it (a fleet's run: that expands it), see process-name.ts; "" for none. */
  owner: string;
  spec: RunSpec;
  /** Number of the last batch that was registered. */
  batch: number;
  /** Where the expansion stands (JSON), or "". */
  cursor: string;
  /** Every source has been expanded, and what is to be removed is registered. */
  sealed: boolean;
  /** Why nothing was removed although it was asked for, or "". */
  deletionRefused: string;
  bytes: number;
  /** How often it was resumed or retried. */
  generation: number;
}

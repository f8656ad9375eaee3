import { z } from "zod";
import { leaveSchema } from "./leave.js";
import type { Login } from "./logins.js";
import { BACKUPS, DIRECTIONS, STRATEGIES } from "./pair/decide.js";
import { runBudgetSchema } from "./run-budget.js";
import type { CustomerKeyTexts, S3Keys } from "./storage/s3/object/customer-key.js";
import { s3ObjectOptionsSchema } from "./storage/s3/object/object-options.js";
import { s3SpecSchema } from "./storage/s3/service/spec.js";

/** Parameters of a run as stored in Redis: without secrets, and sufficient to resume it after a kill. */
export const runSpecSchema = z.object({
  /** Which command it is a run of. Absent in runs of earlier versions: see {@link kindOf}. */
  kind: z.enum(["sync", "fetch"]).optional(),
  /** Root of the destination tree: an absolute path, or `s3://bucket/prefix`. */
  root: z.string(),
  /** What its user calls it. */
  label: z.string().optional(),
  /** Absolute path that relative paths of a list start at. */
  directory: z.string(),
  /** Sources of the command line in order, without secrets; paths are absolute. */
  sources: z.array(z.string()),
  /** Whether `*`, `?`, `[…]` and `{…}` in `s3://` sources and lines of the list choose objects. Default: they are characters. */
  wildcards: z.literal(true).optional(),
  /** Absolute path of the list of sources; for a pipe, of its copy. */
  list: z.string().optional(),
  /** Size and modification time of the list when the run began. */
  listStamp: z.string().optional(),
  /** Whether the list came through standard input or another pipe. Its copy is in the state directory. */
  listIsStdin: z.boolean().default(false),
  /** Whether the list came with the request: it is kept in Redis with the secrets until the run has read it. */
  listIsStored: z.literal(true).optional(),
  /** What a line of the list means; absent from runs of the time before comments, headers and lines of `sha256sum`. */
  listSyntax: z.literal("forms").optional(),
  patterns: z.array(z.string()),
  /** `+ pattern` and `- pattern`, in order. */
  filters: z.array(z.string()),
  /** What patterns and filters mean; absent from runs of the time before rclone's syntax, which keep their meaning. */
  patternSyntax: z.literal("rclone").optional(),
  /** Limits of size (bytes) and modification time (Unix ms) for files found in directories and prefixes. */
  minSizeBytes: z.number().optional(),
  maxSizeBytes: z.number().optional(),
  minMtimeMs: z.number().optional(),
  maxMtimeMs: z.number().optional(),
  /** Whether links to directories are followed in local sources. */
  followLinks: z.literal(true).optional(),
  /** Removes files at the end that are at the destination but not at the sources. */
  delete: z
    .object({
      /** Limit, in files or percent of the existing files. Beyond it nothing is removed. */
      most: z.object({ files: z.number() }).or(z.object({ percent: z.number() })),
      /** Also removes what the filters leave out. */
      excluded: z.literal(true).optional(),
      /** Moves a file that was renamed at its source, rather than copying it and removing the former copy. */
      renames: z.literal(true).optional(),
      /** The `dir` of the backup, for workers that do not know `backup`, and in runs that were recorded before it. */
      backupDir: z.string().optional(),
    })
    .optional(),
  /** Keeps the files that are overwritten or removed. */
  backup: z
    .object({
      /** Where they are kept, in the same storage and service as the root. Default: beside the new file. */
      dir: z.string().optional(),
      /** Added to their names. Not "" where there is no `dir`. */
      suffix: z.string().default(""),
    })
    .optional(),
  /** Most files that may be registered but not yet settled; beyond it the listing waits. */
  backlogHighWater: z.number().default(200_000),
  layout: z.enum(["name", "url"]),
  /** Whether the servers of URLs name the files, by Content-Disposition. */
  namesFromHeader: z.literal(true).optional(),
  /** Expected SHA-256 by source (without secrets). */
  checksums: z.record(z.string(), z.string()),
  /** Explicit destination name, for a single file. */
  destination: z.string().optional(),
  retries: z.number(),
  timeoutMs: z.number(),
  backoffFactor: z.number(),
  /** Delay before the second attempt, in milliseconds. Default 1,000. */
  backoffBaseMs: z.number().optional(),
  jitter: z.enum(["full", "near"]),
  circuitTtlMs: z.number(),
  circuitThreshold: z.number(),
  breakerWaitMs: z.number(),
  openWhenSpent: z.boolean(),
  whenBusy: z.enum(["wait", "skip-same-source"]),
  maxWorkers: z.number(),
  maxFileSizeBytes: z.number().optional(),
  bytesPerSecond: z.number().optional(),
  /** User-Agent of requests that have none of their own. Default: Drover and its version. */
  userAgent: z.string().optional(),
  /** How s3:// sources are reached, if there can be any. */
  s3: s3SpecSchema.optional(),
  /** How an s3:// destination is reached, if its service or credentials differ from the sources'. */
  s3Destination: s3SpecSchema.optional(),
  /** What the objects of an s3:// destination are to have. Default: what source and service say. */
  s3Objects: s3ObjectOptionsSchema.optional(),
  /** Which objects are encrypted with keys of the user, which are among the secrets of the run. Default: none. */
  s3CustomerKeys: z.array(z.enum(["source", "destination"])).optional(),
  /**
   * Whether objects of an s3:// destination are checked before they count as unchanged. Local files always
   * are.
   */
  checkDestination: z.boolean().optional(),
  resume: z.boolean(),
  /** Most streams that one large file is fetched by. Default: 16. */
  streams: z.number().optional(),
  /** Whether to read every file again, also what is known to be unchanged. Default false. */
  ignoreTimes: z.literal(true).optional(),
  /** Which files are left as they are although they may be others. Default: none. */
  leave: leaveSchema.optional(),
  durable: z.boolean(),
  /** How many outcomes are kept, the newest, and for how long after the run ended (ms). Default: none. */
  keepOutcomes: z.object({ most: z.number(), ms: z.number() }).optional(),
  /** When the run is cancelled unless it has ended (Unix ms). */
  deadlineMs: z.number().optional(),
  /** The run is cancelled once so many files failed or were blocked. */
  stopAfterFailures: z.number().optional(),
  /** The run is cancelled once one of them is used up. */
  budgets: z.array(runBudgetSchema).optional(),
  /** Whether a fleet's workers carry the files, rather than one process. */
  fleet: z.boolean().default(false),
  /** Whether the run has its own request headers, so that it must not share files with other runs. */
  ownFlights: z.boolean().default(false),
  /**
   * What becomes of the copy of an object that an item of the list names and that is gone: it stays, or is removed if the
   * catalog says that it came from that object. Neither is a failure, and such items are not looked at before they are
   * queued. Default: an item that is not there is a failure.
   */
  whenGone: z.enum(["leave", "remove"]).optional(),
  /** `acl`: where nothing else says what permissions a copy has, the access list of its object does. Default: it is not read. */
  permissions: z.enum(["acl"]).optional(),
  /** `traceparent` of its submission (W3C Trace Context): what is done for it belongs to that trace. */
  traceparent: z.string().optional(),
  /**
   * A two-way sync: its root is the local side. Its files are planned before it is submitted, and each is decided on anew
   * where it is not as planned.
   */
  pair: z
    .object({
      id: z.string(),
      /** Root of the other side. */
      remote: z.string(),
      direction: z.enum(DIRECTIONS),
      strategy: z.enum(STRATEGIES),
      backups: z.enum(BACKUPS),
      noDelete: z.boolean(),
      /** Where replaced and deleted versions of each side are kept, in the same storage: a directory for each run. */
      backupDirs: z.object({ local: z.string(), remote: z.string() }),
      /** Whether the bucket keeps versions, which are the backup of the remote side then. */
      versioned: z.literal(true).optional(),
      /** Added to times of the local clock to have those of the service (ms); absent where no time can be believed. */
      clockOffsetMs: z.number().optional(),
      /** Whether names of conflict copies end in what was added. */
      suffixed: z.literal(true).optional(),
    })
    .optional(),
  /** Whether its URLs came from somebody who must not aim the machine that fetches them at its own network. */
  guarded: z.boolean().optional(),
  /** Directories, with links resolved, that its local files must lie in when they are read. Default: anywhere. */
  readsBelow: z.array(z.string()).optional(),
});

export type RunSpec = z.infer<typeof runSpecSchema> & {
  /** Keys of the user that objects are encrypted with: in the process that uses them alone, never stored. */
  s3Keys?: S3Keys;
};

/** Which command a run is of. */
export function kindOf({ kind, whenBusy }: Pick<RunSpec, "kind" | "whenBusy">): "sync" | "fetch" {
  return kind ?? (whenBusy === "skip-same-source" ? "fetch" : "sync");
}

/** Where and by which names a run keeps the files that it overwrites or removes; undefined if it does not. */
export function backupOf({
  backup,
  delete: deletion,
}: Pick<RunSpec, "backup" | "delete">): RunSpec["backup"] {
  if (backup !== undefined || deletion?.backupDir === undefined) return backup;
  return { dir: deletion.backupDir, suffix: "" };
}

/** Suffix of the files that a run keeps in the destination itself, beside the new ones; undefined if it keeps none there. */
export function suffixBeside(spec: Pick<RunSpec, "backup" | "delete">): string | undefined {
  const backup = backupOf(spec);
  return backup?.dir === undefined ? backup?.suffix : undefined;
}

/** All roots that a run writes below. */
export function rootsWritten(spec: Pick<RunSpec, "root" | "backup" | "delete" | "pair">): string[] {
  const { root, pair } = spec;
  if (pair) {
    const { local, remote } = pair.backupDirs;
    return [root, pair.remote, ...(pair.backups === "none" ? [] : [local, remote])];
  }
  const dir = backupOf(spec)?.dir;
  return dir === undefined ? [root] : [root, dir];
}

/** Ends of a run that its webhook may be told of. */
export const WEBHOOK_EVENTS = ["done", "failed", "cancelled"] as const;
export type WebhookEvent = (typeof WEBHOOK_EVENTS)[number];

/** Where the end of a run is told of. */
export const webhookTargetSchema = z.object({
  url: z.string(),
  /** The deliveries are signed with it. */
  secret: z.string().optional(),
  events: z.array(z.enum(WEBHOOK_EVENTS)),
});
export type WebhookTarget = z.infer<typeof webhookTargetSchema>;

/** Secrets of a run, stored in one expiring key; but for the webhook, which has one of its own until it has ended. */
export interface RunSecrets {
  /** The user's request headers. */
  headers: Record<string, string>;
  /** Sources of the command line including their secrets, in the order of the spec. */
  sources: string[];
  /** URL that names of `sha256sum` in the list are below; undefined for paths. */
  baseUrl?: string | undefined;
  /** The list, where the run has `listIsStored`. */
  list?: string | undefined;
  /** Users and passwords for URLs in the list, until all of it is submitted. Default: none. */
  logins?: Login[] | undefined;
  /** Keys that objects are encrypted with. Default: none. */
  customerKeys?: CustomerKeyTexts | undefined;
  /** Where the end of the run is told of. Default: nowhere. */
  webhook?: WebhookTarget | undefined;
}

export type RunState = "running" | "interrupted" | "done" | "cancelled";

export interface Run {
  id: string;
  state: RunState;
  startedMs: number;
  endedMs: number | undefined;
  /**
   * Name of the process that works on the run (for a fleet: that expands it), see process-name.ts; "" for
   * none.
   */
  owner: string;
  spec: RunSpec;
  /** Number of the last registered batch. */
  batch: number;
  /** Cursor of the expansion (JSON), or "". */
  cursor: string;
  /** Whether every source has been expanded and every removal registered. */
  sealed: boolean;
  /** Why nothing was removed although deletion was requested, or "". */
  deletionRefused: string;
  /** Why it was cancelled by itself, or "". */
  stoppedBecause: string;
  /** Sum of the sizes of the files that arrived or were there already. */
  bytes: number;
  /** Sum of the sizes of the files that were copied; 0 in runs of versions that did not count them. */
  copiedBytes: number;
  /** How often the run was resumed or retried. */
  generation: number;
}

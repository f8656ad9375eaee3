import { z } from "zod";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits in lower case");
const bytes = z.number().int().nonnegative();

/** Which files a run is about. */
const selectionSchema = z.strictObject({
  /** URLs, `s3://bucket/key`, paths; with their secrets. Relative paths are relative to the request's directory. */
  sources: z.array(z.string()).default([]),
  /** A list of sources, one a line: the path of a file or of a pipe, or `-` for this process' standard input. */
  list: z.string().optional(),
  /** Files of directories and prefixes to take; `!glob` excludes. */
  patterns: z.array(z.string()).default(["*"]),
  /** `+ glob` and `- glob`: the first that matches a file decides. */
  filters: z.array(z.string()).default([]),
  /** Of what is found in directories and prefixes, only files of these sizes (bytes) and times (Unix ms) are taken. */
  minSizeBytes: bytes.optional(),
  maxSizeBytes: bytes.optional(),
  minMtimeMs: z.number().optional(),
  maxMtimeMs: z.number().optional(),
  /** Expected SHA-256 of sources. */
  checksums: z.array(z.strictObject({ source: z.string(), sha256 })).default([]),
  /** Request headers for the sources' own hosts. */
  headers: z.record(z.string(), z.string()).default({}),
});

/** Where the files go. */
const destinationSchema = z.strictObject({
  /** A directory, absolute or relative to the request's directory, or `s3://bucket/prefix`. */
  root: z.string(),
  /** Name of the one file, below the root. Defaults to what the source is called. */
  name: z.string().optional(),
  /** Name of a URL's file: its last segment, or host and path. */
  layout: z.enum(["name", "url"]).default("name"),
  /** Look whether others changed objects since they were written. A local destination is always looked at. */
  check: z.boolean().optional(),
  /** fsync files and directories, or leave that to the system. */
  durability: z.enum(["fsync", "rename"]).default("fsync"),
  /** Remove what no source has. */
  delete: z
    .strictObject({
      /** Nothing is removed where it would be more: files, or percent of those that are there. */
      most: z.union([
        z.strictObject({ files: bytes }),
        z.strictObject({ percent: z.number().min(0).max(100) }),
      ]),
      /** Keeps what is removed: of the kind of the root. */
      backupDir: z.string().optional(),
    })
    .optional(),
});

/** How each file is carried. */
const termsSchema = z.strictObject({
  /** Tries per file in all. */
  retries: z.number().int().positive().default(5),
  /** For connecting, for the answer, and for each KiB of the body. */
  timeoutMs: z.number().positive().default(300_000),
  /** Growth of the delay between tries, which begins with a second. */
  backoffFactor: z.number().min(1).default(1.5),
  /** `full`: anything up to the delay. `near`: within a quarter of it. */
  jitter: z.enum(["full", "near"]).default("full"),
  /** Files at once. Defaults to 8; to what the workers of a fleet carry. */
  maxWorkers: z.number().int().positive().optional(),
  maxFileSizeBytes: bytes.optional(),
  bytesPerSecond: z.number().positive().optional(),
  /** Go on where an earlier try stopped in a file. */
  resume: z.boolean().default(true),
  /** What to do while somebody else writes the same destination. */
  whenBusy: z.enum(["wait", "skip-same-source"]).default("wait"),
  /** Files that may be found and not settled at once. */
  backlogHighWater: z.number().int().positive().default(200_000),
});

/** The circuit breaker of each host. */
const breakerSchema = z.strictObject({
  /** Failures in a row that open it. */
  threshold: z.number().int().positive().default(5),
  /** How long it stays open. */
  ttlMs: z.number().nonnegative().default(300_000),
  /** How long the run waits for an open one. Defaults to `ttlMs`. */
  waitMs: z.number().nonnegative().optional(),
  /** Open it when the tries of a file are spent, whatever the threshold. */
  openWhenSpent: z.boolean().default(false),
});

const s3ServiceSchema = z.strictObject({
  /** URL of the service. Defaults to that of the profile, else to AWS's. */
  endpoint: z.string().optional(),
  /** Defaults to that of the profile, else to us-east-1. */
  region: z.string().optional(),
  /** Profile of the AWS configuration files. Credentials are looked up by whoever needs them. */
  profile: z.string().optional(),
});

/** How `s3://` is reached. */
const s3Schema = s3ServiceSchema.extend({
  /** Bucket of `s3:///key`. */
  bucket: z.string().optional(),
  /** `endpoint/bucket/key`. Defaults to true for any service but AWS. */
  pathStyle: z.boolean().optional(),
  /** Uploads carry a checksum that the service keeps. Defaults to `when-supported` at AWS, else to `when-required`. */
  checksums: z.enum(["when-supported", "when-required"]).optional(),
  /** Requests for sources are not signed. */
  anonymous: z.boolean().default(false),
  requesterPays: z.boolean().default(false),
  /** The service that is written to, where it is another one. */
  destination: s3ServiceSchema.optional(),
});
export type S3Request = z.infer<typeof s3Schema>;

/** What a run is asked to do, as a person or a program says it: a plain object. */
export const runRequestSchema = z.strictObject({
  /** What relative paths are relative to: an absolute path. */
  directory: z.string(),
  /** Where Drover keeps its state: nothing of it may be removed. */
  stateDir: z.string(),
  /** Who carries the files: the process that submits them, or the workers of a fleet. */
  carriedBy: z.enum(["process", "fleet"]).default("process"),
  selection: selectionSchema,
  destination: destinationSchema,
  terms: termsSchema.prefault({}),
  breaker: breakerSchema.prefault({}),
  s3: s3Schema.prefault({}),
});
/** A complete request. */
export type RunRequest = z.infer<typeof runRequestSchema>;
/** A request as it is given: what has a default may be left out. */
export type RunRequestInput = z.input<typeof runRequestSchema>;

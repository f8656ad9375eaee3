import { s3ObjectOptionsSchema } from "@drover/shared/storage/s3/object/object-options";
import { z } from "zod";
import { priceTableSchema } from "../../prices/price-table.js";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits in lower case");
const bytes = z.number().int().nonnegative();

/** Which files a run carries. */
const selectionSchema = z.strictObject({
  /**
   * URLs, `s3://bucket/key` or paths, including their secrets. Relative paths start at the request's
   * directory.
   */
  sources: z.array(z.string()).default([]),
  /** Whether `*`, `?`, `[…]` and `{…}` in `s3://` sources choose objects. Default: they are characters of a key. */
  wildcards: z.boolean().default(false),
  /** List of sources in one of the forms of docs/lists.md: path of a file or pipe, or `-` for this process's standard input. */
  list: z.string().optional(),
  /** The list itself, instead of where it is. It is kept in Redis until the run has read it. */
  listText: z.string().optional(),
  /** http(s) URL that names of `sha256sum` in the list are below. Default: they are paths. */
  baseUrl: z.string().optional(),
  /** Globs of files to take from directories and prefixes; `!glob` excludes. */
  patterns: z.array(z.string()).default(["*"]),
  /** `+ glob` and `- glob`: the first that matches a file decides. */
  filters: z.array(z.string()).default([]),
  /** Limits of size (bytes) and modification time (Unix ms) for files found in directories and prefixes. */
  minSizeBytes: bytes.optional(),
  maxSizeBytes: bytes.optional(),
  minMtimeMs: z.number().optional(),
  maxMtimeMs: z.number().optional(),
  /** Whether links to directories are followed in local sources. Links to files always are. */
  followLinks: z.boolean().default(false),
  /** Expected SHA-256 of sources. */
  checksums: z.array(z.strictObject({ source: z.string(), sha256 })).default([]),
  /** Request headers, sent to the sources' own hosts. */
  headers: z.record(z.string(), z.string()).default({}),
  /** Users and passwords for URLs in the list that have none, by host in lower case; without a host for all others. */
  logins: z
    .array(z.strictObject({ host: z.string().optional(), login: z.string(), password: z.string() }))
    .default([]),
});

/** Where the files are written. */
const destinationSchema = z.strictObject({
  /** Directory, absolute or relative to the request's directory, or `s3://bucket/prefix`. */
  root: z.string(),
  /** Name of a single file below the root. Defaults to the name of the source. */
  name: z.string().optional(),
  /** Whether the root is the file itself where one file is the only source and no directory is there. */
  rootMayBeFile: z.boolean().default(false),
  /** Name of a URL's file: its last segment (`name`), or host and path (`url`). */
  layout: z.enum(["name", "url"]).default("name"),
  /** Whether the servers of URLs name the files, by Content-Disposition. */
  namesFromHeader: z.boolean().default(false),
  /** Whether to check that objects are as they were written. A local destination is always checked. */
  check: z.boolean().optional(),
  /** Files that are left as they are although they may be others. Default: none. */
  leave: z
    .strictObject({
      /** Files that are newer at the destination than at their source. */
      newer: z.boolean().optional(),
      /** Files that the destination has. */
      existing: z.boolean().optional(),
      /** Files that the destination does not have. */
      missing: z.boolean().optional(),
      /** By what a file counts as the same. Default: by its version in the catalog, else by its bytes. */
      same: z.enum(["size", "checksum"]).optional(),
    })
    .optional(),
  /** `fsync` flushes files and directories to disk; `rename` leaves that to the system. */
  durability: z.enum(["fsync", "rename"]).default("fsync"),
  /** Removes files that no source has. */
  delete: z
    .strictObject({
      /** Limit, in files or percent of the existing files. Beyond it nothing is removed. */
      most: z.union([
        z.strictObject({ files: z.number().nonnegative() }),
        z.strictObject({ percent: z.number().min(0).max(100) }),
      ]),
      /** Also removes what the filters leave out. */
      excluded: z.boolean().default(false),
      /** Moves a file that was renamed at its source, rather than copying it and removing the former copy. */
      renames: z.boolean().default(false),
    })
    .optional(),
  /** Keeps the files that are overwritten or removed. */
  backup: z
    .strictObject({
      /** Where they are kept, in the same storage as the root. Defaults to the place beside the new file. */
      dir: z.string().optional(),
      /** Added to their names, without `/`. Needed if there is no `dir`. */
      suffix: z.string().optional(),
    })
    .optional(),
});

/** How each file is carried. */
const termsSchema = z.strictObject({
  /** Attempts per file, including the first. */
  retries: z.number().int().positive().default(5),
  /** Time limit in ms for connecting, for the response, and for each KiB of the body. */
  timeoutMs: z.number().positive().default(300_000),
  /** Growth of the delay between attempts, which starts at `backoffBaseMs`. */
  backoffFactor: z.number().min(1).default(1.5),
  /** Delay before the second attempt, in ms. Default 1,000. */
  backoffBaseMs: z.number().nonnegative().optional(),
  /** `full`: a random time up to the delay. `near`: within a quarter of the delay. */
  jitter: z.enum(["full", "near"]).default("full"),
  /** Files at once. Defaults to 8; for a fleet to the capacity of its workers. */
  maxWorkers: z.number().int().positive().optional(),
  maxFileSizeBytes: bytes.optional(),
  bytesPerSecond: z.number().positive().optional(),
  /** User-Agent of requests whose headers have none. Default: Drover and its version. */
  userAgent: z
    .string()
    .regex(/^[\x20-\x7e]+$/, "printable ASCII")
    .optional(),
  /** Most streams that one large file is fetched by. Default: 16. */
  streams: z.number().int().min(1).max(64).optional(),
  /** Whether to continue a file where an earlier attempt stopped. */
  resume: z.boolean().default(true),
  /** Whether to read every file again, also what is known to be unchanged. */
  ignoreTimes: z.boolean().default(false),
  /** What to do while another run writes the same destination. */
  whenBusy: z.enum(["wait", "skip-same-source"]).default("wait"),
  /** When the run is cancelled unless it has ended (Unix ms). Default: never. A retry goes on without. */
  deadlineMs: z.number().positive().optional(),
  /** The run is cancelled once so many files failed or were blocked. Default: never. A retry goes on without. */
  stopAfterFailures: z.number().int().positive().optional(),
  /** The run is cancelled once it has copied so many bytes. Default: never. A retry goes on without. */
  maxBytes: z.number().int().positive().optional(),
  /** The run is cancelled once it has cost so much by `prices`. Default: never. A retry goes on without. */
  maxCost: z.number().positive().optional(),
  /** What requests and bytes cost. */
  prices: priceTableSchema.optional(),
  /** Most files that may be registered but not yet settled; beyond it the listing waits. */
  backlogHighWater: z.number().int().positive().default(200_000),
});

/** The circuit breaker of each host. */
const breakerSchema = z.strictObject({
  /** Consecutive failures that open it. */
  threshold: z.number().int().positive().default(5),
  /** Time in ms that it stays open. */
  ttlMs: z.number().nonnegative().default(300_000),
  /** Time in ms that the run waits for an open breaker. Defaults to `ttlMs`. */
  waitMs: z.number().nonnegative().optional(),
  /** Whether to open it when a file has used up its attempts, regardless of the threshold. */
  openWhenSpent: z.boolean().default(false),
});

const customerKey = z
  .string()
  .refine((text) => /^[A-Za-z0-9+/]{43}=$/.test(text), "a key of 32 bytes in base64");

const s3ServiceSchema = z.strictObject({
  /** URL of the service. Defaults to that of the profile, then to AWS. */
  endpoint: z.string().optional(),
  /** Defaults to that of the profile, then to us-east-1. */
  region: z.string().optional(),
  /** Profile of the AWS configuration files. The process that needs the credentials looks them up. */
  profile: z.string().optional(),
});

/** How `s3://` is reached. */
const s3Schema = s3ServiceSchema.extend({
  /** Bucket of `s3:///key`. */
  bucket: z.string().optional(),
  /** Whether URLs have the form `endpoint/bucket/key`. Defaults to true for services other than AWS. */
  pathStyle: z.boolean().optional(),
  /**
   * Whether uploads carry a checksum that the service stores. Defaults to `when-supported` for AWS, else to
   * `when-required`.
   */
  checksums: z.enum(["when-supported", "when-required"]).optional(),
  /** Whether the profile is that of the environment, not one that was asked for: it may stand beside `anonymous`. */
  ambientProfile: z.boolean().default(false),
  /** Whether requests for sources are unsigned. */
  anonymous: z.boolean().default(false),
  requesterPays: z.boolean().default(false),
  /** The service of the destination, if it differs. */
  destination: s3ServiceSchema.optional(),
  /** What the objects of an `s3://` destination are to have. */
  objects: s3ObjectOptionsSchema.optional(),
  /** Which side `objects` is about: a sync of a pair writes to its source. */
  objectsOf: z.enum(["destination", "source"]).default("destination"),
  /** Keys of 32 bytes in base64 that objects are encrypted with, and that the service does not keep (SSE-C). */
  customerKeys: z
    .strictObject({ source: customerKey.optional(), destination: customerKey.optional() })
    .optional(),
});
export type S3Settings = z.infer<typeof s3Schema>;

/** What a run is asked to do: a plain object. */
export const runRequestSchema = z.strictObject({
  /** Absolute path that relative paths start at. */
  directory: z.string(),
  /** State directory of Drover, which a deletion must never touch. */
  stateDir: z.string(),
  /** Which command it is of. Each kind has its own share of the runs that are kept. */
  kind: z.enum(["sync", "fetch"]).default("sync"),
  /** What its user calls the run. */
  label: z.string().optional(),
  /** Who carries the files: the submitting process, or the workers of a fleet. */
  carriedBy: z.enum(["process", "fleet"]).default("process"),
  /**
   * Whether its URLs come from somebody who must not aim the machine that fetches them at its own network: they may then
   * lead only to public addresses, and to what a worker allows.
   */
  guarded: z.boolean().default(false),
  /** Of how many files, the newest, it is kept what became of them, and for how long after the run ended (ms). */
  keepOutcomes: z
    .strictObject({ most: z.number().int().nonnegative(), ms: z.number().nonnegative() })
    .default({ most: 10_000, ms: 86_400_000 }),
  /**
   * What becomes of the copy of an object that `listText` names and that is gone, which is no failure then: see the run's
   * spec. Default: it is a failure.
   */
  whenGone: z.enum(["leave", "remove"]).optional(),
  /** Whether access lists of objects are read: see the run's spec. Default: they are not. */
  permissions: z.enum(["acl"]).optional(),
  /** Trace that the run belongs to (W3C Trace Context); one that is malformed begins a new trace. */
  traceparent: z.string().optional(),
  selection: selectionSchema,
  destination: destinationSchema,
  terms: termsSchema.prefault({}),
  breaker: breakerSchema.prefault({}),
  s3: s3Schema.prefault({}),
});
/** A complete request. */
export type RunRequest = z.infer<typeof runRequestSchema>;
/** A request as given: fields with a default may be absent. */
export type RunRequestInput = z.input<typeof runRequestSchema>;

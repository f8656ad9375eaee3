import { listItems } from "@drover/producer/expand/list-items";
import { type PlannedRun, planRun } from "@drover/producer/runs/plan/plan";
import type { RunRequest, RunRequestInput } from "@drover/producer/runs/plan/request";
import { messageOf } from "@drover/shared/errors";
import { isBelow, liesWithin, realAncestor } from "@drover/shared/paths";
import { ListingError } from "@drover/shared/storage/listing-error";
import { parseLocation } from "@drover/shared/storage/registry";
import { s3ObjectOptionsSchema } from "@drover/shared/storage/s3/object/object-options";
import { z } from "zod";
import type { ServiceConfig } from "../config.js";
import { Problem } from "../http/problem.js";
import { webhookRequestSchema } from "../webhooks/schema.js";

const seconds = z.number().positive().max(86_400);
const bytes = z.int().min(0);
const instant = z.iso.datetime({ offset: true });
const MOST_SOURCES = 1_000;
const objectOptions = s3ObjectOptionsSchema.shape;

/** What objects are to have. */
export const s3ObjectsSchema = z
  .strictObject({
    storage_class: objectOptions.storageClass,
    cache_control: objectOptions.cacheControl,
    content_type: objectOptions.contentType,
    content_disposition: objectOptions.contentDisposition,
    content_encoding: objectOptions.contentEncoding,
    content_language: objectOptions.contentLanguage,
    metadata: objectOptions.metadata,
    tags: objectOptions.tags,
    part_size: objectOptions.partBytes,
  })
  .meta({
    description:
      "What the objects of an `s3://bucket/prefix` are to have. Access lists, encryption and its keys are not for requests.",
  });

/** What `POST /api/v1/runs` takes: what `drover sync` can say, but for what belongs to the server. */
export const submissionSchema = z
  .strictObject({
    sources: z
      .array(z.string().min(1).max(8_192))
      .max(MOST_SOURCES)
      .optional()
      .meta({
        description:
          "URLs, `s3://bucket/key`, `s3://bucket/prefix/`, `s3://bucket/2026/*.gz`, files or directories below the server's roots. More than 1,000 are given as `files` or `list`.",
        example: ["https://example.com/data/a.csv"],
      }),
    files: z
      .array(
        z.strictObject({
          source: z.string().min(1).max(8_192),
          name: z.string().min(1).max(4_096).optional().meta({ description: "Path below the destination." }),
          sha256: z
            .string()
            .regex(/^[0-9a-fA-F]{64}$/)
            .optional(),
        }),
      )
      .max(100_000)
      .optional()
      .meta({ description: "Single files, with names and checksums of their own." }),
    list: z.string().optional().meta({
      description:
        "A list of sources as `drover sync --from-file` reads it: lines, CSV or TSV with a header, or sha256sum.",
    }),
    base_url: z.url().optional().meta({ description: "What names of `sha256sum` in the list are below." }),
    to: z
      .string()
      .min(1)
      .max(4_096)
      .meta({ description: "Destination: a directory below the server's roots, or `s3://bucket/prefix`." }),
    name: z.string().min(1).max(4_096).optional().meta({ description: "Name of the only file below `to`." }),
    label: z.string().max(200).optional(),
    layout: z.enum(["name", "url"]).optional(),
    name_from_header: z
      .boolean()
      .optional()
      .meta({ description: "Names files of URLs as their servers say (Content-Disposition)." }),
    patterns: z
      .array(z.string())
      .max(1_000)
      .optional()
      .meta({ example: ["*.csv"] }),
    filters: z
      .array(z.string().regex(/^[+-] /, "must begin with '+ ' or '- '"))
      .max(1_000)
      .optional()
      .meta({ description: "`+ glob` or `- glob`: the first that matches a file decides." }),
    min_size: bytes.optional(),
    max_size: bytes.optional(),
    modified_after: instant.optional(),
    modified_before: instant.optional(),
    checksums: z
      .record(z.string(), z.string().regex(/^[0-9a-fA-F]{64}$/))
      .optional()
      .meta({ description: "SHA-256 by source." }),
    headers: z
      .record(z.string(), z.string())
      .optional()
      .meta({ description: "Sent to the sources' own hosts. Kept apart from the run, as secrets." }),
    delete: z.boolean().optional().meta({ description: "Removes at the destination what no source has." }),
    max_delete: z
      .union([z.int().min(0), z.string().regex(/^\d+(\.\d+)?%$/)])
      .optional()
      .meta({
        description: "Most files, or percent of the existing ones, that are removed; else none. Default 50%.",
      }),
    delete_excluded: z
      .boolean()
      .optional()
      .meta({ description: "With `delete`: also removes what the filters leave out." }),
    track_renames: z
      .boolean()
      .optional()
      .meta({ description: "With `delete`: moves what was renamed at its source." }),
    copy_links: z
      .boolean()
      .optional()
      .meta({ description: "Follows links to directories, within the server's roots." }),
    backup_dir: z.string().min(1).optional(),
    suffix: z.string().min(1).max(100).optional(),
    check_destination: z.boolean().optional(),
    durability: z.enum(["fsync", "rename"]).optional(),
    retries: z.int().min(1).max(1_000).optional().meta({ description: "Tries per file in all." }),
    timeout: seconds.optional().meta({ description: "Seconds." }),
    backoff_factor: z.number().min(1).max(10).optional(),
    max_workers: z.int().min(1).max(1_024).optional(),
    max_file_size: bytes.min(1).optional(),
    streams: z
      .int()
      .min(1)
      .max(64)
      .optional()
      .meta({ description: "Most streams that one large file is fetched by. Default: 16." }),
    bwlimit: bytes.min(1).optional().meta({ description: "Bytes per second." }),
    user_agent: z.string().max(200).optional(),
    resume: z.boolean().optional(),
    ignore_times: z
      .boolean()
      .optional()
      .meta({ description: "Reads every file again, also what is known to be unchanged." }),
    update: z.boolean().optional().meta({ description: "Leaves files that are newer at the destination." }),
    ignore_existing: z
      .boolean()
      .optional()
      .meta({ description: "Leaves all files that the destination has." }),
    existing: z
      .boolean()
      .optional()
      .meta({ description: "Leaves out all files that the destination does not have." }),
    size_only: z.boolean().optional().meta({ description: "Leaves files of the same size." }),
    checksum_only: z
      .boolean()
      .optional()
      .meta({ description: "Leaves files of the same bytes; trusts no time and no catalog." }),
    circuit_ttl: seconds.optional(),
    breaker_wait: z.number().min(0).max(86_400).optional(),
    deadline: z
      .union([instant, z.number().positive().max(315_360_000)])
      .optional()
      .meta({
        description: "When the run is cancelled unless it has ended: an instant, or seconds from now.",
      }),
    stop_after_failures: z
      .int()
      .min(1)
      .optional()
      .meta({ description: "Files that may fail or be blocked before the rest is cancelled." }),
    max_bytes: bytes
      .min(1)
      .optional()
      .meta({ description: "Bytes that may be copied before the rest is cancelled." }),
    max_cost: z.number().positive().optional().meta({
      description:
        "What may be spent before the rest is cancelled, in the currency of the server's price table. Refused where it has none.",
    }),
    keep_outcomes: z.int().min(0).max(1_000_000).optional(),
    s3: s3ObjectsSchema.optional(),
    webhook: webhookRequestSchema.optional().meta({ description: "Told of when the run has ended." }),
  })
  .meta({ id: "RunRequest" });

export type Submission = z.infer<typeof submissionSchema>;
/** A request as it is written. */
export type SubmissionInput = z.input<typeof submissionSchema>;

/**
 * Checks a request and plans its run.
 *
 * @throws SettingsError, Problem for what cannot be, or is outside of what the server allows.
 */
export async function planSubmission(given: Submission, config: ServiceConfig): Promise<PlannedRun> {
  const request = requestOf(given, config);
  const planned = await planRun(request);
  const { spec } = planned;
  spec.readsBelow = config.roots.filter((root) => root.startsWith("/")).map(realAncestor);
  const written = [spec.root, ...(spec.backup?.dir === undefined ? [] : [spec.backup.dir])];
  for (const root of written) refuseOutside(root, config, "destination");
  for (const source of spec.sources) refuseOutside(source, config, "source");
  if (planned.secrets.list !== undefined) await checkList(planned.secrets.list, request, config);
  return planned;
}

function requestOf(given: Submission, config: ServiceConfig): RunRequestInput {
  const { terms, breaker } = termsOf(given, config);
  const listText = listOf(given);
  return {
    directory: config.downloadDir,
    stateDir: config.stateDir,
    carriedBy: "fleet",
    guarded: true,
    ...(given.label === undefined ? {} : { label: given.label }),
    keepOutcomes: {
      ...config.keepOutcomes,
      ...(given.keep_outcomes === undefined ? {} : { most: given.keep_outcomes }),
    },
    selection: {
      sources: given.sources ?? [],
      wildcards: given.files === undefined, // those are names of single files
      ...(listText === undefined ? {} : { listText }),
      ...(given.base_url === undefined ? {} : { baseUrl: given.base_url }),
      patterns: given.patterns ?? ["*"],
      filters: given.filters ?? [],
      followLinks: given.copy_links,
      ...(given.min_size === undefined ? {} : { minSizeBytes: given.min_size }),
      ...(given.max_size === undefined ? {} : { maxSizeBytes: given.max_size }),
      ...(given.modified_after === undefined ? {} : { minMtimeMs: Date.parse(given.modified_after) }),
      ...(given.modified_before === undefined ? {} : { maxMtimeMs: Date.parse(given.modified_before) }),
      checksums: Object.entries(given.checksums ?? {}).map(([source, sha256]) => ({
        source,
        sha256: sha256.toLowerCase(),
      })),
      headers: given.headers ?? {},
    },
    destination: {
      root: given.to,
      ...(given.name === undefined ? {} : { name: given.name }),
      layout: given.layout ?? "name",
      ...(given.check_destination === undefined ? {} : { check: given.check_destination }),
      durability: given.durability ?? "fsync",
      ...deletionOf(given),
      ...leaveOf(given),
      namesFromHeader: given.name_from_header,
      ...backupOf(given),
    },
    terms,
    breaker,
    s3: { ...config.s3, ...objectsOf(given) },
  };
}

/** @returns what the body of a request asks of objects. */
export function objectsOf({ s3 }: Pick<Submission, "s3">): Pick<RunRequest["s3"], "objects"> {
  if (s3 === undefined) return {};
  const { metadata, tags } = s3;
  return {
    objects: {
      storageClass: s3.storage_class,
      cacheControl: s3.cache_control,
      contentType: s3.content_type,
      contentDisposition: s3.content_disposition,
      contentEncoding: s3.content_encoding,
      contentLanguage: s3.content_language,
      partBytes: s3.part_size,
      metadata,
      tags,
    },
  };
}

function deadlineOf(given: string | number): number {
  return typeof given === "string" ? Date.parse(given) : Date.now() + given * 1000;
}

function termsOf(given: Submission, config: ServiceConfig) {
  const ttlMs = (given.circuit_ttl ?? 300) * 1000;
  return {
    terms: {
      retries: given.retries ?? config.retries,
      ...(given.deadline === undefined ? {} : { deadlineMs: deadlineOf(given.deadline) }),
      ...(given.stop_after_failures === undefined ? {} : { stopAfterFailures: given.stop_after_failures }),
      ...(given.max_bytes === undefined ? {} : { maxBytes: given.max_bytes }),
      ...costLimitOf(given, config),
      timeoutMs: given.timeout === undefined ? config.timeoutMs : given.timeout * 1000,
      ...(given.backoff_factor === undefined ? {} : { backoffFactor: given.backoff_factor }),
      ...(given.max_workers === undefined ? {} : { maxWorkers: given.max_workers }),
      maxFileSizeBytes: smaller(given.max_file_size, config.maxFileSizeBytes),
      ...(given.streams === undefined ? {} : { streams: given.streams }),
      ...(given.bwlimit === undefined ? {} : { bytesPerSecond: given.bwlimit }),
      ...(given.user_agent === undefined ? {} : { userAgent: given.user_agent }),
      resume: given.resume ?? true,
      ignoreTimes: given.ignore_times ?? false,
    },
    breaker: { ttlMs, ...(given.breaker_wait === undefined ? {} : { waitMs: given.breaker_wait * 1000 }) },
  };
}

/** @throws Problem where the server does not know what anything costs. */
function costLimitOf({ max_cost: maxCost }: Submission, { prices }: ServiceConfig) {
  if (maxCost === undefined) return {};
  if (prices === undefined)
    throw new Problem(422, "max_cost needs a price table, and this server has none: its --prices names one");
  return { maxCost, prices };
}

function smaller(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? (one ?? other) : Math.min(one, other);
}

/** A list with a header, of the files that have names or checksums. */
function listOf({ files, list }: Submission): string | undefined {
  if (files === undefined) return list;
  if (list !== undefined) throw new Problem(422, "files and list exclude each other: choose one");
  const rows = files.map(({ source, name = "", sha256 = "" }) =>
    [source, name, sha256].map(quoted).join(","),
  );
  return `${["source,destination,sha256", ...rows].join("\n")}\n`;
}

function quoted(field: string): string {
  return `"${field.replaceAll('"', '""')}"`;
}

function deletionOf({
  delete: deletes,
  max_delete: most = "50%",
  delete_excluded: excluded,
  track_renames: renames,
}: Submission): Pick<RunRequestInput["destination"], "delete"> {
  if (!deletes) {
    if (renames) throw new Problem(422, "track_renames spares a removal: it needs delete");
    if (excluded) throw new Problem(422, "delete_excluded says what to delete: it needs delete");
    return {};
  }
  const limit = typeof most === "number" ? { files: most } : { percent: Number(most.slice(0, -1)) };
  return { delete: { most: limit, excluded, renames } };
}

function leaveOf(given: Submission): Pick<RunRequestInput["destination"], "leave"> {
  const { update: newer, ignore_existing: existing, existing: missing } = given;
  if (given.size_only && given.checksum_only)
    throw new Problem(422, "size_only and checksum_only exclude each other: leave one out");
  const same = given.size_only ? "size" : given.checksum_only ? "checksum" : undefined;
  return { leave: { newer, existing, missing, same } };
}

function backupOf({ backup_dir: dir, suffix }: Submission): Pick<RunRequestInput["destination"], "backup"> {
  if (dir === undefined && suffix === undefined) return {};
  return { backup: { ...(dir === undefined ? {} : { dir }), ...(suffix === undefined ? {} : { suffix }) } };
}

/**
 * Reads a list as the run will, so that what means nothing is refused at once.
 *
 * @throws Problem naming the line.
 */
async function checkList(list: string, request: RunRequestInput, config: ServiceConfig): Promise<void> {
  const reading = { name: "the list", baseUrl: request.selection.baseUrl };
  let items = 0;
  try {
    for await (const { says, where } of listItems(bytesOf(list), { listByte: 0 }, reading)) {
      if ("error" in says) throw new Problem(422, `${where}: ${says.error.message}`);
      items++;
      let text: string;
      try {
        ({ text } = parseLocation(says.source, { directory: request.directory, bucket: config.s3.bucket }));
      } catch (error) {
        throw new Problem(422, `${where}: ${messageOf(error)}`);
      }
      refuseOutside(text, config, "source");
    }
  } catch (error) {
    throw error instanceof ListingError ? new Problem(422, error.message) : error;
  }
  if (items === 0) throw new Problem(422, "the list names no file");
}

async function* bytesOf(list: string): AsyncGenerator<Buffer> {
  yield Buffer.from(list);
}

/** @throws Problem 403 for a path that is not below a root of the server. */
function refuseOutside(location: string, { roots }: ServiceConfig, what: "source" | "destination"): void {
  if (/^https?:/i.test(location) || (what === "source" && /^s3:/i.test(location))) return;
  if (!isBelowAny(location, roots))
    throw new Problem(
      403,
      `the ${what} ${location} is not below ${roots.join(" or ")}: the server's --root says what is`,
    );
}

/** Whether a path, or `s3://bucket/key`, lies below one of the roots; of paths, with links resolved. */
export function isBelowAny(location: string, roots: readonly string[]): boolean {
  return roots.some((root) =>
    location.startsWith("/") ? root.startsWith("/") && liesWithin(location, root) : isBelow(location, root),
  );
}

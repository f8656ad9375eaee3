import { z } from "zod";
import { shortHash } from "./ids.js";
import { isS3 } from "./storage/s3/name.js";
import { awsEndpoint, type S3Spec } from "./storage/s3/spec.js";

/**
 * One operation on one file: the data of a BullMQ job. Names are short because Redis keeps a compact encoding only
 * for small values. No secret is ever in here: what is secret of a source lives in the run's expiring key.
 */
export const transferJobSchema = z.object({
  /** Index of the file in its run's ledger. */
  i: z.number().int().nonnegative(),
  /** Generation: 0, then one more for each `drover retry`. */
  g: z.number().int().nonnegative().optional(),
  /** What is to be done; `copy` where nothing is said. */
  op: z.literal("remove").optional(),
  /** Version of the destination that is to be removed: another one is left alone. */
  v: z.string().optional(),
  /** Source: a URL without its secrets, `s3://bucket/key`, or an absolute path. Of a removal, its name. */
  s: z.string().min(1),
  /** Destination, relative to the run's root, with `/`. */
  d: z.string().min(1),
  /** Expected SHA-256, 64 hexadecimal digits in lower case. */
  x: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  /** Its run, where the queue is a fleet's. */
  r: z.string().optional(),
  /** 1 when its flight is its run's own, although others may want the same file. */
  o: z.literal(1).optional(),
  /** 1 when the full source, with its secrets, is in the run's secret key. */
  k: z.literal(1).optional(),
});

export type TransferJob = z.infer<typeof transferJobSchema>;

/** A file as the producer sees it, before it has an index. */
export type NewJob = Omit<TransferJob, "i" | "g" | "r" | "o">;

/** The BullMQ id of a file's job. */
export function jobId(runId: string, index: number, generation = 0): string {
  return generation === 0 ? `${runId}-${index}` : `${runId}-${index}-${generation}`;
}

/** What of a run says which host a file is on. */
export interface Hosts {
  /** Destination. */
  root?: string;
  s3?: S3Spec | undefined;
  s3Destination?: S3Spec | undefined;
}

/**
 * The host that a file's circuit breaker and limits are kept for (`host:port`): that of its source, else, for a local
 * source, that of its destination; "" where both are local. All buckets of an S3 service share one: what breaks is the
 * service.
 *
 * @param run whose file it is.
 */
export function hostOf(source: string, run: Hosts = {}): string {
  if (isS3(source)) return originHost(run.s3?.endpoint ?? awsEndpoint("us-east-1"));
  const host = originHost(source);
  return host === "" && run.root !== undefined ? destinationHost(run) : host;
}

/** The host that a run writes to, or "" for a local destination. */
export function destinationHost({ root, s3, s3Destination }: Hosts): string {
  if (root === undefined || !isS3(root)) return "";
  return originHost((s3Destination ?? s3)?.endpoint ?? awsEndpoint("us-east-1"));
}

/** Scheme and authority that were looked at last, with the slash behind them: as a rule those of the next URL. */
let lastOrigin = "";
let lastHost = "";

function originHost(url: string): string {
  if (lastOrigin !== "" && url.startsWith(lastOrigin)) return lastHost;
  const match = /^(https?):\/\/(?:[^/?#]*@)?(\[[^\]]*\]|[^/?#:]*)(?::(\d+))?/i.exec(url);
  if (!match) return "";
  const port = match[3] ?? (match[1]?.toLowerCase() === "https" ? "443" : "80");
  const host = `${match[2]?.toLowerCase()}:${port}`;
  if (url[match[0].length] === "/") {
    lastOrigin = `${match[0]}/`;
    lastHost = host;
  }
  return host;
}

/** Identifies a source in leases and in the catalog: the same name at another S3 service is another source. */
export function sourceId(source: string, run: { s3?: S3Spec | undefined }): string {
  const hash = isS3(source) ? shortHash(source, run.s3?.endpoint ?? "") : shortHash(source);
  return hash.slice(0, 12); // 72 bits: the catalog has one for every file
}

import { SettingsError } from "@drover/shared/errors";
import { redactUrl } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import {
  type Location,
  parseLocation,
  parseRoot,
  parseServer,
  storageOf,
} from "@drover/shared/storage/registry";
import { withCustomerKeys } from "@drover/shared/storage/s3/object/customer-key";
import type { ListedRun, Services } from "@drover/shared/storage/storage";
import { checkPatterns } from "../expand/check-patterns.js";
import { type Limits, limited, URL_LIMITS } from "../expand/limits.js";
import type { S3Settings } from "../runs/plan/request.js";
import { refuseInTheOpen } from "../runs/plan/s3-keys.js";
import { planServices } from "../runs/plan/services.js";

/** How files are compared. `checksum`: by size and by a checksum that costs no transfer. */
export type Comparing = "checksum" | "size" | "download";

/** A destination that is to be checked. */
export interface DestinationRequest {
  /** Absolute path that relative paths start at. */
  directory: string;
  /** Where the files are thought to be. */
  destination: string;
  comparing: Comparing;
  terms: CheckTerms;
}

/** Two trees, or two files, that are to be compared. For one file the destination may be the other file. */
export interface CheckRequest extends DestinationRequest {
  /** A directory, also one of a file server, `s3://bucket/prefix`, or one file: a path, an object, a URL. */
  source: string;
  /** Whether to look for files that only the destination has. */
  findsExtra: boolean;
}

/** Which files are looked at, and how they are reached: as of a run. */
export interface CheckTerms extends Limits {
  patterns: string[];
  /** `+ glob` and `- glob`, in order. */
  filters: string[];
  /** Request headers, sent to the hosts of URLs. */
  headers: Record<string, string>;
  /** Time limit in ms for connecting, for the answer, and for each KiB of a body. */
  timeoutMs: number;
  /** Tries per request, including the first. */
  retries: number;
  /** Files that are compared at once. */
  maxWorkers: number;
  userAgent?: string | undefined;
  s3: S3Settings;
}

/** Files of one side. */
export interface PlannedSide {
  /** Canonical, including its secrets. */
  location: string;
  /**
   * How the side is reached. Its root is what the listing must not enter from outside: the destination; of a file server its own
   * directory.
   */
  spec: ListedRun;
}

/** A checked request for a destination. */
export interface PlannedDestination {
  destination: PlannedSide;
  comparing: Comparing;
  selection: Pick<RunSpec, "patterns" | "filters" | "patternSyntax"> & Limits;
  headers: Record<string, string>;
  retries: number;
  maxWorkers: number;
}

/** A checked request for two sides. */
export interface PlannedCheck extends PlannedDestination {
  source: PlannedSide;
  findsExtra: boolean;
}

/**
 * Parses a request. Nothing is asked for and nothing is made.
 *
 * @throws SettingsError for an invalid one.
 */
export async function planCheck(request: CheckRequest): Promise<PlannedCheck> {
  const { directory, terms, findsExtra } = request;
  const server = parseServer(request.source, directory);
  const source = server ?? parseLocation(request.source, { directory, bucket: terms.s3.bucket });
  const destination = parseDestination(request);
  const services = await servicesOf(terms.s3, source.text, destination.text);
  if (limited(terms) && !source.storage.listsSizes) throw new SettingsError(URL_LIMITS);
  const planned = plan(request, destination, services);
  const { spec } = planned.destination;
  refuseInTheOpen(terms.s3.customerKeys ?? {}, services);
  const ofSource = { source: terms.s3.customerKeys?.source };
  const reached = { ...spec, ...services, ...(server ? { root: server.text } : {}) };
  return {
    ...planned,
    findsExtra,
    source: { location: source.text, spec: withCustomerKeys(reached, ofSource) },
  };
}

/** As {@link planCheck}, for a destination that is held against what is recorded of it. */
export async function planDestinationCheck(request: DestinationRequest): Promise<PlannedDestination> {
  const destination = parseDestination(request);
  const services = await servicesOf(request.terms.s3, destination.text, destination.text);
  refuseInTheOpen(request.terms.s3.customerKeys ?? {}, services);
  return plan(request, destination, services);
}

function plan(
  { comparing, terms }: DestinationRequest,
  location: Location,
  services: Services,
): PlannedDestination {
  const { timeoutMs, retries, userAgent, maxWorkers, headers } = terms;
  const { patterns, filters, minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs } = terms;
  checkPatterns({ patterns, filters });
  if (limited(terms) && !location.storage.listsSizes) throw new SettingsError(URL_LIMITS);
  const s3 = services.s3Destination ?? services.s3;
  // Each side reads its files as a source does.
  const key = { source: terms.s3.customerKeys?.destination };
  const spec = withCustomerKeys({ root: location.text, timeoutMs, retries, userAgent, s3 }, key);
  return {
    destination: { location: location.text, spec },
    comparing,
    selection: {
      ...{ patterns, filters, patternSyntax: "rclone" },
      ...{ minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs },
    },
    headers,
    retries,
    maxWorkers,
  };
}

/** A place that files are written to, or a URL, which is one file. */
function parseDestination({ destination: text, directory, terms }: DestinationRequest): Location {
  if (/^https?:\/\//i.test(text)) return parseLocation(text, { directory });
  const bucket = /^s3:\/\/\//i.test(text) ? terms.s3.bucket : undefined;
  const complete = bucket === undefined ? text : `s3://${bucket}${text.slice("s3://".length)}`;
  const root = parseRoot(complete, directory);
  return { storage: storageOf(root), text: root };
}

/** Without settings of its own the destination is reached as the source is: it is only read. */
async function servicesOf(s3: S3Settings, source: string, destination: string): Promise<Services> {
  const { endpoint, region, profile } = s3.destination ?? {};
  const hasOwn = endpoint !== undefined || region !== undefined || profile !== undefined;
  return await planServices(
    { s3 },
    hasOwn ? { read: [source], written: destination } : { read: [source, destination] },
  );
}

/** What a person calls a side, without secrets. */
export function shownSide({ location }: PlannedSide): string {
  return redactUrl(location);
}

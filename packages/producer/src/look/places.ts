import { SettingsError } from "@drover/shared/errors";
import { isServer, parseLocation, parseServer } from "@drover/shared/storage/registry";
import { withCustomerKeys } from "@drover/shared/storage/s3/object/customer-key";
import type { ListedRun, Services } from "@drover/shared/storage/storage";
import type { CheckTerms } from "../check/plan-check.js";
import { checkPatterns } from "../expand/check-patterns.js";
import { limited, URL_LIMITS } from "../expand/limits.js";
import { type PlannedSource, parseSource } from "../expand/wildcards.js";
import { refuseInTheOpen, SOURCE_KEY_FLAG } from "../runs/plan/s3-keys.js";
import { planServices } from "../runs/plan/services.js";

/** A location that is looked at: a source, or a place of a server that files are written to. */
export interface Place {
  location: PlannedSource;
  /** How it is reached. */
  spec: ListedRun;
}

export interface PlacesRequest {
  /** Absolute path that relative paths start at. */
  directory: string;
  /** As typed. */
  locations: readonly string[];
  /** Whether `s3://` locations may have wildcards. */
  wildcards: boolean;
  terms: CheckTerms;
}

/**
 * Parses locations. Nothing is asked for.
 *
 * @throws SettingsError for one that cannot be parsed, or settings that do not fit.
 */
export async function planPlaces(request: PlacesRequest): Promise<Place[]> {
  const { terms, locations } = request;
  checkPatterns(terms);
  const parsed = locations.map((text) => parsePlace(text, request));
  if (limited(terms) && parsed.some(({ storage }) => !storage.listsSizes))
    throw new SettingsError(URL_LIMITS);
  const services = await planServices({ s3: terms.s3 }, { read: parsed.map(({ text }) => text) });
  const key = terms.s3.customerKeys?.source;
  if (key !== undefined && !parsed.some(({ storage }) => storage.settings === "s3"))
    throw new SettingsError(
      `${SOURCE_KEY_FLAG} is for objects of S3, and nothing named is one: leave it out`,
    );
  refuseInTheOpen({ source: key }, services);
  return parsed.map((location) => ({ location, spec: specOf(location.text, terms, services) }));
}

/** How a location is reached. */
export function specOf(root: string, terms: CheckTerms, services: Services): ListedRun {
  const { timeoutMs, retries, userAgent } = terms;
  const key = { source: terms.s3.customerKeys?.source };
  return withCustomerKeys({ root, timeoutMs, retries, userAgent, s3: services.s3 }, key);
}

function parsePlace(text: string, { directory, wildcards, terms }: PlacesRequest): PlannedSource {
  const context = { directory, bucket: terms.s3.bucket };
  return (
    parseServer(text, directory) ?? (wildcards ? parseSource(text, context) : parseLocation(text, context))
  );
}

/** How a place is reached that is to be a file: one of a server is below its directory, by that name. */
export function asFile({ location, spec }: Place): { spec: ListedRun; name: string } {
  const { storage, text } = location;
  const file = isServer(storage) ? storage.destination?.asFile(text) : undefined;
  return file ? { spec: { ...spec, root: file.root }, name: file.name } : { spec, name: "" };
}

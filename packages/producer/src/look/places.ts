import { SettingsError } from "@drover/shared/errors";
import { parseLocation, parseRoot, storageOf } from "@drover/shared/storage/registry";
import type { ListedRun, Services } from "@drover/shared/storage/storage";
import type { CheckTerms } from "../check/plan-check.js";
import { checkPatterns } from "../expand/check-patterns.js";
import { limited, URL_LIMITS } from "../expand/limits.js";
import { type PlannedSource, parseSource } from "../expand/wildcards.js";
import { planServices } from "../runs/services.js";

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
  return parsed.map((location) => ({ location, spec: specOf(location.text, terms, services) }));
}

/** How a location is reached. */
export function specOf(root: string, terms: CheckTerms, services: Services): ListedRun {
  const { timeoutMs, retries, userAgent } = terms;
  return { root, timeoutMs, retries, userAgent, s3: services.s3 };
}

function parsePlace(text: string, { directory, wildcards, terms }: PlacesRequest): PlannedSource {
  const context = { directory, bucket: terms.s3.bucket };
  const { destination, schemes } = storageOf(text);
  // Servers that are written to are no sources of a run, but can be looked at.
  if (destination && schemes.some((scheme) => scheme.includes("+"))) {
    const root = parseRoot(text, directory);
    return { storage: storageOf(root), text: root };
  }
  return wildcards ? parseSource(text, context) : parseLocation(text, context);
}

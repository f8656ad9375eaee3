import type { CheckTerms } from "@drover/producer/check/plan-check";
import { type RequestFlags, requestOf } from "./run-request.js";
import type { Resolved } from "./settings.js";

/** Files that are compared at once where no setting says how many. */
const DEFAULT_WORKERS = 8;

/**
 * The terms of a run with the same flags, for a command that only looks.
 *
 * @param locations as typed.
 * @returns the locations with the logins that the flags add, and the terms.
 * @throws SettingsError for an invalid flag.
 */
export function checkTermsOf(
  locations: readonly string[],
  flags: RequestFlags,
  resolved: Resolved,
): { sources: string[]; terms: CheckTerms } {
  const { selection, s3 } = requestOf([...locations], flags, resolved);
  const { patterns = ["*"], filters = [], headers = {}, sources = [] } = selection;
  const { minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs } = selection;
  const { values } = resolved;
  const terms = {
    ...{ patterns, filters, headers, minSizeBytes, maxSizeBytes, minMtimeMs, maxMtimeMs },
    timeoutMs: values.timeout * 1000,
    retries: values.retries,
    maxWorkers: values["max-workers"] ?? DEFAULT_WORKERS,
    userAgent: values["user-agent"],
    s3: s3 as CheckTerms["s3"],
  };
  return { sources, terms };
}

import { hostsNamed } from "@drover/shared/protocol/host-limits";
import type { Failure } from "@drover/shared/protocol/run-failures";
import type { RunSpec } from "@drover/shared/run";
import { below, hostOf } from "@drover/shared/storage/registry";

/** What stands for the host of files that come from none, and go to none. */
export const NO_HOST = "local";

/** Some of what failed in runs. What is left out is not looked at. */
export interface FailureFilter {
  /** Class of the error. */
  class?: string | undefined;
  /** Host of the source: `name:port`, or a name, which means its ports 443 and 80; {@link NO_HOST} for none. */
  host?: string | undefined;
  /** Sources, destinations, or names of destinations below the run's root. */
  files?: readonly string[] | undefined;
}

/** Tells which failures of a run a filter means. */
export function failureMatcher(filter: FailureFilter, spec: RunSpec): (failure: Failure) => boolean {
  const isHost = hostMatcher(filter.host);
  const files = filter.files === undefined ? undefined : new Set(filter.files);
  return ({ job, error }) =>
    (filter.class === undefined || error.class === filter.class) &&
    isHost(hostOf(job.s, spec)) &&
    (files === undefined || files.has(job.s) || files.has(job.d) || files.has(below(spec.root, job.d)));
}

/** Tells which hosts of sources a name means. @param name as in {@link FailureFilter}; undefined for all of them. */
export function hostMatcher(name: string | undefined): (host: string) => boolean {
  if (name === undefined) return () => true;
  const hosts = new Set([name, ...(hostsNamed(name) ?? []), ...(name === NO_HOST ? [""] : [])]);
  return (host) => hosts.has(host);
}

import type { RunSpec } from "../../../run.js";
import type { S3Spec } from "./spec.js";

/** The endpoint of AWS in a region. */
export function awsEndpoint(region: string): string {
  return `https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
}

/** Whether an endpoint is one of AWS. */
export function isAws(endpoint: string): boolean {
  return /\.amazonaws\.com(\.cn)?$/.test(new URL(endpoint).hostname);
}

type Copying = Pick<RunSpec, "s3" | "s3Destination" | "s3CustomerKeys">;

/** The services of a run. */
interface S3Services {
  root?: string | undefined;
  s3?: S3Spec | undefined;
  /** The service that is written to, where it is another one. */
  s3Destination?: S3Spec | undefined;
}

/**
 * Whether objects are copied by their own service, where it is written to as well. With keys of the user other services than
 * AWS may not do that (Ceph does not), so that the bytes come by there.
 */
export function copiesByItself({ s3, s3Destination, s3CustomerKeys }: Copying): boolean {
  return s3 !== undefined && s3Destination === undefined && (!s3CustomerKeys || isAws(s3.endpoint));
}

/**
 * How a run reaches the service that it writes to.
 *
 * @throws Error where the run has none.
 */
export function destinationService({ root, s3, s3Destination }: S3Services): S3Spec {
  const service = s3Destination ?? s3;
  if (!service) throw new Error(`the run that writes to ${root} has no S3 settings`);
  return service;
}

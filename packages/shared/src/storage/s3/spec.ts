import { z } from "zod";

/** How a run reaches S3. Names only: credentials are looked up by the process that needs them. */
export const s3SpecSchema = z.object({
  /** URL of the service, of AWS or another, without the bucket. */
  endpoint: z.string(),
  region: z.string(),
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`. */
  pathStyle: z.boolean(),
  /** Uploads carry a checksum that the service keeps (x-amz-checksum-sha256), and not an MD5. */
  checksums: z.boolean().optional(),
  /** Requests are not signed. */
  anonymous: z.boolean(),
  /** The requests of this run are paid by whoever signs them, not by the bucket's owner. */
  requesterPays: z.boolean(),
  /** Profile of the AWS configuration files; the default chain where there is none. */
  profile: z.string().optional(),
});
export type S3Spec = z.infer<typeof s3SpecSchema>;

/** The service of AWS in a region. */
export function awsEndpoint(region: string): string {
  return `https://s3.${region}.amazonaws.com${region.startsWith("cn-") ? ".cn" : ""}`;
}

/** The services of a run. */
interface S3Services {
  root?: string | undefined;
  s3?: S3Spec | undefined;
  /** The service that is written to, where it is another one. */
  s3Destination?: S3Spec | undefined;
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

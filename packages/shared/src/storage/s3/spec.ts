import { z } from "zod";

/** How a run reaches S3. It holds no credentials: each process looks them up itself. */
export const s3SpecSchema = z.object({
  /** URL of the service, without the bucket. */
  endpoint: z.string(),
  region: z.string(),
  /** Whether URLs are `endpoint/bucket/key` instead of `bucket.endpoint/key`. */
  pathStyle: z.boolean(),
  /** Uploads carry a checksum that the service keeps (x-amz-checksum-sha256) instead of an MD5. Default false. */
  checksums: z.boolean().optional(),
  /** Whether requests are sent unsigned. */
  anonymous: z.boolean(),
  /** Whether the signer pays for requests, and not the owner of the bucket. */
  requesterPays: z.boolean(),
  /** Profile of the AWS configuration files. Default: the default credential chain. */
  profile: z.string().optional(),
});
export type S3Spec = z.infer<typeof s3SpecSchema>;

/** The endpoint of AWS in a region. */
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

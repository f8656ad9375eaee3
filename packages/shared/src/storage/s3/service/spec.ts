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

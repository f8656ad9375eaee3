import { SettingsError, TransferError } from "../../errors.js";
import { HttpClient } from "../http/client.js";
import { parseS3 } from "./object/name.js";
import { S3Client } from "./service/client.js";
import { credentialsOf } from "./service/credentials.js";
import type { S3Spec } from "./service/spec.js";

const TIMEOUT_MS = 10_000;

/**
 * Looks whether there is a bucket to write to, so that what is wrong for all files is said once. Only what is certain
 * counts: who may not list a bucket may be allowed to write to it, and a service that is away may come back.
 *
 * @throws SettingsError where there is no such bucket, it is elsewhere, or the credentials are missing or refused.
 */
export async function checkBucket(root: string, spec: S3Spec, userAgent?: string): Promise<void> {
  const { bucket } = parseS3(root);
  const http = new HttpClient({ timeoutMs: TIMEOUT_MS, connections: 1, userAgent });
  try {
    const client = new S3Client(http, spec, credentialsOf(spec));
    const query = { "list-type": "2", "max-keys": "1" };
    const answer = await client.get(bucket, "", query, {}, AbortSignal.timeout(TIMEOUT_MS));
    answer.body.discard(0);
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    if (["not-found", "redirect", "credentials"].includes(error.class))
      throw new SettingsError(`cannot write to ${root}: ${error.message}`);
  } finally {
    await http.close();
  }
}

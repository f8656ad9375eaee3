import { TransferError } from "@drover/shared/errors";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import type { RunContext } from "../attempt/context.js";
import type { ResumeRecord } from "../attempt/resume-record.js";
import type { OpenedBody, Received, Staging } from "../destinations/destination.js";
import { DecodedBody, mustDecode } from "./decode.js";
import type { Algorithm } from "./hash/digest.js";

/**
 * Brings the bytes of an opened file into its staging, watched for stalls and decoded where they must be.
 *
 * @param name of the destination.
 */
export async function receive(
  source: Source,
  opened: OpenedBody,
  name: string,
  staging: Staging,
  record: ResumeRecord,
  context: RunContext,
): Promise<Received> {
  const { entry } = opened;
  const limit = context.terms.maxFileSizeBytes;
  if (entry.sizeBytes !== undefined && limit !== undefined && entry.sizeBytes > limit) {
    throw tooLarge(entry.sizeBytes, limit);
  }
  const unwatch = context.watchdog.watch(opened.body);
  try {
    if (mustDecode(entry, name)) {
      const body = new DecodedBody(opened.body, entry);
      const received = await staging.receive(undefined, { ...opened, body }, undefined, record, context);
      return { ...received, sourceDigest: await body.wireHash?.digest() };
    }
    return await staging.receive(source, opened, entry.sizeBytes, record, context);
  } finally {
    unwatch();
  }
}

/** The file is more than the run takes. */
export function tooLarge(sizeBytes: number, limit: number): TransferError {
  return new TransferError(
    "too-large",
    `larger than --max-file-size: ${sizeBytes} of at most ${limit} bytes`,
    {
      permanent: true,
      verdict: "ok",
    },
  );
}

/** Names of the digests to compute: SHA-256, and the source's own where it is another. */
export function algorithmsFor(entry: SourceEntry): Algorithm[] {
  const other = entry.digest?.algorithm;
  return other === undefined || other === "sha256" ? ["sha256"] : ["sha256", other];
}

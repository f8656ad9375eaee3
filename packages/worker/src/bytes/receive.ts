import { TransferError } from "@drover/shared/errors";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import type { OpenedBody, Received, Staging, WriteAttempt } from "../destinations/destination.js";
import { DecodedBody, mustDecode } from "./decode.js";
import type { Algorithm } from "./hash/digest.js";

/** Brings the bytes of an opened file into its staging, watched for stalls and decoded where they must be. */
export async function receive(
  attempt: WriteAttempt,
  source: Source,
  opened: OpenedBody,
  staging: Staging,
): Promise<Received> {
  const { entry } = opened;
  const limit = attempt.terms.maxFileSizeBytes;
  if (entry.sizeBytes !== undefined && limit !== undefined && entry.sizeBytes > limit) {
    throw tooLarge(entry.sizeBytes, limit);
  }
  const unwatch = attempt.watchdog.watch(opened.body);
  try {
    if (mustDecode(entry, attempt.file.name)) {
      const body = new DecodedBody(opened.body, entry);
      const received = await staging.receive({ ...opened, body }, undefined);
      return { ...received, sourceDigest: await body.wireHash?.digest() };
    }
    return await staging.receive(opened, source);
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

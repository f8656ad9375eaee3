import { TransferError } from "@drover/shared/errors";
import type { Source, SourceEntry } from "@drover/shared/storage/source";
import type { OpenedBody, Received, Staging, WriteAttempt } from "../destinations/destination.js";
import { DecodedBody, mustDecode } from "./decode.js";
import type { Algorithm } from "./hash/digest.js";

/** Receives the bytes of an opened source into the staging, with stall detection and decoding if needed. */
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

/** The error of a file that exceeds the run's limit. Both sizes in bytes. */
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

/** Digests to compute: SHA-256, and the source's own if it differs. */
export function algorithmsFor(entry: SourceEntry): Algorithm[] {
  const other = entry.digest?.algorithm;
  return other === undefined || other === "sha256" ? ["sha256"] : ["sha256", other];
}

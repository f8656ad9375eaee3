import { hash } from "node:crypto";
import { TransferError } from "@drover/shared/errors";
import type { Opened, Source, SourceEntry } from "@drover/shared/storage/source";
import { DecodedBody, mustDecode } from "./decode.js";
import { HashBehind } from "./hash-behind.js";
import type { Lease } from "./leases.js";
import { encodePart, type Part, PIECE_BYTES } from "./part.js";
import type { Place } from "./place.js";
import { fetchPieces, SEGMENTED_BYTES } from "./segments.js";
import type { Staging } from "./staging.js";
import type { Evidence } from "./verify.js";

/** How often the progress of a larger file is noted for a successor, in bytes. */
const NOTE_BYTES = 8 << 20;
/** Up to here a file is held in memory, hashed in one call and written in one call. */
const SMALL_BYTES = 512 << 10;

export interface Received extends Evidence {
  /** What the file must measure, where the source says so of the bytes that are staged. */
  lengthBytes: number | undefined;
}

/**
 * Brings the bytes of an opened file into its staging, hashing and counting on the way.
 *
 * @param part updated as bytes arrive, so that whoever comes after a failure knows what is there.
 */
export async function receive(
  source: Source,
  opened: Extract<Opened, { is: "body" }>,
  name: string,
  staging: Staging,
  part: Part,
  lease: Lease,
  place: Place,
): Promise<Received> {
  const { entry } = opened;
  const limit = place.terms.maxFileSizeBytes;
  if (entry.sizeBytes !== undefined && limit !== undefined && entry.sizeBytes > limit) {
    throw tooLarge(entry.sizeBytes, limit);
  }
  const unwatch = place.pace.watch(opened.body);
  try {
    if (mustDecode(entry, name)) {
      const body = new DecodedBody(opened.body, entry);
      const received = await receiveBody({ ...opened, body }, undefined, staging, part, lease, place);
      return { ...received, sourceDigest: body.wireHash?.digest("hex") };
    }
    if (opened.offset % PIECE_BYTES === 0 && canSegment(entry)) {
      return await fetchPieces(source, opened, staging, part, lease, place);
    }
    return await receiveBody(opened, entry.sizeBytes, staging, part, lease, place);
  } finally {
    unwatch();
  }
}

function canSegment(entry: SourceEntry): boolean {
  return entry.ranges && entry.strongEtag !== "" && (entry.sizeBytes ?? 0) >= SEGMENTED_BYTES;
}

function tooLarge(sizeBytes: number, limit: number): TransferError {
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
export function algorithmsFor(entry: SourceEntry): string[] {
  const other = entry.digest?.algorithm;
  return other === undefined || other === "sha256" ? ["sha256"] : ["sha256", other];
}

async function receiveBody(
  opened: Extract<Opened, { is: "body" }>,
  lengthBytes: number | undefined,
  staging: Staging,
  part: Part,
  lease: Lease,
  place: Place,
): Promise<Received> {
  const { body, entry } = opened;
  const limit = place.terms.maxFileSizeBytes;
  let held: Buffer[] = [];
  let sizeBytes = opened.offset;
  const count = (chunks: Buffer[]) => {
    for (const chunk of chunks) sizeBytes += chunk.length;
    part.receivedBytes = sizeBytes;
    if (limit !== undefined && sizeBytes > limit) throw tooLarge(sizeBytes, limit);
  };
  let ended = false;
  if (opened.offset === 0) {
    // A small file: in memory whole, one hash, one write.
    const complete = body.takeIfComplete();
    if (complete) {
      held = complete;
      count(held);
      await place.pace.take(sizeBytes, lease.share);
      ended = true;
    }
    while (!ended && sizeBytes <= SMALL_BYTES) {
      const chunks = await body.read();
      if (!chunks) {
        ended = true;
        break;
      }
      count(chunks);
      held.push(...chunks);
      await place.pace.take(
        chunks.reduce((sum, chunk) => sum + chunk.length, 0),
        lease.share,
      );
    }
    staging.create(entry.mode);
    if (ended && sizeBytes <= SMALL_BYTES) {
      opened.confirm?.();
      const bytes = held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held);
      staging.writeWhole([bytes], sizeBytes);
      const other = entry.digest && entry.digest.algorithm !== "sha256" ? entry.digest.algorithm : undefined;
      const sha256 = hash("sha256", bytes, "hex");
      return { sizeBytes, sha256, sourceDigest: other ? hash(other, bytes, "hex") : sha256, lengthBytes };
    }
  }
  body.reuseMemory?.();
  const hashing = new HashBehind(staging.fd, algorithmsFor(entry));
  try {
    let written = opened.offset;
    let notedBytes = written;
    part.pieces = [];
    hashing.advance(written);
    let chunks: Buffer[] | null = held.length > 0 ? held : await body.read();
    while (chunks) {
      if (chunks !== held) count(chunks);
      written = await staging.write(chunks, written);
      part.contiguousBytes = written;
      lease.check();
      hashing.advance(written);
      if (written - notedBytes >= NOTE_BYTES && part.strongEtag !== "") {
        notedBytes = written;
        lease.note = encodePart(part);
      }
      if (chunks !== held)
        await place.pace.take(
          chunks.reduce((sum, chunk) => sum + chunk.length, 0),
          lease.share,
        );
      chunks = await body.read();
    }
    opened.confirm?.();
    const [sha256, other] = await hashing.finish(written);
    return { sizeBytes: written, sha256: sha256 as string, sourceDigest: other ?? sha256, lengthBytes };
  } finally {
    await hashing.drop();
  }
}

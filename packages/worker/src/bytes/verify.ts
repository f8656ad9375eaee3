import { TransferError } from "@drover/shared/errors";
import type { VerifiedBy } from "@drover/shared/outcome";
import type { SourceEntry } from "@drover/shared/storage/source";

/** What is known of a staged file, to be checked against its source. */
export interface Evidence {
  sizeBytes: number;
  /** Hexadecimal SHA-256 of the staged bytes. */
  sha256: string;
  /** Hexadecimal digest of the bytes as sent, in the source's algorithm, if the source gave one. */
  sourceDigest: string | undefined;
}

/**
 * Checks a staged file against everything known of it: its length, the requested checksum, and the source's
 * digest.
 *
 * @param length expected size in bytes of the staged file; undefined if unknown.
 * @param expected SHA-256 given by the user, hexadecimal.
 * @returns the strongest check that the file passed.
 * @throws TransferError class `truncated` or `checksum`; the file must not be published.
 */
export function verify(
  evidence: Evidence,
  entry: SourceEntry,
  length: number | undefined,
  expected: string | undefined,
): VerifiedBy {
  if (length !== undefined && evidence.sizeBytes !== length) {
    throw new TransferError("truncated", `got ${evidence.sizeBytes} of ${length} bytes`, { verdict: "fail" });
  }
  if (entry.digest) {
    const promised = Buffer.from(entry.digest.base64, "base64").toString("hex");
    if (promised !== evidence.sourceDigest) {
      throw new TransferError(
        "checksum",
        `wrong checksum: the server's ${entry.digest.by} does not match the bytes`,
        {
          verdict: "ok",
        },
      );
    }
  }
  if (expected !== undefined && expected !== evidence.sha256) {
    throw new TransferError(
      "checksum",
      `wrong checksum: expected sha256 ${expected.slice(0, 12)}…, got ${evidence.sha256.slice(0, 12)}…`,
      { verdict: "ok" },
    );
  }
  if (expected !== undefined) return "sha256";
  if (entry.digest) return entry.digest.by;
  return entry.framed ? "length" : "unverified";
}

import { TransferError } from "@drover/shared/errors";
import type { VerifiedBy } from "@drover/shared/outcome";
import type { SourceEntry } from "@drover/shared/storage/source";

/** What was staged, to be held against what was promised. */
export interface Evidence {
  sizeBytes: number;
  /** SHA-256 of the staged bytes, hexadecimal. */
  sha256: string;
  /** Digest (of the source's algorithm, hexadecimal) of the bytes as they were sent, where the source gave one. */
  sourceDigest: string | undefined;
}

/**
 * Holds a staged file against every promise there is: its length, the checksum that was asked for, and the digest
 * that the source sent.
 *
 * @param length what the staged file must measure, or undefined where nobody knows.
 * @param expected SHA-256 that the person gave, hexadecimal.
 * @returns the strongest thing that vouches for the file.
 * @throws TransferError class `truncated` or `checksum`: such a file is never published.
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

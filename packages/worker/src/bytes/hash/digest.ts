import { createHash, hash } from "node:crypto";
import { Crc32, Crc32c, Crc64Nvme } from "@aws-sdk/checksums/crc";
import type { SourceDigest } from "@drover/shared/storage/source";

export type Algorithm = SourceDigest["algorithm"];

/** A digest in progress. */
export interface Digest {
  update(bytes: Uint8Array): void;
  /** @returns hexadecimal. */
  digest(): string | Promise<string>;
}

const CRCS = { crc64nvme: Crc64Nvme, crc32c: Crc32c, crc32: Crc32 };

export function createDigest(algorithm: Algorithm): Digest {
  if (!(algorithm in CRCS)) {
    const computed = createHash(algorithm);
    return { update: (bytes) => void computed.update(bytes), digest: () => computed.digest("hex") };
  }
  const crc = new CRCS[algorithm as keyof typeof CRCS]();
  return {
    update: (bytes) => crc.update(bytes),
    digest: async () => Buffer.from(await crc.digest()).toString("hex"),
  };
}

/** Hexadecimal digest of bytes in memory. */
export function digestOf(algorithm: Algorithm, bytes: Uint8Array): string | Promise<string> {
  if (!(algorithm in CRCS)) return hash(algorithm, bytes, "hex");
  const crc = createDigest(algorithm);
  crc.update(bytes);
  return crc.digest();
}

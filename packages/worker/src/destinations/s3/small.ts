import { hash } from "node:crypto";
import { digestOf } from "../../bytes/hash/digest.js";
import type { OpenedBody } from "../destination.js";
import type { DestinationObject } from "./object.js";
import { BytesInMemory } from "./publishing/bytes-in-memory.js";
import type { StagedObject } from "./publishing/publication.js";

/**
 * Stages a small file that has been read.
 *
 * @param ofFile whether the size and the digest of its source are those of the bytes that came.
 */
export async function stageSmall(
  object: DestinationObject,
  opened: OpenedBody,
  chunks: Buffer[],
  ofFile: boolean,
): Promise<StagedObject> {
  opened.confirm?.();
  const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
  const sha256 = hash("sha256", bytes, "hex");
  const md5 = hash("md5", bytes, "hex");
  const other = opened.entry.digest?.algorithm ?? "sha256";
  const sourceDigest = other === "sha256" ? sha256 : other === "md5" ? md5 : await digestOf(other, bytes);
  const lengthBytes = ofFile ? opened.entry.sizeBytes : undefined;
  const received = { sizeBytes: bytes.length, sha256, sourceDigest, lengthBytes };
  return { received, staged: new BytesInMemory(object, { bytes, md5 }) };
}

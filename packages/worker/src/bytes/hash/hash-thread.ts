import { createHash } from "node:crypto";
import { readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { type Algorithm, createDigest, type Digest } from "./digest.js";

/**
 * Requests to the hashing thread. It hashes files (staged ones close behind their writer, while the data is
 * cached, and local sources) and parts of uploads, whose memory it shares, so that nothing is copied.
 */
export type HashRequest =
  | { id: number; is: "upTo"; fd: number; algorithms: Algorithm[]; endByte: number }
  | { id: number; is: "bytes"; bytes: Uint8Array; algorithms: Algorithm[] }
  | { id: number; is: "finish" }
  | { id: number; is: "drop" };

export interface HashAnswer {
  id: number;
  /** Answer: the position reached in the file, or the hexadecimal digests, or an error. */
  atByte?: number;
  /** Hexadecimal MD5 of the part. */
  md5?: string;
  digests?: string[];
  error?: string;
}

const buffer = Buffer.allocUnsafeSlow(1 << 20);
interface Hashing {
  hashes: Digest[];
  atByte: number;
  error?: string;
}
const files = new Map<number, Hashing>();

async function finish(id: number, file: Hashing | undefined): Promise<void> {
  const answer: HashAnswer = { id };
  if (file?.error !== undefined) answer.error = file.error;
  else answer.digests = await Promise.all(file?.hashes.map((hash) => hash.digest()) ?? []);
  parentPort?.postMessage(answer);
}

parentPort?.on("message", (request: HashRequest) => {
  if (request.is === "drop") {
    files.delete(request.id);
    return;
  }
  let file = files.get(request.id);
  if (request.is === "finish") {
    files.delete(request.id);
    void finish(request.id, file);
    return;
  }
  if (!file) {
    file = { hashes: request.algorithms.map(createDigest), atByte: 0 };
    files.set(request.id, file);
  }
  if (request.is === "bytes") {
    for (const hash of file.hashes) hash.update(request.bytes);
    const md5 = createHash("md5").update(request.bytes).digest("hex");
    parentPort?.postMessage({ id: request.id, md5 } satisfies HashAnswer);
    return;
  }
  const { id } = request;
  try {
    // After a reported error the file may be closed, so it must not be read again.
    while (file.error === undefined && file.atByte < request.endByte) {
      const want = Math.min(buffer.length, request.endByte - file.atByte);
      const count = readSync(request.fd, buffer, 0, want, file.atByte);
      if (count === 0) throw new Error(`the file ends at ${file.atByte}`);
      for (const hash of file.hashes) hash.update(buffer.subarray(0, count));
      file.atByte += count;
    }
  } catch (error) {
    file.error = (error as Error).message;
  }
  const answer: HashAnswer =
    file.error === undefined ? { id, atByte: file.atByte } : { id, error: file.error };
  parentPort?.postMessage(answer);
});

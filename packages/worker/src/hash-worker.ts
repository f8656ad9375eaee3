import { createHash, type Hash } from "node:crypto";
import { readSync } from "node:fs";
import { parentPort } from "node:worker_threads";

/**
 * Thread that hashes staged files behind their writer, where it reads what was just written, and the parts of uploads,
 * which it shares the memory of: nothing is handed over.
 */
export type HashRequest =
  | { id: number; is: "upTo"; fd: number; algorithms: string[]; endByte: number }
  | { id: number; is: "bytes"; bytes: Uint8Array; algorithms: string[] }
  | { id: number; is: "finish" }
  | { id: number; is: "drop" };

export interface HashAnswer {
  id: number;
  /** Where the thread is in the file, or the digests in hexadecimal, or what went wrong. */
  atByte?: number;
  /** Of the bytes that were handed over, hexadecimal. */
  md5?: string;
  digests?: string[];
  error?: string;
}

const buffer = Buffer.allocUnsafeSlow(1 << 20);
const files = new Map<number, { hashes: Hash[]; atByte: number; error?: string }>();

parentPort?.on("message", (request: HashRequest) => {
  if (request.is === "drop") {
    files.delete(request.id);
    return;
  }
  let file = files.get(request.id);
  if (request.is === "finish") {
    files.delete(request.id);
    const answer: HashAnswer = { id: request.id };
    if (file?.error !== undefined) answer.error = file.error;
    else answer.digests = file?.hashes.map((hash) => hash.digest("hex")) ?? [];
    parentPort?.postMessage(answer);
    return;
  }
  if (!file) {
    file = { hashes: request.algorithms.map((name) => createHash(name)), atByte: 0 };
    files.set(request.id, file);
  }
  if (request.is === "bytes") {
    for (const hash of file.hashes) hash.update(request.bytes);
    const md5 = createHash("md5").update(request.bytes).digest("hex");
    parentPort?.postMessage({ id: request.id, md5 } satisfies HashAnswer);
    return;
  }
  try {
    while (file.atByte < request.endByte) {
      const want = Math.min(buffer.length, request.endByte - file.atByte);
      const count = readSync(request.fd, buffer, 0, want, file.atByte);
      if (count === 0) throw new Error(`the staged file ends at ${file.atByte}`);
      for (const hash of file.hashes) hash.update(buffer.subarray(0, count));
      file.atByte += count;
    }
  } catch (error) {
    file.error ??= (error as Error).message;
  }
  parentPort?.postMessage({ id: request.id, atByte: file.atByte } satisfies HashAnswer);
});

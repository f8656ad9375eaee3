import { randomBytes } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { UnavailableError } from "@drover/shared/errors";
import { makeDirectory } from "@drover/shared/make-directory";

/**
 * Keeps what is read from standard input in the state directory, so that a killed run can go on with it.
 *
 * @returns the file, and the stream to read instead of standard input.
 */
export function keepStdin(stateDir: string): { path: string; stream: NodeJS.ReadableStream } {
  const directory = join(stateDir, "lists");
  const path = join(directory, randomBytes(8).toString("hex"));
  let fd: number;
  try {
    makeDirectory(directory, 0o700);
    fd = openSync(path, "wx", 0o600);
  } catch (error) {
    throw new UnavailableError(`cannot keep the list in ${directory}: ${(error as Error).message}`);
  }
  async function* kept(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of process.stdin) {
        const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
        writeSync(fd, bytes);
        yield bytes;
      }
    } finally {
      closeSync(fd);
    }
  }
  return { path, stream: Readable.from(kept(), { objectMode: false, highWaterMark: 1 << 18 }) };
}

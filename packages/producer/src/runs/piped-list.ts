import { randomBytes } from "node:crypto";
import { closeSync, createReadStream, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { UnavailableError } from "@drover/shared/errors";
import { makeDirectory } from "@drover/shared/make-directory";

/** Opens a list that can be read only once: `-` is standard input, all else the path of a pipe or the like. */
export function openPipe(pipe: string): NodeJS.ReadableStream {
  return pipe === "-" ? process.stdin : createReadStream(pipe);
}

/** Where a list is kept until its pipe has come to its end: what is not whole must not pass for it. */
export function unfinished(list: string): string {
  return `${list}.part`;
}

/** Removes a list that was kept. */
export function dropKept(list: string): void {
  rmSync(list, { force: true });
  rmSync(unfinished(list), { force: true });
}

/**
 * Keeps what is read from a pipe in the state directory, so that a killed run can go on with it.
 *
 * @returns the file, and the stream to read instead of the pipe.
 */
export function keepPipe(pipe: string, stateDir: string): { path: string; stream: NodeJS.ReadableStream } {
  const directory = join(stateDir, "lists");
  const path = join(directory, randomBytes(8).toString("hex"));
  let fd: number;
  try {
    makeDirectory(directory, 0o700);
    fd = openSync(unfinished(path), "wx", 0o600);
  } catch (error) {
    throw new UnavailableError(`cannot keep the list in ${directory}: ${(error as Error).message}`);
  }
  async function* kept(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of openPipe(pipe)) {
        const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
        for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
        yield bytes;
      }
      renameSync(unfinished(path), path);
    } finally {
      closeSync(fd);
    }
  }
  return { path, stream: Readable.from(kept(), { objectMode: false, highWaterMark: 1 << 18 }) };
}

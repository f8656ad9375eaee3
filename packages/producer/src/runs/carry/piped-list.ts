import { randomBytes } from "node:crypto";
import { closeSync, createReadStream, openSync, realpathSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { UnavailableError } from "@drover/shared/errors";
import { makeDirectory } from "@drover/shared/make-directory";
import { makePrivateDirectory } from "@drover/shared/private-directory";

/** Opens a list that can be read only once: `-` is standard input, anything else the path of a pipe. */
export function openPipe(pipe: string): NodeJS.ReadableStream {
  return pipe === "-" ? process.stdin : createReadStream(pipe);
}

/**
 * Path of a kept list until its pipe has been read completely, so that an incomplete list is never taken for
 * a complete one.
 */
export function unfinished(list: string): string {
  return `${list}.part`;
}

/** Removes a kept list. */
export function dropKept(list: string): void {
  rmSync(list, { force: true });
  rmSync(unfinished(list), { force: true });
}

/**
 * Copies a pipe into the state directory as it is read, so that a killed run can be resumed.
 *
 * @returns the file, and the stream to read instead of the pipe.
 * @throws UnavailableError if the file cannot be created, or others could read or replace it.
 */
export function keepPipe(pipe: string, stateDir: string): { path: string; stream: NodeJS.ReadableStream } {
  let directory = join(stateDir, "lists");
  let path: string;
  let fd: number;
  try {
    makeDirectory(stateDir, 0o700);
    directory = join(realpathSync(stateDir), "lists");
    makePrivateDirectory(directory);
    path = join(directory, randomBytes(8).toString("hex"));
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

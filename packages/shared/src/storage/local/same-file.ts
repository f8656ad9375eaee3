import { type FileHandle, open } from "node:fs/promises";

const CHUNK_BYTES = 1 << 20;
/** Times of two files that differ by no more than this, in milliseconds, are the same: file systems round them. */
export const TIME_MS = 1;

/**
 * Whether a file is at its destination as a copy of it would be: of the same size, time and permissions (those of the
 * source less this process's umask), and byte by byte the same, which is looked at last.
 *
 * @returns false as well for what is no file, or cannot be read.
 */
export async function isSameFile(source: string, destination: string): Promise<boolean> {
  let from: FileHandle | undefined;
  let to: FileHandle | undefined;
  try {
    from = await open(source);
    to = await open(destination);
    const [a, b] = [await from.stat(), await to.stat()];
    if (!a.isFile() || !b.isFile() || a.size !== b.size || Math.abs(a.mtimeMs - b.mtimeMs) > TIME_MS)
      return false;
    return (a.mode & 0o777 & ~process.umask()) === (b.mode & 0o777) && (await isSameContent(from, to));
  } catch {
    return false; // the run itself will say why
  } finally {
    await from?.close();
    await to?.close();
  }
}

async function isSameContent(one: FileHandle, other: FileHandle): Promise<boolean> {
  const [a, b] = [Buffer.allocUnsafe(CHUNK_BYTES), Buffer.allocUnsafe(CHUNK_BYTES)];
  for (let at = 0; ; ) {
    const [read, readToo] = await Promise.all([
      one.read(a, 0, CHUNK_BYTES, at),
      other.read(b, 0, CHUNK_BYTES, at),
    ]);
    const count = Math.min(read.bytesRead, readToo.bytesRead);
    if (count === 0) return read.bytesRead === readToo.bytesRead;
    if (a.compare(b, 0, count, 0, count) !== 0) return false;
    at += count;
  }
}

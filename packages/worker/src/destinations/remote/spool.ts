import { closeSync, createReadStream, mkdtempSync, openSync, rmSync, write } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { fileError } from "@drover/shared/errors";

const writeAsync = promisify(write);

/** Bytes in a temporary file without a name, for a server that has no place to stage them. */
export class Spool {
  private constructor(private readonly fd: number) {}

  /** Takes a whole stream. @throws TransferError, or what the stream throws. */
  static async of(stream: AsyncIterable<Uint8Array>): Promise<Spool> {
    const directory = mkdtempSync(join(tmpdir(), "drover-spool-"));
    let spool: Spool | undefined;
    try {
      spool = new Spool(openSync(join(directory, "bytes"), "wx+", 0o600));
      rmSync(directory, { recursive: true });
      for await (const chunk of stream) await spool.#write(chunk);
      return spool;
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      spool?.close();
      throw error;
    }
  }

  async #write(chunk: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < chunk.length; )
        at += (await writeAsync(this.fd, chunk, at, chunk.length - at, null)).bytesWritten;
    } catch (error) {
      throw fileError(error, `write below ${tmpdir()}`);
    }
  }

  /** The bytes from the first to the last; may be called again. */
  read(): AsyncIterable<Uint8Array> {
    return createReadStream("", { fd: this.fd, autoClose: false, start: 0, highWaterMark: 256 << 10 });
  }

  close(): void {
    closeSync(this.fd);
  }
}

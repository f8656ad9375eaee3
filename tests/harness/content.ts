import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** What an origin serves: bytes that can be read from anywhere, without having to be in memory. */
export interface Content {
  readonly size: number;
  /** The bytes from `start` up to, not including, `end`. */
  slices(start: number, end: number): Iterable<Buffer>;
}

const STEP = 256 * 1024;

export function bytes(data: string | Buffer): Content {
  const buffer = typeof data === "string" ? Buffer.from(data) : data;
  return {
    size: buffer.length,
    *slices(start, end) {
      for (let at = start; at < end; at += STEP) yield buffer.subarray(at, Math.min(at + STEP, end));
    },
  };
}

/**
 * `size` bytes made up on the way, always the same ones for a seed. They repeat after a prime number of bytes,
 * so that a segment written to the wrong place never looks right by chance.
 */
export function pattern(size: number, seed = 1): Content {
  const period = 1_048_573;
  const block = Buffer.alloc(period);
  // xorshift32: quick, and nothing compresses it.
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  for (let i = 0; i < period; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    block[i] = state & 0xff;
  }
  return {
    size,
    *slices(start, end) {
      let at = start;
      while (at < end) {
        const from = at % period;
        const to = Math.min(period, from + (end - at));
        yield block.subarray(from, to);
        at += to - from;
      }
    },
  };
}

/** All of it in one buffer. Only for small contents. */
export function toBuffer(content: Content): Buffer {
  return Buffer.concat([...content.slices(0, content.size)]);
}

export function hashOf(algorithm: string, content: Content | string | Buffer): Buffer {
  const hash = createHash(algorithm);
  if (typeof content === "string" || Buffer.isBuffer(content)) return hash.update(content).digest();
  for (const slice of content.slices(0, content.size)) hash.update(slice);
  return hash.digest();
}

export function sha256(content: Content | string | Buffer): string {
  return hashOf("sha256", content).toString("hex");
}

export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return hash.digest("hex");
}

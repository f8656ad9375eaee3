/** How entries of files are packed into few bytes. */

/** Times are stored in 32 bits. */
export const MAX_SECONDS = 2 ** 32;

/** An ETag that is an MD5, or that of an object which was uploaded in parts. */
export interface Etag {
  hex: string;
  /** Number of parts of its upload; 0 for an object that was uploaded whole. */
  parts: number;
}

const ETAG = /^"([0-9a-f]{32})(?:-([1-9]\d{0,4}))?"$/;

export function etagOf(text: string): Etag | undefined {
  const match = ETAG.exec(text);
  return match ? { hex: match[1] as string, parts: Number(match[2] ?? 0) } : undefined;
}

export function etagText({ hex, parts }: Etag): string {
  return parts === 0 ? `"${hex}"` : `"${hex}-${parts}"`;
}

/** ETag and time of a version as `s3Version` makes it; undefined where it cannot be packed. */
export function objectVersion(
  version: string,
  sizeBytes: number,
): { etag: Etag; seconds: number } | undefined {
  if (!version.startsWith('s"')) return undefined;
  const [text = "", size, time] = version.slice(1).split(";");
  const etag = etagOf(text);
  const seconds = Number(time);
  if (!etag || !(seconds >= 0 && seconds < MAX_SECONDS)) return undefined;
  return version === `s${etagText(etag)};${sizeBytes};${seconds}` && size !== undefined
    ? { etag, seconds }
    : undefined;
}

/** Writes what is stored as bytes. The first two are its format and its flags. */
export class Writer {
  readonly #bytes: Buffer;
  #at = 0;

  /** @param maxBytes that are written. */
  constructor(maxBytes: number) {
    this.#bytes = Buffer.allocUnsafe(maxBytes);
  }

  byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  /** Writes a text in hex or base64url that stands for so many bytes. @throws Error where it does not. */
  text(value: string, encoding: "hex" | "base64url", bytes: number): void {
    const written = this.#bytes.write(value, this.#at, encoding);
    const length = encoding === "hex" ? bytes * 2 : (bytes / 3) * 4;
    if (written !== bytes || value.length !== length)
      throw new Error(`not ${bytes} bytes in ${encoding}: ${value}`);
    this.#at += bytes;
  }

  /** Writes a whole number from 0, as LEB128. */
  number(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.byte((rest % 128) | 128);
      rest = Math.floor(rest / 128);
    }
    this.byte(rest);
  }

  seconds(value: number): void {
    this.#at = this.#bytes.writeUInt32LE(value, this.#at);
  }

  etag({ hex, parts }: Etag): void {
    this.text(hex, "hex", 16);
    this.number(parts);
  }

  any(value: string): void {
    this.number(Buffer.byteLength(value));
    this.#at += this.#bytes.write(value, this.#at, "utf8");
  }

  /** Sets the second byte. @returns all that was written. */
  end(flags: number): Buffer {
    this.#bytes[1] = flags;
    return Buffer.from(this.#bytes.subarray(0, this.#at));
  }
}

/** Reads what {@link Writer} wrote, behind the first two bytes. */
export class Reader {
  #at = 2;

  constructor(private readonly bytes: Buffer) {}

  text(encoding: "hex" | "base64url" | "utf8", bytes: number): string {
    const from = this.#at;
    this.#at += bytes;
    return this.bytes.toString(encoding, from, this.#at);
  }

  number(): number {
    let value = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = this.bytes[this.#at++] as number;
      value += (byte & 127) * unit;
      if (!(byte & 128)) return value;
    }
  }

  seconds(): number {
    this.#at += 4;
    return this.bytes.readUInt32LE(this.#at - 4);
  }

  etag(): string {
    const hex = this.text("hex", 16);
    return etagText({ hex, parts: this.number() });
  }

  any(): string {
    const length = this.number();
    return this.text("utf8", length);
  }
}

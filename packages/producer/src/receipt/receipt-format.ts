import type { RunCounts } from "@drover/shared/outcome";

/**
 * A receipt is lines of JSON, each ended by a line feed: a head, a line for each file in the order of the run, and an end
 * that signs all bytes before it.
 */

/** The first line. Times are in ISO 8601. */
export interface ReceiptHead {
  /** Format of the receipt. */
  drover_receipt: 1;
  run: string;
  /** Version of the Drover that wrote the receipt. */
  drover: string;
  state: string;
  /** Whether the run ended by itself, and every file that it delivered or did not deliver has a line. */
  complete: boolean;
  /** Why it is not; null if it is. */
  incomplete_because: string | null;
  started: string;
  ended: string | null;
  issued: string;
  /** Without secrets. */
  from: string[];
  to: string;
  /** SHA-256 of all settings of the run, without secrets. */
  settings_sha256: string;
  counts: RunCounts;
  /** SHA-256 of the public key (DER) that belongs to the signature. */
  key_sha256: string;
}

/** The line of one file. Sizes are in bytes. */
export interface ReceiptFile {
  /** Number of the file in the run, from 0. */
  file: number;
  status: "delivered" | "deleted" | "not-delivered";
  source: string;
  /** Version at the source, as the catalog has it; null where it was not told. */
  version: string | null;
  destination: string;
  /** Relative to the destination. */
  name: string;
  size: number | null;
  /** Hexadecimal; null where nobody has read the bytes. */
  sha256: string | null;
  /** Number of the lease that it was published under. */
  fence: string | null;
  verified_by: string | null;
  attempts: number;
  /** By the clock of Redis. */
  at: string | null;
  error: { class: string; message: string } | null;
}

/** The last line. */
export interface ReceiptEnd {
  end: "receipt";
  /** Lines before this one. */
  lines: number;
  /** SHA-256 of all bytes before this line, hexadecimal. */
  sha256: string;
  /** Ed25519, in base64. */
  signature: string;
}

export function lineOf(value: ReceiptHead | ReceiptFile | ReceiptEnd): string {
  return `${JSON.stringify(value)}\n`;
}

/** What is signed. The words in front keep a signature from meaning anything else. */
export function signedBytes({ lines, sha256 }: Pick<ReceiptEnd, "lines" | "sha256">): Buffer {
  return Buffer.from(`drover receipt 1\n${lines}\n${sha256}\n`);
}

/**
 * Reads the last line.
 *
 * @returns undefined for anything that is not, byte by byte, as {@link lineOf} writes it.
 */
export function parseEnd(line: Buffer): ReceiptEnd | undefined {
  const text = line.toString("latin1");
  const match =
    /^\{"end":"receipt","lines":(0|[1-9]\d{0,15}),"sha256":"([0-9a-f]{64})","signature":"([A-Za-z0-9+/]{86}==)"\}\n$/.exec(
      text,
    );
  if (!match) return undefined;
  const [, lines, sha256 = "", signature = ""] = match;
  // The last character of base64 has bits that mean nothing: only one way of writing them counts.
  if (Buffer.from(signature, "base64").toString("base64") !== signature) return undefined;
  return { end: "receipt", lines: Number(lines), sha256, signature };
}

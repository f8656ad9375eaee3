import { createHash, type Hash } from "node:crypto";
import { createReadStream, lstatSync } from "node:fs";
import { join } from "node:path";
import { fileError, messageOf, TransferError } from "@drover/shared/errors";
import { safeRelative } from "@drover/shared/paths";
import { digestOfFile } from "@drover/shared/storage/local/digest-of-file";
import {
  parseEnd,
  type ReceiptEnd,
  type ReceiptFile,
  type ReceiptHead,
  signedBytes,
} from "./receipt-format.js";
import type { VerifyingKey } from "./receipt-key.js";

/** A receipt proves nothing: it was changed, is cut short, or is another key's. */
export class ReceiptError extends Error {
  override name = "ReceiptError";
}

/** What a receipt says that holds. */
export interface VerifiedReceipt {
  head: ReceiptHead;
  delivered: number;
  deleted: number;
  notDelivered: number;
}

/** Bytes of the longest line that a receipt can have: paths have 4,096 at most, and errors are one line. */
const MOST_LINE_BYTES = 1 << 20;

/**
 * Proves that a receipt is, byte by byte, what the owner of a key signed. Redis is not asked.
 *
 * @param path of the receipt: it is read twice, so it must be a file.
 * @param publicKey from somewhere else than the receipt.
 * @param onFile called with each line of a file, only once the signature holds.
 * @throws ReceiptError if it is not; TransferError if it cannot be read.
 */
export async function verifyReceipt(
  path: string,
  publicKey: VerifyingKey,
  onFile: (file: ReceiptFile) => Promise<void> = async () => {},
): Promise<VerifiedReceipt> {
  const end = await checkSignature(path, publicKey);
  const hash = createHash("sha256");
  let head: ReceiptHead | undefined;
  let last = -1;
  const counts = { delivered: 0, deleted: 0, "not-delivered": 0 };
  for await (const line of linesBefore(path, hash, end.lines)) {
    const value = parse(line);
    if (!head) {
      head = value as ReceiptHead;
      if (head.drover_receipt !== 1)
        throw new ReceiptError("it is of a format that this version does not know");
      const own = publicKey.fingerprint;
      if (head.key_sha256 !== own) throw new ReceiptError("it says that another key has signed it");
      continue;
    }
    const file = value as ReceiptFile;
    if (!(file.file > last) || !(file.status in counts)) throw new ReceiptError("its files are not in order");
    last = file.file;
    counts[file.status]++;
    await onFile(file);
  }
  if (hash.digest("hex") !== end.sha256) throw new ReceiptError("it changed while it was read");
  if (!head) throw new ReceiptError("it has no head");
  return {
    head,
    delivered: counts.delivered,
    deleted: counts.deleted,
    notDelivered: counts["not-delivered"],
  };
}

/** @returns the last line, whose signature holds for all before it. */
async function checkSignature(path: string, publicKey: VerifyingKey): Promise<ReceiptEnd> {
  const hash = createHash("sha256");
  let last: Buffer | undefined;
  let first: Buffer | undefined;
  let lines = 0;
  for await (const line of linesOf(path)) {
    first ??= line;
    if (last) {
      hash.update(last);
      lines++;
    }
    last = line;
  }
  const end = last && parseEnd(last);
  if (!end) throw new ReceiptError("it does not end in a signature: it is cut short, or something follows");
  if (end.lines !== lines || end.sha256 !== hash.digest("hex"))
    throw new ReceiptError("its bytes are not those that were signed");
  if (!publicKey.verify(signedBytes(end), Buffer.from(end.signature, "base64"))) {
    const isOther = first && !first.includes(`"key_sha256":"${publicKey.fingerprint}"`);
    throw new ReceiptError(
      isOther ? "another key has signed it" : "its signature is not of this key, or of other bytes",
    );
  }
  return end;
}

/** The lines before the last one. */
async function* linesBefore(path: string, hash: Hash, lines: number): AsyncGenerator<Buffer> {
  let read = 0;
  for await (const line of linesOf(path)) {
    if (read++ >= lines) return;
    hash.update(line);
    yield line;
  }
}

/** Reads a line that is signed. That it is written in the only way there is keeps two keys of one name out. */
function parse(line: Buffer): unknown {
  const text = line.toString();
  try {
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === "object" && `${JSON.stringify(value)}\n` === text) return value;
  } catch {
    // refused below
  }
  throw new ReceiptError("one of its lines is not as Drover writes it");
}

/** Lines with their line feeds; the last one may lack it. */
async function* linesOf(path: string): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      let from = 0;
      for (let stop = bytes.indexOf(10); stop >= 0; stop = bytes.indexOf(10, from)) {
        yield bytes.subarray(from, stop + 1);
        from = stop + 1;
      }
      rest = bytes.subarray(from);
      if (rest.length > MOST_LINE_BYTES) throw new ReceiptError("one of its lines is too long");
    }
  } catch (error) {
    if (error instanceof ReceiptError) throw error;
    throw fileError(error, `read ${path}`);
  }
  if (rest.length > 0) yield rest;
}

/** Why a local file is not what a line of a receipt says of it; undefined if it is, or the line says nothing of it. */
export async function compareWithReceipt(directory: string, file: ReceiptFile): Promise<string | undefined> {
  if (file.status !== "delivered") return undefined;
  try {
    const path = join(directory, safeRelative(file.name));
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (!stat) return "it is not there";
    if (!stat.isFile()) return "it is not a regular file";
    if (stat.size !== file.size) return `it has ${stat.size} B, and was delivered with ${file.size} B`;
    if (file.sha256 === null) return "no checksum of it is known";
    return (await digestOfFile(path, "sha256")) === file.sha256 ? undefined : "its SHA-256 is another";
  } catch (error) {
    if (error instanceof TransferError) return error.message;
    return messageOf(error);
  }
}

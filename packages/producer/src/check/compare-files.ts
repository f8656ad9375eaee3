import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import {
  type Contents,
  changedSince,
  type FileVersion,
  type KnownDigest,
} from "@drover/shared/storage/contents";
import type { Comparing } from "./plan-check.js";

/** What two files were compared by. `mark`: by ETags that are MD5s. */
export type ComparedBy = "size" | "bytes" | "mark" | KnownDigest["algorithm"];

/** How two files compare. `unchecked`: their sizes are equal, and nothing else is known of both without a transfer. */
export type Comparison = { is: "same" | "different"; by: ComparedBy } | { is: "unchecked" };

/** A file, and what tells its content. */
export interface Comparable {
  contents: Contents;
  file: FileVersion;
}

/** Algorithms that are computed of local files. */
const COMPUTED = new Set<KnownDigest["algorithm"]>(["sha256", "sha512", "sha1", "md5"]);

/** Checksums of 32 bits: that they differ proves something, that they are equal does not. */
const SHORT = new Set<KnownDigest["algorithm"]>(["crc32", "crc32c"]);

/**
 * Compares two files. Where both are local their bytes are compared, since a checksum would have to read them too.
 *
 * @throws TransferError if one cannot be read, or changes meanwhile, and where not even sizes can be compared.
 */
export async function compareFiles(
  source: Comparable,
  destination: Comparable,
  comparing: Comparing,
  signal: AbortSignal,
): Promise<Comparison> {
  const [size, otherSize] = [source.file.sizeBytes, destination.file.sizeBytes];
  if (size !== undefined && otherSize !== undefined) {
    if (size !== otherSize) return { is: "different", by: "size" };
    if (comparing === "size") return { is: "same", by: "size" };
  }
  const isBytes = comparing === "download" || (source.contents.isLocal && destination.contents.isLocal);
  const compared =
    isBytes && comparing !== "size"
      ? await compareBytes(source, destination, signal)
      : comparing === "size"
        ? undefined
        : await compareDigests(source, destination, signal);
  if (compared?.is === "different") {
    // What was written meanwhile differs from itself.
    await confirm(source, signal);
    await confirm(destination, signal);
  }
  if (compared) return compared;
  if (size !== undefined && otherSize !== undefined) return { is: "unchecked" };
  const why = "neither its size nor a checksum is told: --download reads it";
  throw new TransferError("unsupported", why, { permanent: true });
}

/** @throws TransferError class `changed` if it is another version by now. */
async function confirm({ contents, file }: Comparable, signal: AbortSignal): Promise<void> {
  if (!file.version) return;
  const now = await contents.look(file.name, file.location, signal);
  if (now?.version !== file.version) throw changedSince(file.location);
}

async function compareDigests(
  source: Comparable,
  destination: Comparable,
  signal: AbortSignal,
): Promise<Comparison | undefined> {
  const sides = [source, destination].map(({ contents, file }) => new Digests(contents, file, signal));
  const [one, other] = sides as [Digests, Digests];
  if ((await one.hasMarkOf(other)) || (await other.hasMarkOf(one))) return { is: "same", by: "mark" };
  for (const [told, asked] of [
    [one, other],
    [other, one],
  ] as const)
    for (const { algorithm, hex } of await told.known()) {
      const theirs = await asked.of(algorithm);
      if (theirs === undefined || (theirs === hex && SHORT.has(algorithm))) continue;
      return { is: theirs === hex ? "same" : "different", by: algorithm };
    }
  return undefined;
}

/** The checksums of one file, each computed once. */
class Digests {
  readonly #computed = new Map<string, Promise<string>>();

  constructor(
    private readonly contents: Contents,
    private readonly file: FileVersion,
    private readonly signal: AbortSignal,
  ) {}

  known(): Promise<KnownDigest[]> {
    return this.contents.digests(this.file, this.signal);
  }

  /** Hexadecimal; undefined where only a transfer would tell. */
  async of(algorithm: KnownDigest["algorithm"]): Promise<string | undefined> {
    if (!this.contents.isLocal) return (await this.known()).find((each) => each.algorithm === algorithm)?.hex;
    return COMPUTED.has(algorithm) ? await this.#compute(algorithm) : undefined;
  }

  /** Whether the bytes are those of the other one's ETag, which costs no request. That they are not proves nothing. */
  async hasMarkOf(other: Digests): Promise<boolean> {
    const mark = other.contents.mark(other.file);
    if (mark === undefined) return false;
    if (!this.contents.isLocal) return this.contents.mark(this.file) === mark;
    return !mark.includes("-") && (await this.#compute("md5")) === mark;
  }

  #compute(algorithm: KnownDigest["algorithm"]): Promise<string> {
    let digest = this.#computed.get(algorithm);
    if (!digest) {
      digest = digestOf(this.contents, this.file, algorithm, this.signal);
      this.#computed.set(algorithm, digest);
    }
    return digest;
  }
}

/** The checksum of a file that is read for it, hexadecimal. @throws TransferError */
export async function digestOf(
  contents: Contents,
  file: FileVersion,
  algorithm: string,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash(algorithm);
  for await (const chunk of contents.read(file, signal)) hash.update(chunk);
  return hash.digest("hex");
}

async function compareBytes(
  source: Comparable,
  destination: Comparable,
  signal: AbortSignal,
): Promise<Comparison> {
  const [one, other] = [source, destination].map(({ contents, file }) => contents.read(file, signal)) as [
    AsyncGenerator<Uint8Array>,
    AsyncGenerator<Uint8Array>,
  ];
  try {
    let [left, right] = await Promise.all([next(one), next(other)]);
    while (left && right) {
      const count = Math.min(left.length, right.length);
      if (Buffer.compare(left.subarray(0, count), right.subarray(0, count)) !== 0)
        return { is: "different", by: "bytes" };
      const rest = left.subarray(count);
      const otherRest = right.subarray(count);
      [left, right] = await Promise.all([
        rest.length > 0 ? rest : next(one),
        otherRest.length > 0 ? otherRest : next(other),
      ]);
    }
    return { is: left === right ? "same" : "different", by: "bytes" };
  } finally {
    await Promise.all([one.return(undefined), other.return(undefined)]);
  }
}

/** The next bytes; undefined at the end. */
async function next(chunks: AsyncGenerator<Uint8Array>): Promise<Uint8Array | undefined> {
  for (;;) {
    const step = await chunks.next();
    if (step.done) return undefined;
    if (step.value.length > 0) return step.value;
  }
}

/** Delay before the second try, in ms, its growth, and its limit. */
const DELAY_MS = 500;
const DELAY_FACTOR = 2;
const MOST_DELAY_MS = 30_000;
/** Files in a row that a host failed to answer for, after which each of the others gets one try. */
const MOST_FAILURES = 5;

/** Tries again what may succeed then, unless nothing has for a while. */
export class Tries {
  #failuresInARow = 0;

  /** @param most tries of one file. */
  constructor(
    private readonly most: number,
    private readonly signal: AbortSignal,
  ) {}

  /** @throws what the last try threw. */
  async run<T>(act: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const done = await act();
        this.#failuresInARow = 0;
        return done;
      } catch (error) {
        if (!mayPass(error)) throw error;
        if (attempt >= this.most || this.#failuresInARow >= MOST_FAILURES || this.signal.aborted) {
          this.#failuresInARow++;
          throw error;
        }
        const delayMs = error.retryAfterMs ?? DELAY_MS * DELAY_FACTOR ** (attempt - 1);
        await sleep(Math.min(delayMs, MOST_DELAY_MS), undefined, { signal: this.signal });
      }
    }
  }
}

function mayPass(error: unknown): error is TransferError {
  if (!(error instanceof TransferError)) return false;
  return !error.permanent && error.class !== "changed" && error.class !== "cancelled";
}

import { setTimeout as sleep } from "node:timers/promises";
import { TransferError } from "@drover/shared/errors";
import type { ByteRange, Opened, Source, SourceEntry } from "@drover/shared/storage/source";
import { DecodedBody, mustDecode } from "./decode.js";
import { createDigest, type Digest } from "./hash/digest.js";
import { verify } from "./verify.js";

const BASE_DELAY_MS = 500;
const MOST_DELAY_MS = 20_000;

export interface ReadOptions {
  /** Name of the file, which tells whether it is a compressed file itself. */
  name: string;
  /** Default: the whole file. */
  range?: ByteRange | undefined;
  /** Tries in a row that bring no byte, including the first. */
  tries: number;
  /** Time limit in ms for each piece of the body. */
  timeoutMs: number;
  signal: AbortSignal;
  /** Called with what is waited for. */
  warn(message: string): void;
}

type OpenedBody = Extract<Opened, { is: "body" }>;

/**
 * Yields the bytes of one version of a file, each once and in order, however often the connection breaks. A whole file is
 * verified once all of it was yielded.
 *
 * @throws TransferError class `changed` if the version was replaced while it was read, `checksum` if what was yielded is not
 *   what its source tells.
 */
export async function* readOut(source: Source, options: ReadOptions): AsyncGenerator<Buffer> {
  yield* new Reading(source, options).bytes();
}

class Reading {
  #entry: SourceEntry | undefined;
  /** First byte that was not yielded yet. */
  #next: number;
  #isDecoded = false;
  #sha256: Digest | undefined;
  #other: Digest | undefined;
  #wire: Digest | undefined;

  constructor(
    private readonly source: Source,
    private readonly options: ReadOptions,
  ) {
    this.#next = options.range?.startByte ?? 0;
  }

  async *bytes(): AsyncGenerator<Buffer> {
    const { tries, signal, warn } = this.options;
    for (let failed = 0; ; ) {
      const before = this.#next;
      try {
        const opened = await this.#open();
        yield* this.#rest(opened);
        return;
      } catch (thrown) {
        signal.throwIfAborted();
        if (!(thrown instanceof TransferError)) throw thrown;
        failed = this.#next > before ? 1 : failed + 1;
        const isLost = this.#isDecoded && this.#next > before;
        if (thrown.permanent || thrown.class === "changed" || thrown.class === "checksum" || isLost)
          throw thrown;
        if (failed >= tries) throw thrown;
        const backoffMs = Math.random() * Math.min(BASE_DELAY_MS * 2 ** failed, MOST_DELAY_MS);
        warn(`${thrown.message}: going on at byte ${this.#next}`);
        await sleep(Math.max(backoffMs, thrown.retryAfterMs ?? 0), undefined, { signal });
      }
    }
  }

  /** Opens what is left to be yielded, or more of it. */
  async #open(): Promise<OpenedBody> {
    const { source, options } = this;
    const { range, signal } = options;
    if (!this.#entry && range && source.look) {
      this.#entry = await source.look(signal);
      if (!this.#entry) throw new TransferError("not-found", "no such object", { permanent: true });
    }
    if (!this.#entry) {
      const opened = bodyOf(await source.open("", signal));
      this.#entry = opened.entry;
      if (!range) return opened;
      opened.body.abort(new Error("only a range of it is wanted"));
    }
    const entry = this.#entry;
    if (range && entry.sizeBytes !== undefined && range.startByte >= entry.sizeBytes) {
      const why = `the range begins behind its end: it has ${entry.sizeBytes} bytes`;
      throw new TransferError("unsupported", why, { permanent: true });
    }
    if (this.#next === 0 && !range) return this.#same(bodyOf(await source.open("", signal)));
    const canResume = entry.strongEtag !== "" && entry.encoding === "";
    const rest = {
      startByte: this.#next,
      ...(range?.lastByte === undefined ? {} : { lastByte: range.lastByte }),
    };
    const opened = canResume ? await source.openRange(entry, rest, signal) : await source.open("", signal);
    return this.#same(bodyOf(opened));
  }

  /** @throws TransferError class `changed` for another version than the bytes that were yielded are of. */
  #same(opened: OpenedBody): OpenedBody {
    const entry = this.#entry as SourceEntry;
    const now = opened.entry;
    const isSame =
      entry.strongEtag !== "" || now.strongEtag !== ""
        ? entry.strongEtag === now.strongEtag
        : entry.version !== "" && entry.version === now.version;
    const hasYielded = this.#next > (this.options.range?.startByte ?? 0);
    if (isSame) return opened;
    if (!hasYielded) {
      this.#entry = now;
      return opened;
    }
    opened.body.abort(new Error("another version"));
    const unknown = entry.version === "" && entry.strongEtag === "";
    const why = unknown
      ? "it broke off, and its server tells no version to go on with"
      : "it was replaced while it was read";
    throw new TransferError("changed", why, { permanent: true });
  }

  async *#rest(opened: OpenedBody): AsyncGenerator<Buffer> {
    const { name, range } = this.options;
    const entry = this.#entry as SourceEntry;
    const decoded = range || !mustDecode(entry, name) ? undefined : new DecodedBody(opened.body, entry);
    this.#isDecoded = decoded !== undefined;
    const body = decoded ?? opened.body;
    const endByte = range?.lastByte === undefined ? Number.POSITIVE_INFINITY : range.lastByte + 1;
    if (this.#next === 0 && !range) this.#begin(entry, decoded);
    let at = decoded ? 0 : opened.offset;
    try {
      while (at < endByte) {
        const chunks = await this.#within(body);
        if (!chunks) break;
        for (const chunk of chunks) {
          const from = Math.max(this.#next - at, 0);
          const wanted = chunk.subarray(from, Math.max(endByte - at, 0));
          at += chunk.length;
          if (from >= chunk.length || wanted.length === 0) continue;
          this.#sha256?.update(wanted);
          this.#other?.update(wanted);
          this.#next += wanted.length;
          yield wanted;
        }
      }
      await this.#end(opened, at < endByte);
    } finally {
      body.abort(new Error("no more of it is wanted"));
    }
  }

  #begin({ digest }: SourceEntry, decoded: DecodedBody | undefined): void {
    this.#wire = decoded?.wireHash;
    this.#sha256 = createDigest("sha256");
    if (!decoded && digest && digest.algorithm !== "sha256") this.#other = createDigest(digest.algorithm);
  }

  /** @param isEnd whether the file ended, not only its range. */
  async #end({ confirm, entry: last }: OpenedBody, isEnd: boolean): Promise<void> {
    const entry = this.#entry as SourceEntry;
    const { range } = this.options;
    const sizeBytes = this.#next;
    const expected = this.#isDecoded ? undefined : entry.sizeBytes;
    const wantedEnd = Math.min(
      expected ?? Number.POSITIVE_INFINITY,
      (range?.lastByte ?? Number.POSITIVE_INFINITY) + 1,
    );
    if (isEnd && wantedEnd !== Number.POSITIVE_INFINITY && sizeBytes < wantedEnd && expected !== undefined)
      throw new TransferError("truncated", `got ${sizeBytes} of ${expected} bytes`);
    if (range) return;
    confirm?.();
    entry.digest ??= last.digest;
    const sha256 = (await this.#sha256?.digest()) ?? "";
    const own = entry.digest?.algorithm === "sha256" ? sha256 : await this.#other?.digest();
    const sourceDigest = this.#isDecoded ? await this.#wire?.digest() : own;
    verify({ sizeBytes, sha256, sourceDigest }, entry, expected, undefined);
  }

  /** The next chunks of a body. @throws TransferError class `timeout` where none come. */
  async #within(body: OpenedBody["body"]): Promise<Buffer[] | null> {
    const { timeoutMs, signal } = this.options;
    const stop = (error: Error) => body.abort(error);
    const timer = setTimeout(
      () => stop(new TransferError("timeout", `network timeout: no byte within ${timeoutMs / 1000} s`)),
      timeoutMs,
    );
    const onAbort = () => stop(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await body.read();
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }
}

function bodyOf(opened: Opened): OpenedBody {
  if (opened.is === "body") return opened;
  throw new Error("a file without a known version is opened");
}

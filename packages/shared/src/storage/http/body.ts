import type { Dispatcher } from "undici";
import type { Body } from "../source.js";
import type { DirectReceive } from "./direct-receive.js";

/** Most bytes in memory before the socket is paused. */
const HIGH_WATER_BYTES = 4 << 20;
/** Largest unwanted body in bytes that is read to its end, since that is cheaper than a new connection. */
const DISCARD_BYTES = 64 << 10;
/** Time in ms that the rest of an unwanted body may take, for the same reason. */
const DISCARD_MS = 1_000;

/**
 * The body of a response as it arrives. A small body is complete before it is read, without a promise per
 * chunk; a large one is paused when its reader is slow.
 */
export class HttpBody implements Body {
  #chunks: Buffer[] = [];
  #queuedBytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #discarded = false;
  #discardTimer: NodeJS.Timeout | undefined;
  #paused = false;
  /** Bytes received so far. */
  receivedBytes = 0;
  /** Trailer fields; known at the end of the body. */
  trailers: Record<string, string | undefined> = {};

  /**
   * @param direct receives the body past the HTTP parser, if possible.
   * @param discardMs time in ms after which a discarded body is aborted.
   */
  constructor(
    private readonly controller: Dispatcher.DispatchController,
    private readonly direct?: DirectReceive,
    private readonly discardMs = DISCARD_MS,
  ) {}

  push(chunk: Buffer): void {
    if (this.#discarded) {
      this.receivedBytes += chunk.length;
      if (this.receivedBytes > DISCARD_BYTES) this.abort(new Error("not wanted"));
      return;
    }
    this.#chunks.push(chunk);
    this.#queuedBytes += chunk.length;
    this.receivedBytes += chunk.length;
    if (this.#queuedBytes > HIGH_WATER_BYTES && !this.#paused) {
      this.#paused = true;
      this.controller.pause();
    }
    this.#wake?.();
  }

  reuseMemory(): void {
    const { direct } = this;
    direct?.start(
      (chunk) => {
        this.#chunks.push(chunk);
        this.receivedBytes += chunk.length;
        this.#wake?.();
        if (this.receivedBytes < direct.lengthBytes) return;
        this.end();
        this.controller.abort(new Error("read past the parser"));
      },
      () => (this.#paused || this.#ended || this.#error || this.#discarded ? undefined : this.receivedBytes),
    );
  }

  end(): void {
    clearTimeout(this.#discardTimer);
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: Error): void {
    clearTimeout(this.#discardTimer);
    if (!this.#ended) this.#error ??= error;
    this.#wake?.();
  }

  /** Stops the transfer and closes the connection. */
  abort(error: Error): void {
    if (this.#ended || this.#error) return;
    this.fail(error);
    this.controller.abort(error);
  }

  /**
   * Drops the body. A short one is read to its end so that the connection can be reused, unless that takes too
   * long.
   */
  discard(lengthBytes: number | undefined): void {
    this.#discarded = true;
    this.#chunks = [];
    if (lengthBytes !== undefined && lengthBytes > DISCARD_BYTES) this.abort(new Error("not wanted"));
    if (this.#ended || this.#error) return;
    clearTimeout(this.#discardTimer);
    this.#discardTimer = setTimeout(() => this.abort(new Error("not wanted")), this.discardMs).unref();
  }

  /** Whether the reader waits for the server, rather than the server for the reader. */
  get starved(): boolean {
    return this.#wake !== undefined;
  }

  /** Returns all buffered chunks, or null at the end. @throws the error that broke the connection. */
  async read(): Promise<Buffer[] | null> {
    this.direct?.release();
    while (this.#chunks.length === 0) {
      if (this.#error) throw this.#error;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#queuedBytes = 0;
    this.direct?.handOver();
    if (this.#paused) {
      this.#paused = false; // first: resume may push at once
      if (!this.#error) this.controller.resume();
    }
    return chunks;
  }

  /** Returns the whole body if it has arrived, without a copy; else undefined. */
  takeIfComplete(): Buffer[] | undefined {
    if (!this.#ended || this.#error) return undefined;
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks;
  }
}

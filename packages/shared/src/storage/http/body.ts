import type { Dispatcher } from "undici";
import type { Body } from "../source.js";
import type { DirectReceive } from "./direct-receive.js";

/** Bytes that may wait in memory before the socket is paused. */
const HIGH_WATER_BYTES = 4 << 20;
/** Up to here reading an unwanted body is cheaper than a new connection. */
const DISCARD_BYTES = 64 << 10;

/**
 * The body of an answer as it comes in. A small body is complete before anyone asks, without one promise per chunk;
 * a large one is held back when its reader is slow.
 */
export class HttpBody implements Body {
  #chunks: Buffer[] = [];
  #queuedBytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #discarded = false;
  #paused = false;
  /** Bytes received so far. */
  receivedBytes = 0;
  /** What was sent behind the body; known at its end. */
  trailers: Record<string, string | undefined> = {};

  /** @param direct where the body may pass by the parser. */
  constructor(
    private readonly controller: Dispatcher.DispatchController,
    private readonly direct?: DirectReceive,
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
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: Error): void {
    if (!this.#ended) this.#error ??= error;
    this.#wake?.();
  }

  /** Stops the transfer; the connection is closed. */
  abort(error: Error): void {
    if (this.#ended || this.#error) return;
    this.fail(error);
    this.controller.abort(error);
  }

  /** Drops the body. A short one is read to its end so that the connection can be used again. */
  discard(lengthBytes: number | undefined): void {
    this.#discarded = true;
    this.#chunks = [];
    if (lengthBytes !== undefined && lengthBytes > DISCARD_BYTES) this.abort(new Error("not wanted"));
  }

  /** Whether the reader waits for the server, rather than the server for the reader. */
  get starved(): boolean {
    return this.#wake !== undefined;
  }

  /** Everything that is there, or null at the end. Throws what broke the connection. */
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
      this.#paused = false; // first: resuming may push at once
      if (!this.#error) this.controller.resume();
    }
    return chunks;
  }

  /** The whole body when it is already here, at no cost; else undefined. */
  takeIfComplete(): Buffer[] | undefined {
    if (!this.#ended || this.#error) return undefined;
    const chunks = this.#chunks;
    this.#chunks = [];
    return chunks;
  }
}

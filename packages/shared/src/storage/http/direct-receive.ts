import type { Socket } from "node:net";

/** Read buffer of sockets while undici parses: every callback copies before it returns. */
const PARSED = Buffer.allocUnsafeSlow(64 << 10);
/** Size of a block. A direct body usually needs three, so that one fills while another is written. */
const BLOCK_BYTES = 1 << 20;
const LEAST_ROOM_BYTES = 64 << 10;

/**
 * The socket whose bytes undici is parsing, which it does in the turn of the event loop in which they
 * arrived.
 */
let parsing: DirectSocket | undefined;
/** Buffer for the next read of the current socket. */
let next: Uint8Array = PARSED;

const DIRECT = Symbol("direct");
type DirectSocket = Socket & { [DIRECT]?: DirectReceive | undefined };

/**
 * The `onread` option of sockets: one shared read buffer instead of a new one per read, and a bypass of the
 * parser for sockets with a direct body.
 */
export const socketReader = {
  buffer(): Uint8Array {
    const buffer = next;
    next = PARSED;
    return buffer;
  },
  callback(this: unknown, count: number, buffer: Uint8Array): boolean {
    const socket = this as DirectSocket;
    const direct = socket[DIRECT];
    if (direct?.takes()) {
      const more = direct.receive(count, buffer);
      next = direct.room();
      return more;
    }
    parsing = socket;
    return socket.push(Buffer.from(buffer.subarray(0, count)));
  },
};

interface Block {
  bytes: Buffer;
  filledBytes: number;
  /** Number of its chunks that wait for the reader, and that the reader has. */
  waiting: number;
  handed: number;
}

/**
 * Receives the rest of a body of known length from its socket, bypassing the HTTP parser. The parser copies
 * every byte into new memory, which more than doubles the cost of a large body; here a few blocks are reused.
 * Data after the body would not be parsed, so the connection is closed with it.
 */
export class DirectReceive {
  #blocks: Block[] = [];
  #filling!: Block;
  #active = false;
  #paused = false;
  #leftBytes = 0;
  #push!: (chunk: Buffer) => void;
  #parsed!: () => number | undefined;

  private constructor(
    private readonly socket: DirectSocket,
    readonly lengthBytes: number,
  ) {}

  /** @returns the receiver for the response that has just started, if its length is known and large enough. */
  static of(headers: Record<string, string | undefined>): DirectReceive | undefined {
    const length = headers["content-length"];
    if (!parsing || length === undefined || !/^\d+$/.test(length)) return undefined;
    if (headers["transfer-encoding"] !== undefined || Number(length) < BLOCK_BYTES) return undefined;
    return new DirectReceive(parsing, Number(length));
  }

  /**
   * Starts to receive the body directly, from the next bytes on.
   *
   * @param push takes a chunk, whose memory is reused after it was handed over and released.
   * @param parsed number of body bytes that came through the parser; undefined while it holds some back.
   */
  start(push: (chunk: Buffer) => void, parsed: () => number | undefined): void {
    if (this.#blocks.length > 0) return;
    this.#filling = this.#newBlock();
    this.#newBlock();
    this.#push = push;
    this.#parsed = parsed;
    this.socket[DIRECT] = this;
  }

  #newBlock(): Block {
    const block = { bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES), filledBytes: 0, waiting: 0, handed: 0 };
    this.#blocks.push(block);
    return block;
  }

  /**
   * Whether the bytes that just arrived are for this receiver: only once the parser has delivered all earlier
   * ones.
   */
  takes(): boolean {
    if (this.#active) return true;
    if (this.socket.readableLength > 0) return false;
    const parsedBytes = this.#parsed();
    if (parsedBytes === undefined || parsedBytes >= this.lengthBytes) return false;
    this.#leftBytes = this.lengthBytes - parsedBytes;
    this.#active = true;
    return true;
  }

  /** @returns whether there is room for more; otherwise the socket pauses until the reader releases memory. */
  receive(count: number, buffer: Uint8Array): boolean {
    const wanted = Math.min(count, this.#leftBytes); // anything after the body is dropped with the connection
    this.#leftBytes -= wanted;
    if (buffer.buffer !== this.#filling.bytes.buffer) {
      this.#push(Buffer.from(buffer.subarray(0, wanted))); // the first chunk was read into the parser's buffer
      return true;
    }
    const block = this.#filling;
    const start = block.filledBytes;
    block.filledBytes += wanted;
    block.waiting++;
    this.#push(block.bytes.subarray(start, block.filledBytes));
    if (block.bytes.length - block.filledBytes < LEAST_ROOM_BYTES) {
      const free = this.#blocks.find((each) => each !== block && isFree(each));
      // A paused socket may still deliver data (TLS: what is already decrypted), so a block is kept for it.
      this.#paused ||= free === undefined;
      this.#filling = free ?? this.#newBlock();
      this.#filling.filledBytes = 0;
    }
    return !this.#paused;
  }

  room(): Uint8Array {
    return this.#filling.bytes.subarray(this.#filling.filledBytes);
  }

  /** All waiting chunks were given to the reader. */
  handOver(): void {
    for (const block of this.#blocks) {
      block.handed += block.waiting;
      block.waiting = 0;
    }
  }

  /** The reader has finished with its chunks. */
  release(): void {
    for (const block of this.#blocks) block.handed = 0;
    if (!this.#paused || !this.#blocks.some((each) => each !== this.#filling && isFree(each))) return;
    this.#paused = false;
    this.socket.resume();
  }
}

function isFree(block: Block): boolean {
  return block.waiting + block.handed === 0;
}

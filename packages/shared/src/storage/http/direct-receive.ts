import type { Socket } from "node:net";

/** Where sockets read into while undici parses what comes: every callback copies before it returns. */
const PARSED = Buffer.allocUnsafeSlow(64 << 10);
/** Memory of a direct body: as a rule three blocks of this, so that one fills while another is written. */
const BLOCK_BYTES = 1 << 20;
const LEAST_ROOM_BYTES = 64 << 10;

/** The socket whose bytes undici is parsing: it does so in the same turn of the event loop in which they came. */
let parsing: DirectSocket | undefined;
/** What the socket that reads at this moment reads into next. */
let next: Uint8Array = PARSED;

const DIRECT = Symbol("direct");
type DirectSocket = Socket & { [DIRECT]?: DirectReceive | undefined };

/**
 * The `onread` option of sockets: one buffer for all of them instead of a new one for each read, and a way past the
 * parser for those with a direct body.
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
  /** Chunks of it that wait for the reader, and that the reader has. */
  waiting: number;
  handed: number;
}

/**
 * Receives the rest of a body of known length from its socket, past the HTTP parser: that copies every byte into new
 * memory, which more than doubles what a large body costs. A few blocks are filled again and again instead. What comes
 * after the body is not parsed any more, so the connection ends with it.
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

  /** @returns how to receive the body of the answer that has just started, where its length is known and large. */
  static of(headers: Record<string, string | undefined>): DirectReceive | undefined {
    const length = headers["content-length"];
    if (!parsing || length === undefined || !/^\d+$/.test(length)) return undefined;
    if (headers["transfer-encoding"] !== undefined || Number(length) < BLOCK_BYTES) return undefined;
    return new DirectReceive(parsing, Number(length));
  }

  /**
   * From the next bytes on, the body comes this way.
   *
   * @param push takes a chunk, whose memory is used again once it was handed over and released.
   * @param parsed bytes of the body that came through the parser; undefined while it holds some back.
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

  /** Whether the bytes that came in are for this way: the parser has to be through with what it got before. */
  takes(): boolean {
    if (this.#active) return true;
    if (this.socket.readableLength > 0) return false;
    const parsedBytes = this.#parsed();
    if (parsedBytes === undefined || parsedBytes >= this.lengthBytes) return false;
    this.#leftBytes = this.lengthBytes - parsedBytes;
    this.#active = true;
    return true;
  }

  /** @returns whether there is room for more; else the socket waits until the reader gives some back. */
  receive(count: number, buffer: Uint8Array): boolean {
    const wanted = Math.min(count, this.#leftBytes); // what the server sends behind the body is dropped with the connection
    this.#leftBytes -= wanted;
    if (buffer.buffer !== this.#filling.bytes.buffer) {
      this.#push(Buffer.from(buffer.subarray(0, wanted))); // the first: it was read for the parser
      return true;
    }
    const block = this.#filling;
    const start = block.filledBytes;
    block.filledBytes += wanted;
    block.waiting++;
    this.#push(block.bytes.subarray(start, block.filledBytes));
    if (block.bytes.length - block.filledBytes < LEAST_ROOM_BYTES) {
      const free = this.#blocks.find((each) => each !== block && isFree(each));
      // A socket that is told to stop may still bring something (TLS, what it has decrypted): there is room for it.
      this.#paused ||= free === undefined;
      this.#filling = free ?? this.#newBlock();
      this.#filling.filledBytes = 0;
    }
    return !this.#paused;
  }

  room(): Uint8Array {
    return this.#filling.bytes.subarray(this.#filling.filledBytes);
  }

  /** The reader has all that waited. */
  handOver(): void {
    for (const block of this.#blocks) {
      block.handed += block.waiting;
      block.waiting = 0;
    }
  }

  /** The reader is through with what it has. */
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

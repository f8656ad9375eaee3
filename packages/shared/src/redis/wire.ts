import { Command, type Redis } from "ioredis";

/*
 * How commands are encoded and written. A file takes some forty arguments, so what ioredis spends on each (it joins
 * and measures strings, and allocates memory for each binary one) was a tenth of what a small file cost.
 */

/** Commands are written one behind the other into blocks of this size. What is written is never written over. */
const BLOCK_BYTES = 256 << 10;
/** The length of an argument and its line ends take no more than this. */
const FRAME_BYTES = 24;

let block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
/** Where in the block the command that is being written begins. */
let start = 0;
/** Where the next byte goes. */
let at = 0;

/** Encodes a command in RESP (Redis serialization protocol, version 2): an array of bulk strings. */
Command.prototype.toWritable = function toWritable(this: { name: string; args: (string | Buffer)[] }) {
  start = at;
  makeRoom(FRAME_BYTES);
  line(ASTERISK, this.args.length + 1);
  put(this.name);
  for (const arg of this.args) put(arg);
  return block.subarray(start, at);
};

/** Makes room for so many bytes. Where the block is full, the command moves to another one. */
function makeRoom(bytes: number): void {
  if (bytes <= block.length - at) return;
  const begun = block.subarray(start, at);
  block = Buffer.allocUnsafeSlow(Math.max(begun.length * 2 + bytes, BLOCK_BYTES));
  start = 0;
  at = begun.copy(block);
}

const ASTERISK = 42;
const DOLLAR = 36;
const ZERO = 48;

/** Writes a bulk string. */
function put(arg: string | Buffer): void {
  const bytes = typeof arg === "string" ? Buffer.byteLength(arg) : arg.length;
  makeRoom(FRAME_BYTES + bytes);
  line(DOLLAR, bytes);
  if (bytes > 0) at += typeof arg === "string" ? block.write(arg, at, bytes, "utf8") : arg.copy(block, at);
  lineEnd();
}

/** Writes a sign, a whole number from 0, and a line end. */
function line(sign: number, value: number): void {
  block[at++] = sign;
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  let rest = value;
  for (let digit = at + digits - 1; digit >= at; digit--) {
    block[digit] = ZERO + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  at += digits;
  lineEnd();
}

function lineEnd(): void {
  block[at++] = 13;
  block[at++] = 10;
}

interface Writable {
  write: (data: string | Buffer) => boolean;
  writableEnded: boolean;
  setMaxListeners(count: number): void;
}

/**
 * Has a connection write all commands of one turn of the event loop in one system call.
 *
 * @param redis whose socket is connected. It has another socket after each connection: call this again then.
 */
export function gatherWrites(redis: Redis): void {
  const { stream } = redis as unknown as { stream?: Writable };
  if (!stream) return;
  // ioredis adds a listener for each command that a master refuses: Node would warn of more than ten.
  stream.setMaxListeners(0);
  const write = stream.write.bind(stream);
  let waiting: Buffer[] = [];
  stream.write = (data) => {
    if (waiting.push(typeof data === "string" ? Buffer.from(data) : data) === 1) {
      setImmediate(() => {
        const all = waiting;
        waiting = [];
        // A socket that is being closed takes nothing; ioredis sends the commands again.
        if (!stream.writableEnded) write(joined(all));
      });
    }
    return true;
  };
}

/** The buffers as one, without a copy where possible. */
function joined(buffers: Buffer[]): Buffer {
  const first = buffers[0] as Buffer;
  let end = first.byteOffset;
  for (const buffer of buffers) {
    if (buffer.buffer !== first.buffer || buffer.byteOffset !== end) return Buffer.concat(buffers);
    end += buffer.length;
  }
  // They lie behind each other in one block.
  return Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset);
}

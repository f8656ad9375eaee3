import { HttpBody } from "@drover/shared/storage/http/body";
import type { Dispatcher } from "undici";
import { describe, expect, test } from "vitest";

const MIB = 1 << 20;

/** A connection that can be paused. Buffered bytes are delivered within resume(), as by a parser. */
class Wire implements Dispatcher.DispatchController {
  paused = false;
  aborted = false;
  reason: Error | null = null;
  readonly body = new HttpBody(this, undefined, 10);
  /** Most bytes that the body buffered at once. */
  most = 0;
  #held = 0;
  readonly #cut = Promise.withResolvers<void>();
  /** Fulfilled once the connection is aborted. */
  readonly cut = this.#cut.promise;

  constructor(private readonly waiting: number[]) {}

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.flow();
  }

  abort(reason: Error): void {
    this.aborted = true;
    this.reason = reason;
    this.#cut.resolve();
  }

  flow(): void {
    while (!this.paused && this.waiting.length > 0) {
      const size = this.waiting.shift() as number;
      this.#held += size;
      this.most = Math.max(this.most, this.#held);
      this.body.push(Buffer.alloc(size));
    }
    if (this.waiting.length === 0) this.body.end();
  }

  async readAll(): Promise<number> {
    let total = 0;
    for (let chunks = await this.#read(); chunks; chunks = await this.#read()) {
      const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      this.#held = Math.max(0, this.#held - size);
      total += size;
    }
    return total;
  }

  /** Fails if nothing will ever wake the read. */
  async #read(): Promise<Buffer[] | null> {
    const read = this.body.read();
    const turn = new Promise<"stuck">((resolve) => setImmediate(() => resolve("stuck")));
    const first = await Promise.race([read, turn]);
    if (first !== "stuck") return first;
    throw new Error(`stuck: paused ${this.paused}, ${this.waiting.length} pieces wait`);
  }
}

describe("a response body", () => {
  test.for([
    ["that fits", [MIB, MIB]],
    ["larger than what may wait", Array.from({ length: 40 }, () => MIB)],
    ["in tiny pieces", Array.from({ length: 10_000 }, () => 1_000)],
    ["in pieces larger than what may wait", [5 * MIB, 5 * MIB, 5 * MIB]],
    ["of nothing", []],
  ] as const)("%s is read completely, and the connection is never left paused", async ([, sizes]) => {
    const wire = new Wire([...sizes]);
    wire.flow();
    expect(await wire.readAll()).toBe(sizes.reduce((sum, size) => sum + size, 0));
    expect(wire.body.receivedBytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
  });

  test("is paused while its reader is slow", () => {
    const wire = new Wire(Array.from({ length: 100 }, () => MIB));
    wire.flow();
    expect(wire.paused).toBe(true);
    expect(wire.most).toBeLessThanOrEqual(6 * MIB);
  });

  test("yields what arrived before the connection broke, and then the error", async () => {
    const wire = new Wire([]);
    wire.body.push(Buffer.from("some"));
    wire.body.fail(new Error("broken"));
    expect(String(await wire.body.read())).toBe("some");
    await expect(wire.body.read()).rejects.toThrow("broken");
    expect(wire.body.takeIfComplete()).toBeUndefined();
  });

  test("wakes its reader and closes the connection when it is aborted", async () => {
    const wire = new Wire([]);
    const read = wire.body.read();
    expect(wire.body.starved).toBe(true);
    wire.body.abort(new Error("stop"));
    await expect(read).rejects.toThrow("stop");
    expect(wire.aborted).toBe(true);
  });

  test("is available at once when it is complete", () => {
    const wire = new Wire([3]);
    expect(wire.body.takeIfComplete()).toBeUndefined();
    wire.flow();
    expect(wire.body.takeIfComplete()).toHaveLength(1);
  });

  test("that is discarded is read to its end if it is short, and cut off otherwise", () => {
    const short = new Wire([1_000, 1_000]);
    short.body.discard(2_000);
    short.flow();
    expect(short.aborted).toBe(false);
    const long = new Wire([]);
    long.body.discard(1 << 30);
    expect(long.aborted).toBe(true);
    const endless = new Wire(Array.from({ length: 20 }, () => 10_000));
    endless.body.discard(undefined);
    endless.flow();
    expect(endless.aborted).toBe(true);
  });

  test("that is discarded is cut off if it does not end in time, and left alone if it does", async () => {
    const ended = new Wire([]);
    ended.body.discard(100);
    ended.flow();
    const stalled = new Wire([]);
    stalled.body.discard(100);
    stalled.body.push(Buffer.from("x"));
    await stalled.cut;
    expect(ended.aborted).toBe(false);
  });

  test("is left alone if it is aborted after its end", () => {
    const wire = new Wire([]);
    wire.flow();
    wire.body.abort(new Error("late"));
    expect(wire.aborted).toBe(false);
  });
});

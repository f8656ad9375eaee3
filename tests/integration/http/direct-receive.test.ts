import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { HttpClient } from "@drover/shared/storage/http/client";
import type { Body } from "@drover/shared/storage/source";
import { test as base, describe, expect, onTestFinished } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, toBuffer } from "../../harness/content.js";
import { FaultOrigin } from "../../harness/fault-origin.js";

/**
 * Bodies that bypass the HTTP parser: the bytes read are the bytes sent, whatever the reader's speed and
 * however the connection ends.
 */
const it = base.extend<{ client: HttpClient }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  client: async ({}, use) => {
    const client = new HttpClient({ timeoutMs: 5_000, connections: 2 });
    await use(client);
    await client.close();
  },
});

const LARGE = toBuffer(pattern(9_000_001));

async function start(): Promise<FaultOrigin> {
  const origin = await FaultOrigin.start();
  onTestFinished(() => origin.stop());
  return origin;
}

const get = (client: HttpClient, url: string) => client.get(url, {}, {}, new AbortController().signal);

/** Copies every chunk before the next read, as the contract requires, and pauses in between. */
async function readAll(
  body: Body,
  loiter: (reads: number) => Promise<void> = async () => {},
): Promise<Buffer> {
  const all: Buffer[] = [];
  body.reuseMemory?.();
  for (let reads = 0; ; reads++) {
    const chunks = await body.read();
    if (!chunks) return Buffer.concat(all);
    await loiter(reads);
    for (const chunk of chunks) all.push(Buffer.from(chunk));
  }
}

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

describe("a body that bypasses the parser", () => {
  it.for([
    ["at once", async () => {}],
    ["slowly", () => new Promise<void>((resolve) => setTimeout(resolve, 20))],
    ["in fits", (reads: number) => (reads % 3 === 0 ? turn() : Promise.resolve())],
  ] as [string, (reads: number) => Promise<void>][])(
    "is complete if it is read %s",
    async ([, loiter], { client }) => {
      const origin = await start();
      const { body } = await get(client, origin.route("/large", does.file(LARGE)));
      expect(sha256(await readAll(body, loiter))).toBe(sha256(LARGE));
      expect(body.receivedBytes).toBe(LARGE.length);
    },
  );

  it("is complete if its reader enables the bypass in the middle", async ({ client }) => {
    const origin = await start();
    const { body } = await get(client, origin.route("/large", does.file(LARGE)));
    const first = (await body.read()) as Buffer[];
    const rest = await readAll(body, () => turn());
    expect(sha256(Buffer.concat([...first, rest]))).toBe(sha256(LARGE));
  });

  it("is hardly buffered while its reader is idle", async ({ client }) => {
    const origin = await start();
    const huge = pattern(200_000_000);
    const { body } = await get(client, origin.route("/huge", does.file(huge)));
    body.reuseMemory?.();
    await body.read();
    await body.read();
    // Waits until no more bytes arrive: then everything that comes without a reader has come.
    for (let seen = -1; seen !== body.receivedBytes; ) {
      seen = body.receivedBytes;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(body.receivedBytes).toBeLessThan(10_000_000);
    body.abort(new Error("enough"));
  });

  it.for(["close", "reset"] as const)("fails if the connection ends early: %s", async (how, { client }) => {
    const origin = await start();
    const { body } = await get(client, origin.route("/cut", does.cutAt(LARGE, 5_000_000, how)));
    await expect(readAll(body)).rejects.toMatchObject({ class: "truncated" });
  });

  it("ends at its length, whatever the server sends after it", async ({ client }) => {
    const origin = await start();
    const answer = `HTTP/1.1 200 OK\r\ncontent-length: ${LARGE.length}\r\n\r\n`;
    const extra = Buffer.concat([Buffer.from(answer), LARGE, Buffer.from("HTTP/1.1 200 OK\r\n\r\nmore")]);
    const { body } = await get(client, origin.route("/extra", does.garbage(extra)));
    expect(sha256(await readAll(body))).toBe(sha256(LARGE));
  });

  it("is aborted in the middle", async ({ client }) => {
    const origin = await start();
    const { body } = await get(client, origin.route("/large", does.file(LARGE)));
    const reason = new Error("stop");
    await expect(readAll(body, async (reads) => void (reads === 1 && body.abort(reason)))).rejects.toBe(
      reason,
    );
  });

  it("leaves its client able to fetch other files", async ({ client }) => {
    const origin = await start();
    const large = origin.route("/large", does.file(LARGE));
    const small = origin.route("/small", does.file("small"));
    for (let round = 0; round < 5; round++) {
      const bodies = await Promise.all([get(client, large), get(client, large)]);
      const all = await Promise.all(bodies.map(({ body }) => readAll(body, () => turn())));
      expect(all.map(sha256)).toEqual([sha256(LARGE), sha256(LARGE)]);
      expect(String(await readAll((await get(client, small)).body))).toBe("small");
    }
  });

  it("is left to the parser if its end is marked in the stream", async ({ client }) => {
    const origin = await start();
    const { body } = await get(client, origin.route("/chunked", does.chunked(LARGE)));
    expect(sha256(await readAll(body))).toBe(sha256(LARGE));
  });
});

it("a slow body keeps no more memory than its own bytes, whatever is received beside it", async ({
  client,
}) => {
  const PIECES = 12;
  const PIECE = Buffer.alloc(5_000, "x");
  const origin = await start();
  let more = Promise.withResolvers<void>();
  const slow = origin.route("/slow", async ({ response }) => {
    response.writeHead(200, { "content-length": PIECES * PIECE.length }).flushHeaders();
    for (let piece = 0; piece < PIECES; piece++) {
      await more.promise;
      more = Promise.withResolvers();
      response.write(PIECE);
    }
    response.end();
  });
  const beside = origin.route("/beside", does.file(LARGE.subarray(0, 900_000)));
  const { body } = await get(client, slow);
  const kept: Buffer[] = [];
  for (let piece = 0; piece < PIECES; piece++) {
    await readAll((await get(client, beside)).body);
    more.resolve();
    kept.push(...((await body.read()) as Buffer[]));
  }
  const memories = new Set(kept.map(({ buffer }) => buffer));
  const keptBytes = [...memories].reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(keptBytes).toBeLessThan(2 * PIECES * (PIECE.length + Buffer.poolSize));
});

import type { Socket } from "node:net";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import type { Behaviour } from "../../harness/fault-origin.js";
import { it } from "../helpers/file-worker.js";

const MIB = 1 << 20;
const SIZE = 72 * MIB + 12_345;
const ONE = pattern(SIZE, 1);
const TWO = pattern(SIZE, 2);
const SHA_ONE = sha256(ONE);
const SHA_TWO = sha256(TWO);
/** What each connection is given: several streams get more. */
const bytesPerSecond = 20 * MIB;

describe("a large file", () => {
  it("is fetched by several streams where that adds to the rate, each on the condition of the opened version", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const url = origin.route("/file", does.file(ONE, { bytesPerSecond }));
    const outcome = await fileWorker.through("file", url);
    expect(outcome).toMatchObject({ outcome: "copied", bytes: SIZE, checksum: SHA_ONE, attempts: 1 });
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    const pieces = origin.requests.filter((request) => request.headers.range !== undefined);
    expect(pieces.length).toBeGreaterThan(2);
    for (const { headers } of pieces) expect(headers["if-match"]).toBe(does.etagOf(ONE));
  });

  it.for<[string, Behaviour]>([
    ["takes no ranges", does.file(ONE, { ranges: false, bytesPerSecond })],
    ["has a weak ETag only", does.file(ONE, { etag: 'W/"weak"', bytesPerSecond })],
    ["has no ETag", does.file(ONE, { etag: null, bytesPerSecond })],
  ])("is fetched in one stream if the server %s", async ([, behaviour], { fileWorker, origin, space }) => {
    const url = origin.route("/file", behaviour);
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_ONE);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    expect(origin.requests).toHaveLength(1);
  });

  it("goes on in its first stream if the server announces ranges but does not serve them", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const headers = { "accept-ranges": "bytes" };
    const url = origin.route("/file", does.file(ONE, { ranges: false, headers, bytesPerSecond }));
    expect(await fileWorker.through("file", url)).toMatchObject({ checksum: SHA_ONE, attempts: 1 });
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    expect(space.files()).toEqual(["file"]);
    expect(origin.requests).toHaveLength(2);
  });

  it.for<[string, Behaviour]>([
    ["answers 429", does.status(429)],
    ["answers 503", does.status(503, { "retry-after": "60" })],
    ["closes the connection", does.reset],
  ])(
    "goes on in the streams that it has where the server %s to further ones",
    async ([, refuses], { fileWorker, origin, space }) => {
      const good = does.file(ONE, { bytesPerSecond });
      const most = 1;
      let open = 0;
      let refused = 0;
      const url = origin.route("/file", (exchange) => {
        if (open >= most) {
          refused++;
          return refuses(exchange);
        }
        open++;
        exchange.response.once("close", () => open--);
        return good(exchange);
      });
      expect(await fileWorker.through("file", url)).toMatchObject({ checksum: SHA_ONE, attempts: 1 });
      expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
      expect(refused).toBeGreaterThan(0);
      expect(refused).toBeLessThan(4);
    },
  );

  it.for<[string, number]>([
    ["the first", 1],
    ["the second", 2],
    ["the third", 3],
  ])(
    "is carried on by the other streams when the connection of %s breaks",
    async ([, broken], { fileWorker, origin, space }) => {
      const { behaviour, hasBroken } = breaking(broken);
      const url = origin.route("/file", behaviour);
      expect(await fileWorker.through("file", url)).toMatchObject({ checksum: SHA_ONE, attempts: 1 });
      expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
      expect(hasBroken()).toBe(true);
      expect(space.files()).toEqual(["file"]);
    },
  );

  it("is carried on by the other streams when nothing more comes from one of them", async ({
    make,
    origin,
    space,
  }) => {
    // The other stream takes three seconds for all of it: it is still there when the first one is given up.
    const fileWorker = await make({ timeoutMs: 1_000, streams: 2 });
    const { behaviour, hasBroken } = breaking(2, () => {});
    const url = origin.route("/file", behaviour);
    expect(await fileWorker.through("file", url)).toMatchObject({ checksum: SHA_ONE, attempts: 1 });
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    expect(hasBroken()).toBe(true);
  });

  /** Serves the file, and breaks one of its answers when another stream is open and half a MiB of it has come. */
  function breaking(broken: number, breaks = (socket: Socket) => void socket.resetAndDestroy()) {
    const good = does.file(ONE, { bytesPerSecond });
    let count = 0;
    let open = 0;
    let isBroken = false;
    const behaviour: Behaviour = (exchange) => {
      const { response, request } = exchange;
      open++;
      response.once("close", () => open--);
      if (++count !== broken) return good(exchange);
      const write = response.write.bind(response) as (...args: unknown[]) => boolean;
      let sentBytes = 0;
      response.write = ((chunk: Buffer, ...rest: unknown[]) => {
        sentBytes += chunk.length;
        if (sentBytes < MIB / 2 || open < 2) return write(chunk, ...rest);
        isBroken = true;
        breaks(request.socket);
        return false; // nobody drains it any more
      }) as typeof response.write;
      return good(exchange);
    };
    return { behaviour, hasBroken: () => isBroken };
  }
});

describe("a large file that is replaced while its segments are fetched", () => {
  /** Serves the first version for that many range requests, then the second under its own ETag. */
  function replacedAfter(ranges: number, second: Behaviour): Behaviour {
    const first = does.file(ONE, { bytesPerSecond });
    let count = 0;
    return (exchange) => {
      if (exchange.request.headers.range !== undefined) count++;
      return (count > ranges ? second : first)(exchange);
    };
  }

  const etag = does.etagOf(ONE);
  it.for<[string, number, () => Behaviour]>([
    ["a good server (412)", 0, () => does.file(TWO)],
    ["a good server (412), later", 2, () => does.file(TWO)],
    ["a server that knows no If-Match", 1, () => withoutConditions(does.file(TWO))],
    ["a server that answers everything with the whole file", 1, () => does.file(TWO, { ranges: false })],
    ["by a shorter one", 1, () => withoutConditions(does.file(pattern(SIZE - MIB, 2)))],
    ["by a longer one under the same ETag", 1, () => does.file(pattern(SIZE + MIB, 2), { etag })],
  ])("is never mixed: %s", { timeout: 60_000 }, async ([, ranges, second], { fileWorker, origin, space }) => {
    const url = origin.route("/file", replacedAfter(ranges, second()));
    const result = await fileWorker.once("file", url);
    expect(result).toMatchObject({ is: "retry", error: { class: "changed", permanent: false } });
    expect(space.files()).toEqual([]);
    origin.route("/file", does.file(TWO));
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_TWO);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_TWO);
    expect(space.files()).toEqual(["file"]);
  });

  it("takes nothing of a piece that starts elsewhere than requested", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const url = origin.route("/file", does.file(ONE, { bytesPerSecond }), does.wrongContentRange(ONE));
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_ONE);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
  });
});

describe("a large file whose streams all fail", () => {
  /** Serves the file until it is asked for so many pieces: then all connections break, and no other is taken. */
  function brokenAt(ranges: number): Behaviour {
    const good = does.file(ONE, { bytesPerSecond });
    const sockets = new Set<Socket>();
    let count = 0;
    return (exchange) => {
      const { socket, headers } = exchange.request;
      sockets.add(socket);
      if (headers.range === undefined || ++count < ranges) return good(exchange);
      for (const each of sockets) each.resetAndDestroy();
    };
  }

  it("is gone on with where it stopped", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", brokenAt(2));
    const result = await fileWorker.once("file", url);
    expect(result).toMatchObject({ is: "retry" });
    expect(space.files().filter((name) => name === "file")).toEqual([]);
    expect(space.staged()).toHaveLength(1);

    const before = origin.requests.length;
    origin.route("/file", does.file(ONE));
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_ONE);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    expect(space.staged()).toEqual([]);
    const [first] = origin.requests.slice(before);
    const [, from] = /^bytes=(\d+)-$/.exec(first?.headers.range ?? "") ?? [];
    expect(Number(from)).toBeGreaterThan(MIB);
  });

  it("uses nothing of it for a newer version", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", brokenAt(2));
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    expect(space.staged()).toHaveLength(1);
    origin.route("/file", does.file(TWO));
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_TWO);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_TWO);
    expect(space.files()).toEqual(["file"]);
  });

  it("keeps no bytes after a wrong checksum, and is retried once", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.file(ONE));
    const first = await fileWorker.once("file", url, { sha256: SHA_TWO, attempt: 1 });
    expect(first).toMatchObject({ is: "retry", error: { class: "checksum" } });
    expect(space.files()).toEqual([]);
    const second = await fileWorker.once("file", url, { sha256: SHA_TWO, attempt: 2 });
    expect(second).toMatchObject({
      is: "settled",
      outcome: { outcome: "failed", error: { class: "checksum" } },
    });
    expect(space.files()).toEqual([]);
    expect(origin.requests.filter((request) => request.headers.range === undefined)).toHaveLength(2);
  });
});

function withoutConditions(behaviour: Behaviour): Behaviour {
  return (exchange) => {
    delete exchange.request.headers["if-match"];
    delete exchange.request.headers["if-range"];
    return behaviour(exchange);
  };
}

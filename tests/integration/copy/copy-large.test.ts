import { PIECE_BYTES } from "@drover/worker/attempt/resume-record";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import type { Behaviour } from "../../harness/fault-origin.js";
import { Gate } from "../../harness/gate.js";
import { it } from "../helpers/file-worker.js";

const MIB = 1 << 20;
/** Four segments, the last one short. */
const SIZE = 3 * PIECE_BYTES + 12_345;
const ONE = pattern(SIZE, 1);
const TWO = pattern(SIZE, 2);
const SHA_ONE = sha256(ONE);
const SHA_TWO = sha256(TWO);

describe("a large file", () => {
  it("is fetched in parallel segments, each on the condition of the opened version", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const url = origin.route("/file", does.file(ONE));
    const outcome = await fileWorker.through("file", url);
    expect(outcome).toMatchObject({ outcome: "copied", bytes: SIZE, checksum: SHA_ONE, attempts: 1 });
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    const pieces = origin.requests.filter((request) => request.headers.range !== undefined);
    expect(pieces).toHaveLength(3);
    for (const { headers } of pieces) expect(headers["if-match"]).toBe(does.etagOf(ONE));
  });

  it.for<[string, Behaviour]>([
    ["takes no ranges", does.file(ONE, { ranges: false })],
    ["has a weak ETag only", does.file(ONE, { etag: 'W/"weak"' })],
    ["has no ETag", does.file(ONE, { etag: null })],
  ])("is fetched in one stream if the server %s", async ([, behaviour], { fileWorker, origin, space }) => {
    const url = origin.route("/file", behaviour);
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_ONE);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    expect(origin.requests).toHaveLength(1);
  });

  it("is fetched in one stream by the next attempt if the server announces ranges but does not serve them", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const boasting = does.file(ONE, { ranges: false, headers: { "accept-ranges": "bytes" } });
    const url = origin.route("/file", boasting);
    expect(await fileWorker.through("file", url)).toMatchObject({ checksum: SHA_ONE, attempts: 2 });
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    expect(space.files()).toEqual(["file"]);
  });
});

describe("a large file that is replaced while its segments are fetched", () => {
  /** Serves the first version for that many range requests, then the second under its own ETag. */
  function replacedAfter(ranges: number, second: Behaviour): Behaviour {
    const first = does.file(ONE);
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

  it("is refused if a segment starts elsewhere than requested", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.file(ONE), does.wrongContentRange(ONE));
    const result = await fileWorker.once("file", url);
    expect(result).toMatchObject({ is: "retry", error: { class: "protocol" } });
    origin.route("/file", does.file(ONE));
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_ONE);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
  });
});

describe("a large file whose segments fail", () => {
  /** The second segment waits and then fails, after the three others have arrived. */
  function brokenInTheMiddle(): Behaviour {
    const good = does.file(ONE);
    const gate = new Gate();
    let over = 0;
    return (exchange) => {
      if (exchange.request.headers.range?.startsWith(`bytes=${PIECE_BYTES}-`)) {
        return gate.opened.then(() => void exchange.request.socket.resetAndDestroy());
      }
      exchange.response.once("close", () => {
        if (++over === 3) gate.open();
      });
      return good(exchange);
    };
  }

  it("is resumed with exactly the missing segments", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", brokenInTheMiddle());
    const result = await fileWorker.once("file", url);
    expect(result).toMatchObject({ is: "retry", error: { class: "connect" } });
    expect(space.files().filter((name) => name === "file")).toEqual([]);
    expect(space.staged()).toHaveLength(1);

    const before = origin.requests.length;
    const closed = Promise.withResolvers<{ toItsEnd: boolean }>();
    origin.route("/file", (exchange) => {
      const { request, response } = exchange;
      if (request.headers.range === `bytes=${PIECE_BYTES}-`)
        response.once("close", () => closed.resolve({ toItsEnd: response.writableFinished }));
      return does.file(ONE)(exchange);
    });
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_ONE);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_ONE);
    expect(space.staged()).toEqual([]);
    const asked = origin.requests.slice(before).map((request) => request.headers.range);
    expect(asked[0]).toBe(`bytes=${PIECE_BYTES}-`);
    expect(await closed.promise).toEqual({ toItsEnd: false }); // the segments after it have arrived
    expect(asked.length).toBeLessThanOrEqual(2);
  });

  it("does not reuse segments for a newer version", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", brokenInTheMiddle());
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    expect(space.staged()).toHaveLength(1);
    origin.route("/file", does.file(TWO));
    expect((await fileWorker.through("file", url)).checksum).toBe(SHA_TWO);
    expect(await sha256OfFile(space.to("file"))).toBe(SHA_TWO);
  });

  it("starts again if it was replaced meanwhile", async ({ fileWorker, origin, space }) => {
    let ranges = 0;
    const good = does.file(ONE);
    const url = origin.route("/file", (exchange) => {
      if (exchange.request.headers.range !== undefined && ++ranges === 3) {
        exchange.request.socket.resetAndDestroy();
        return;
      }
      return good(exchange);
    });
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
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

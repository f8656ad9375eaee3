import { mkdirSync, writeFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { describe, expect } from "vitest";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import { type FakeRequest, sendError } from "../../harness/fake-s3.js";
import { gate, isComplete, isPart, it, leaseOf } from "../helpers/s3.js";

const content = toBuffer(pattern(40 << 20));

const isCreate = ({ method, key, query }: FakeRequest) =>
  method === "POST" && query.has("uploads") && !key.includes(".drover-");
const isAbort = ({ method, query }: FakeRequest) => method === "DELETE" && query.has("uploadId");

describe("an interrupted upload", () => {
  it.for<[string, string, (put: (content: Buffer) => void, write: (content: string) => void) => void]>([
    ["has become small", "copied", (_put, write) => write("small")],
    ["is there by now", "unchanged", (put) => put(content)],
  ])("is aborted if its file %s", async ([, outcome, happens], { s3, space, to, redis, keys }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    s3.fault = (request, answer) => {
      if (!isPart(request) || request.query.get("partNumber") !== "3") return false;
      sendError(answer, 500, "InternalError");
      return true;
    };
    const fileWorker = await to();
    expect(await fileWorker.once("f", space.to("f"))).toMatchObject({ is: "retry" });
    expect(s3.writes.uploads.size).toBe(1);
    s3.fault = () => false;
    happens(
      (bytes) => s3.put("to/f", bytes, { etag: '"abc-3"', "x-amz-meta-drover-sha256": sha256(bytes) }),
      (text) => writeFileSync(space.to("f"), text),
    );
    expect(await fileWorker.through("f", space.to("f"))).toMatchObject({ outcome });
    expect(s3.writes.uploads.size).toBe(0);
    expect(await redis.zcard(keys.uploads(fileWorker.context.tree.id))).toBe(0);
  });
});

describe("the sweep of abandoned uploads", () => {
  it("ends with the run and reports no error then", async ({ s3, space, to, redis, keys }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "small");
    const asked = Promise.withResolvers<void>();
    s3.fault = ({ method, query }) => {
      const listing = method === "GET" && query.has("uploads");
      if (listing) asked.resolve();
      return listing; // never answered
    };
    const fileWorker = await to();
    const troubles: Error[] = [];
    fileWorker.onError = (error) => troubles.push(error);
    await redis.zadd(keys.uploads(fileWorker.context.tree.id), Date.now() - 26 * 3_600_000, "left");
    expect(await fileWorker.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    await asked.promise;
    await fileWorker.close();
    await setImmediate();
    expect(troubles).toEqual([]);
  });

  it("reports that it may not list uploads", async ({ s3, space, to, redis, keys }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "small");
    s3.fault = ({ method, query }, answer) => {
      const listing = method === "GET" && query.has("uploads");
      if (listing) sendError(answer, 403, "AccessDenied");
      return listing;
    };
    const fileWorker = await to();
    const trouble = new Promise<Error>((resolve) => {
      fileWorker.onError = resolve;
    });
    await redis.zadd(keys.uploads(fileWorker.context.tree.id), Date.now() - 26 * 3_600_000, "left");
    expect(await fileWorker.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    expect((await trouble).message).toMatch(/^what was left below s3:\/\/bucket\/to .*access denied/);
  });
});

describe("a worker that was suspended past its lease", () => {
  it("aborts the upload that it began too late", async ({ s3, space, to, redis, keys }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    const sleeper = await to();
    const { arrived, open } = gate(isCreate, s3);
    const stale = sleeper.once("f", space.to("f"));
    await arrived;
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    const successor = await sleeper.other();
    expect(await successor.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("leaves the record of a begun upload to its successor", async ({ s3, space, to, redis, keys }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    const sleeper = await to();
    const late = gate(isCreate, s3);
    const stale = sleeper.once("f", space.to("f"));
    await late.arrived;
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    const successor = await sleeper.other();
    const { arrived, open } = gate(isComplete, s3);
    const result = successor.once("f", space.to("f"));
    await arrived;
    late.open();
    expect((await stale).is).not.toBe("settled");
    expect(await redis.zrange(keys.uploads(sleeper.context.tree.id), "0", "-1")).toEqual(["f"]);
    open();
    expect(await result).toMatchObject({ is: "settled", outcome: { outcome: "copied" } });
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("has its upload aborted by a later successor if the first one cannot", async ({
    s3,
    space,
    to,
    redis,
    keys,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    const sleeper = await to();
    const { arrived, open } = gate(isComplete, s3);
    const stale = sleeper.once("f", space.to("f"));
    await arrived;
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    const [first] = [...s3.writes.uploads.keys()];
    const successor = await sleeper.other();
    s3.fault = (request, answer) => {
      if (isAbort(request)) sendError(answer, 503, "SlowDown");
      return isAbort(request);
    };
    expect(await successor.once("f", space.to("f"))).toMatchObject({ is: "retry" });
    s3.fault = () => false;
    s3.requests.length = 0;
    expect(await successor.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    // Its upload was not gone on with: it could have put it together meanwhile.
    const dropped = s3.requests.filter(isAbort).map(({ query }) => query.get("uploadId"));
    expect(dropped).toEqual([first]);
    expect(s3.requests.filter(isCreate)).toHaveLength(1);
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.writes.uploads.size).toBe(0);
  });
});

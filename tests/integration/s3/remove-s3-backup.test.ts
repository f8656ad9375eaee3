import { mkdirSync, writeFileSync } from "node:fs";
import { LEASE_MS } from "@drover/shared/protocol/admission";
import { catalogKey } from "@drover/shared/protocol/catalog";
import { StoppingError } from "@drover/worker/attempt/stopping";
import { describe, expect, vi } from "vitest";
import { pattern, toBuffer } from "../../harness/content.js";
import { type FakeRequest, type FakeS3, sendError } from "../../harness/fake-s3.js";
import { until } from "../../harness/gate.js";
import type { FileWorker } from "../helpers/file-worker.js";
import { DEAD_PROCESS } from "../helpers/fleet.js";
import { gate, isComplete, isPart, it, leaseOf } from "../helpers/s3.js";

const content = toBuffer(pattern(40 << 20));
const isAbort = ({ method, query }: FakeRequest) => method === "DELETE" && query.has("uploadId");
const numberOf = ({ query }: FakeRequest) => query.get("partNumber");
const isRemoval = ({ method, key, query }: FakeRequest) =>
  method === "DELETE" && key === "to/f" && !query.has("uploadId");
const isCopy = (request: FakeRequest) =>
  request.method === "PUT" && request.key === "keep/f" && "x-amz-copy-source" in request.headers;

const large = { backup: "s3://bucket/keep", mostCopyBytes: 16 << 20 };
const small = { backup: "s3://bucket/keep" };
const deleted = { is: "settled", outcome: { outcome: "deleted" } };

/** Puts the object in its place that is to be removed; answers with its ETag. */
function put(s3: FakeS3, bytes: Buffer | string = content): string {
  s3.put("to/f", bytes, { "content-type": "text/x-f", "x-amz-meta-mtime": "5" });
  return s3.stored("to/f")?.etag as string;
}

/** Names in the set of uploads that were begun and not ended. */
const begun = (fileWorker: FileWorker) => {
  const { redis, keys } = fileWorker.member;
  return redis.zrange(keys.uploads(fileWorker.context.tree.id), "0", "-1");
};

describe("a large object removed with a backup", () => {
  it("is backed up in parts with its metadata", async ({ s3, to }) => {
    const etag = put(s3);
    s3.put("keep/f", "an older one");
    const fileWorker = await to(large);
    expect(await fileWorker.removal("f", etag)).toMatchObject(deleted);
    expect(s3.keys).toEqual(["keep/f"]);
    const kept = s3.stored("keep/f");
    expect(kept?.content.equals(content)).toBe(true);
    expect(kept?.headers).toMatchObject({ "content-type": "text/x-f", "x-amz-meta-mtime": "5" });
    expect([s3.writes.uploads.size, await begun(fileWorker)]).toEqual([0, []]);
  });

  it("is not removed if the backup is shorter than the service says", async ({ s3, to }) => {
    const etag = put(s3);
    s3.writes.after = (request) => {
      if (isComplete(request)) s3.put("keep/f", content.subarray(1), { etag: '"short-3"' });
      return false;
    };
    const result = await (await to(large)).removal("f", etag);
    expect(result).toMatchObject({ is: "retry", error: { class: "changed" } });
    expect(s3.keys).toContain("to/f");
  });

  it.for(["killed", "stopped"])(
    "has its backup resumed with the uploaded parts if the worker is %s",
    async (how, { s3, to }) => {
      const etag = put(s3);
      const first = await to({ ...large, ...(how === "killed" ? { owner: DEAD_PROCESS } : {}) });
      const { arrived, open } = gate((request) => isPart(request) && numberOf(request) === "3", s3);
      const stale = first.removal("f", etag);
      await arrived;
      const two = () => [...s3.writes.uploads.values()][0]?.parts.size === 2;
      await until("two parts", two);
      if (how === "stopped") {
        first.context.leases.abortAll(new StoppingError("stopping"));
        expect(await stale).toEqual({ is: "returned" });
      }
      const asked = s3.requests.length;
      const successor = await first.other(large);
      expect(await successor.removal("f", etag)).toMatchObject(deleted);
      expect(s3.requests.slice(asked).filter(isPart).map(numberOf)).toEqual(["3"]);
      expect(s3.stored("keep/f")?.content.equals(content)).toBe(true);
      open();
      expect((await stale).is).not.toBe("settled");
      expect([s3.keys, s3.writes.uploads.size, await begun(successor)]).toEqual([["keep/f"], 0, []]);
    },
  );

  it("has the upload of a worker that may still run aborted first", async ({ s3, to, redis, keys }) => {
    const etag = put(s3);
    const sleeper = await to(large);
    const { arrived, open } = gate(isComplete, s3);
    const stale = sleeper.removal("f", etag);
    await arrived;
    const [upload] = [...s3.writes.uploads.keys()];
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    s3.requests.length = 0;
    const successor = await sleeper.other(large);
    expect(await successor.removal("f", etag)).toMatchObject(deleted);
    expect(s3.requests.find(isAbort)?.query.get("uploadId")).toBe(upload);
    s3.put("keep/f", "of a later day");
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.stored("keep/f")?.content.toString()).toBe("of a later day");
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("has its backup upload aborted if that fails", async ({ s3, to }) => {
    const etag = put(s3);
    s3.fault = (request, answer) => {
      if (!isPart(request) || request.query.get("partNumber") !== "3") return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const fileWorker = await to(large);
    expect(await fileWorker.removal("f", etag)).toMatchObject({
      outcome: {
        error: { message: expect.stringMatching(/^cannot write to s3:\/\/bucket\/keep: access den/) },
      },
    });
    expect([s3.writes.uploads.size, await begun(fileWorker), s3.keys]).toEqual([0, [], ["to/f"]]);
  });

  it("has its backup upload aborted a day later if nobody resumes the removal", async ({
    s3,
    space,
    to,
    redis,
    keys,
  }) => {
    const etag = put(s3);
    const first = await to({ ...large, owner: DEAD_PROCESS });
    const { arrived, open } = gate(isComplete, s3);
    const stale = first.removal("f", etag);
    await arrived;
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "it is brought again");
    const next = await to();
    expect(await next.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    expect(s3.writes.uploads.size).toBe(1);

    const [member] = await begun(first);
    const dayAgo = Date.now() - 26 * 3_600_000;
    await redis.zadd(keys.uploads(first.context.tree.id), dayAgo, member as string);
    for (const upload of s3.writes.uploads.values()) upload.started = new Date(dayAgo);
    await redis.del(leaseOf(keys, first, "f"));
    await (await to()).through("g", space.to("f"));
    await until("the sweep", async () => s3.writes.uploads.size === 0 && (await begun(first)).length === 0);
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.keys).toEqual(["to/f", "to/g"]);
  });
});

describe("an object removed with a backup", () => {
  it("is neither removed nor backed up again by a worker that was suspended past its lease", async ({
    s3,
    to,
    redis,
    keys,
  }) => {
    const etag = put(s3, "content");
    const sleeper = await to(small);
    const { arrived, open } = gate(isCopy, s3);
    const stale = sleeper.removal("f", etag);
    await arrived;
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    const successor = await sleeper.other(small);
    expect(await successor.removal("f", etag)).toMatchObject(deleted);
    // Meanwhile the file has come back, other than it was.
    s3.put("to/f", "another");
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.stored("to/f")?.content.toString()).toBe("another");
    expect(s3.stored("keep/f")?.content.toString()).toBe("content");
  });

  it("is removed by one of two workers that both backed it up", async ({ s3, to, redis, keys }) => {
    const etag = put(s3, "content");
    const sleeper = await to(small);
    const { arrived, open } = gate(isRemoval, s3);
    const stale = sleeper.removal("f", etag);
    await arrived;
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    const successor = await sleeper.other(small);
    expect(await successor.removal("f", etag)).toMatchObject(deleted);
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.keys).toEqual(["keep/f"]);
    expect(s3.requests.filter(isCopy)).toHaveLength(1);
  });

  it("is neither removed nor backed up if it is another version than the one that was found", async ({
    s3,
    to,
  }) => {
    const etag = put(s3, "content");
    put(s3, "another");
    const result = await (await to(small)).removal("f", etag);
    expect(result).toMatchObject({ outcome: { outcome: "failed", error: { class: "changed" } } });
    expect(s3.keys).toEqual(["to/f"]);
  });

  it("is not removed by a worker whose lease has expired", async ({ s3, to }) => {
    const etag = put(s3, "content");
    const fileWorker = await to();
    const isLook = ({ method, key }: FakeRequest) => method === "HEAD" && key === "to/f";
    s3.before = (request) => {
      if (isLook(request)) vi.spyOn(Date, "now").mockReturnValue(Date.now() + LEASE_MS); // the machine slept
      return undefined;
    };
    const result = await fileWorker.removal("f", etag);
    vi.restoreAllMocks();
    expect(result).toMatchObject({ is: "retry", error: { class: "locked" } });
    expect(s3.requests.filter(isRemoval)).toEqual([]);
  });

  it("is backed up so that other syncs to that place check it anew", async ({ s3, to, redis, keys }) => {
    const etag = put(s3, "content");
    const there = await to({ root: "s3://bucket/keep" });
    const key = catalogKey(keys, there.context.tree.id, "f");
    await redis.hset(key, "f", "what a sync has noted");
    expect(await (await to(small)).removal("f", etag)).toMatchObject(deleted);
    expect(await redis.exists(key)).toBe(0);
  });
});

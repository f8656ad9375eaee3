import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { chunked, file } from "../../harness/behaviours.js";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import { sendError } from "../../harness/fake-s3.js";
import { gate, isComplete, isPart, isPut, it, leaseOf } from "../helpers/s3.js";

const MIB = 1 << 20;
const md5 = (bytes: Buffer) => createHash("md5").update(bytes).digest();

describe("a small file copied to S3", () => {
  it("takes one request, signed with the hash of its bytes, on the condition that there is no such object", async ({
    s3,
    space,
    to,
  }) => {
    const fileWorker = await to();
    mkdirSync(space.root, { recursive: true });
    for (const name of ["first", "second"]) writeFileSync(space.to(name), name);
    utimesSync(space.to("second"), 1_600_000_000, 1_600_000_000.25);
    await fileWorker.through("first", space.to("first")); // with which it is found out what the service can do
    s3.requests.length = 0;
    const outcome = await fileWorker.through("deep/ü +%?#", space.to("second"));
    expect(outcome).toMatchObject({ outcome: "copied", checksum: sha256("second"), verifiedBy: "etag" });
    expect(outcome.unconditional).toBeUndefined();
    expect(s3.requests).toHaveLength(1);
    const mode = `100${(statSync(space.to("second")).mode & 0o777).toString(8)}`;
    expect(s3.requests[0]).toMatchObject({
      method: "PUT",
      key: "to/deep/ü +%?#",
      headers: {
        "if-none-match": "*",
        "x-amz-content-sha256": sha256("second"),
        "x-amz-meta-drover-sha256": sha256("second"),
        "x-amz-meta-mtime": "1600000000.25",
        "x-amz-meta-mode": mode,
      },
    });
    expect(s3.keys).toEqual(["to/deep/ü +%?#", "to/first"]);
  });

  it.for(["quoted", "bare"] as const)(
    "replaces an object of another writer only after reading its head (ETags %s)",
    async (form, { s3, space, to }) => {
      s3.writes.conditions = form;
      const fileWorker = await to();
      mkdirSync(space.root, { recursive: true });
      writeFileSync(space.to("f"), "one");
      await fileWorker.through("f", space.to("f"));
      s3.put("to/f", "another's");
      writeFileSync(space.to("f"), "two");
      s3.requests.length = 0;
      const next = await to();
      expect(await next.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
      expect(s3.stored("to/f")?.content.toString()).toBe("two");
      expect(s3.requests.map(({ method }) => method)).toEqual(["PUT", "HEAD", "PUT"]);
      expect(s3.requests.every(({ method, headers }) => method === "HEAD" || headers["if-match"])).toBe(true);
    },
  );

  it("is not written if an object of any writer has the same bytes", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "same");
    s3.put("to/f", "same");
    const before = s3.stored("to/f");
    const outcome = await (await to()).through("f", space.to("f"));
    expect(outcome).toMatchObject({ outcome: "unchanged", checksum: sha256("same"), verifiedBy: "etag" });
    expect(s3.stored("to/f")).toBe(before);
  });

  it("is given up for this attempt if another writer keeps replacing the object", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    let others = 0;
    s3.before = (request) => {
      if (isPut(request)) s3.put("to/f", `other ${++others}`);
      return undefined;
    };
    const fileWorker = await to();
    const result = await fileWorker.once("f", space.to("f"));
    expect(result).toMatchObject({ is: "retry", error: { class: "changed", message: /another writer/ } });
    expect(s3.stored("to/f")?.content.toString()).toBe(`other ${others}`);
  });

  it("is reported as unconditional, and checked before the write, if the service supports no conditions", async ({
    s3,
    space,
    to,
  }) => {
    s3.writes.conditions = "none";
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    writeFileSync(space.to("g"), "same");
    s3.put("to/g", "same");
    const fileWorker = await to();
    expect(await fileWorker.through("f", space.to("f"))).toMatchObject({
      outcome: "copied",
      unconditional: true,
    });
    expect(await fileWorker.through("g", space.to("g"))).toMatchObject({ outcome: "unchanged" });
    expect(s3.keys).toEqual(["to/f", "to/g"]);
  });

  it("has the service probed once for all processes", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    await (await to()).through("f", space.to("f"));
    s3.requests.length = 0;
    await (await to()).through("g", space.to("f"));
    expect(s3.requests).toHaveLength(1);
  });

  it("is copied if the write succeeded but its answer was lost", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    let cut = false;
    s3.writes.after = (request, answer) => {
      if (cut || !isPut(request)) return false;
      cut = true;
      answer.destroy();
      return true;
    };
    const outcome = await (await to()).through("f", space.to("f"));
    expect(outcome).toMatchObject({ outcome: "unchanged", attempts: 2, checksum: sha256("mine") });
    expect(s3.stored("to/f")?.content.toString()).toBe("mine");
  });

  it("is no success if the service stored other bytes", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    s3.writes.after = (request, answer) => {
      if (!isPut(request)) return false;
      answer.writeHead(200, { etag: `"${"0".repeat(32)}"` }).end();
      return true;
    };
    const result = await (await to()).once("f", space.to("f"));
    expect(result).toMatchObject({ is: "retry", error: { class: "checksum" } });
  });

  it("is not overwritten by a worker that was suspended past its lease", async ({
    s3,
    space,
    to,
    redis,
    keys,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "old");
    const sleeper = await to();
    await sleeper.through("warm", space.to("f"));
    const { arrived, open } = gate(isPut, s3);
    const stale = sleeper.once("f", space.to("f"));
    await arrived;
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    writeFileSync(space.to("f"), "new");
    const successor = await sleeper.other();
    expect(await successor.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.stored("to/f")?.content.toString()).toBe("new");
  });
});

describe("a large file copied to S3", () => {
  const content = toBuffer(pattern(40 * MIB));

  it("is uploaded in parts and leaves no upload behind", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    const outcome = await (await to()).through("f", space.to("f"));
    expect(outcome).toMatchObject({ outcome: "copied", checksum: sha256(content), verifiedBy: "etag" });
    expect(s3.stored("to/f")?.content.equals(content)).toBe(true);
    expect(s3.stored("to/f")?.headers["x-amz-meta-drover-sha256"]).toBe(sha256(content));
    expect(
      s3.requests
        .filter(isPart)
        .map(({ query }) => query.get("partNumber"))
        .sort(),
    ).toEqual(["1", "2", "3"]);
    expect(s3.writes.uploads.size).toBe(0);
  });

  it.for<[string, (sha: string) => Record<string, string>]>([
    ["ours", (sha) => ({ etag: '"abc-3"', "x-amz-meta-drover-sha256": sha })],
    ["rclone's", () => ({ etag: '"abc-3"', "x-amz-meta-md5chksum": md5(content).toString("base64") })],
    ["that of one piece", () => ({})],
  ])("is not sent again if a checksum says that it is there (%s)", async ([, headers], { s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    s3.put("to/f", content, headers(sha256(content)));
    const outcome = await (await to()).through("f", space.to("f"));
    expect(outcome).toMatchObject({ outcome: "unchanged", checksum: sha256(content) });
    expect(s3.requests.map(({ method }) => method)).toEqual(["HEAD"]);
  });

  it("may come from a URL of unknown length", async ({ s3, origin, to }) => {
    const url = origin.route("/f", chunked(content));
    const outcome = await (await to()).through("f", url);
    expect(outcome).toMatchObject({ outcome: "copied", checksum: sha256(content), bytes: content.length });
    expect(s3.stored("to/f")?.content.equals(content)).toBe(true);
    // Its hash was not known when the upload began.
    expect(s3.stored("to/f")?.headers["x-amz-meta-drover-sha256"]).toBeUndefined();
  });

  it("is compared with the given checksum before it is published", async ({ s3, origin, to }) => {
    const url = origin.route("/f", file(content));
    const fileWorker = await to();
    const failed = await fileWorker.through("f", url, { sha256: "0".repeat(64) });
    expect(failed).toMatchObject({ outcome: "failed", error: { class: "checksum" } });
    expect(s3.keys).toEqual([]);
    expect(s3.writes.uploads.size).toBe(0);
    const good = await fileWorker.through("g", url, { sha256: sha256(content) });
    expect(good.outcome).toBe("copied");
    expect(s3.stored("to/g")?.headers["x-amz-meta-drover-sha256"]).toBe(sha256(content));
  });

  it("that changes while it is read is not published, and its upload is aborted", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    s3.before = (request) => {
      if (request.query.has("uploads")) appendFileSync(space.to("f"), "more");
      return undefined;
    };
    const outcome = await (await to({ retries: 1 })).through("f", space.to("f"));
    expect(outcome).toMatchObject({ outcome: "failed", error: { class: "changed" } });
    expect(s3.keys).toEqual([]);
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("resumes with the uploaded parts and sends only those that differ", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    s3.fault = (request, answer) => {
      if (!isPart(request) || request.query.get("partNumber") !== "3") return false;
      sendError(answer, 500, "InternalError");
      return true;
    };
    const fileWorker = await to();
    const first = await fileWorker.once("f", space.to("f"));
    expect(first).toMatchObject({ is: "retry", error: { class: "server" } });
    expect(s3.writes.uploads.size).toBe(1);
    s3.fault = () => false;
    s3.requests.length = 0;
    expect(await fileWorker.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    const sent = s3.requests.filter(isPart);
    expect(sent.map(({ query }) => query.get("partNumber"))).toEqual(["3"]);
    expect(s3.stored("to/f")?.content.equals(content)).toBe(true);
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("is not published by a worker that was suspended past its lease, because its upload is gone", async ({
    s3,
    space,
    to,
    redis,
    keys,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    const sleeper = await to();
    await sleeper.through("warm", space.to("f"));
    const { arrived, open } = gate(isComplete, s3);
    const stale = sleeper.once("f", space.to("f"));
    await arrived;
    await redis.hset(leaseOf(keys, sleeper, "f"), "e", 1);
    const changed = Buffer.from(content);
    changed.write("changed");
    writeFileSync(space.to("f"), changed);
    const successor = await sleeper.other();
    expect(await successor.through("f", space.to("f"))).toMatchObject({ outcome: "copied" });
    open();
    expect((await stale).is).not.toBe("settled");
    expect(s3.stored("to/f")?.content.equals(changed)).toBe(true);
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("left behind a day ago has its upload aborted, and no uploads of others", async ({
    s3,
    space,
    to,
    redis,
    keys,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "small");
    const fileWorker = await to();
    const before = Date.now() - 26 * 3_600_000;
    const upload = (key: string, started: number) => ({
      key,
      headers: {},
      parts: new Map(),
      started: new Date(started),
    });
    s3.writes.uploads.set("left", upload("to/left", before));
    s3.writes.uploads.set("young", upload("to/left", Date.now()));
    s3.writes.uploads.set("older", upload("to/left", before - 3_600_000));
    s3.writes.uploads.set("held", upload("to/held", before));
    s3.writes.uploads.set("theirs", upload("to/theirs", before));
    await redis.zadd(keys.uploads(fileWorker.context.tree.id), before, "left", before, "held");
    await redis.hset(leaseOf(keys, fileWorker, "held"), "f", "1");
    await fileWorker.through("f", space.to("f"));
    await expect.poll(() => [...s3.writes.uploads.keys()]).toEqual(["young", "older", "held", "theirs"]);
    await expect
      .poll(() => redis.zrange(keys.uploads(fileWorker.context.tree.id), "0", "-1"))
      .toEqual(["held"]);
  });
});

describe("an object copied within a service", () => {
  it("is copied by the service, and its bytes are not read", async ({ s3, to }) => {
    s3.put("from/f", "content", { "x-amz-meta-drover-sha256": sha256("content"), "x-amz-meta-mtime": "1.5" });
    const fileWorker = await to();
    const outcome = await fileWorker.through("f", "s3://bucket/from/f");
    expect(outcome).toMatchObject({ outcome: "copied", checksum: sha256("content"), verifiedBy: "etag" });
    expect(s3.stored("to/f")).toMatchObject({ headers: { "x-amz-meta-mtime": "1.5" } });
    expect(s3.requests.filter(({ method, key }) => method === "GET" && key !== "")).toEqual([]);
    const known = await fileWorker.through("again", "s3://bucket/from/f");
    expect(known.outcome).toBe("copied");
  });

  it("is unchanged if the same object is there", async ({ s3, to }) => {
    s3.put("from/f", "content");
    s3.put("to/f", "content");
    const outcome = await (await to()).through("f", "s3://bucket/from/f");
    expect(outcome).toMatchObject({ outcome: "unchanged", checksum: null });
    expect(s3.requests.some(({ method }) => method === "PUT")).toBe(false);
  });

  it("is copied in parts with its metadata if it is too large for one request", async ({ s3, to }) => {
    const content = toBuffer(pattern(33 * MIB));
    s3.put("from/f", content, { etag: '"abc-3"', "x-amz-meta-mtime": "1.5" });
    const outcome = await (await to({ mostCopyBytes: 16 * MIB })).through("f", "s3://bucket/from/f");
    expect(outcome).toMatchObject({ outcome: "copied", bytes: content.length });
    expect(s3.stored("to/f")?.content.equals(content)).toBe(true);
    expect(s3.stored("to/f")?.headers["x-amz-meta-mtime"]).toBe("1.5");
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("never mixes two versions", async ({ s3, to }) => {
    const [old, young] = [toBuffer(pattern(33 * MIB, 1)), toBuffer(pattern(33 * MIB, 2))];
    s3.put("from/f", old, { etag: '"old-3"' });
    let replaced = false;
    s3.before = (request) => {
      if (replaced || !isPart(request) || request.query.get("partNumber") !== "2") return undefined;
      replaced = true;
      s3.put("from/f", young, { etag: '"young-3"' });
      return undefined;
    };
    const outcome = await (await to({ mostCopyBytes: 16 * MIB })).through("f", "s3://bucket/from/f");
    expect(outcome).toMatchObject({ outcome: "copied", attempts: 2 });
    expect(s3.stored("to/f")?.content.equals(young)).toBe(true);
    expect(s3.writes.uploads.size).toBe(0);
  });
});

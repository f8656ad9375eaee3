import { mkdirSync, writeFileSync } from "node:fs";
import { LEASE_MS } from "@drover/shared/protocol/admission";
import { describe, expect, vi } from "vitest";
import { file } from "../../harness/behaviours.js";
import { pattern, toBuffer } from "../../harness/content.js";
import { type FakeRequest, sendError } from "../../harness/fake-s3.js";
import { gate, isComplete, isPart, it } from "../helpers/s3.js";

const isProbe = ({ key }: FakeRequest) => key.includes(".drover-");
const left = (keys: string[]) => keys.filter((key) => key.includes(".drover-"));

describe("finding out which conditions a service supports", () => {
  it("is repeated if one prefix does not allow the probe", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    s3.fault = (request, answer) => {
      if (isProbe(request)) sendError(answer, 403, "AccessDenied");
      return isProbe(request);
    };
    const outcome = await (await to()).through("f", space.to("f"));
    expect(outcome).toMatchObject({ outcome: "copied", unconditional: true });
    s3.fault = () => false;
    const next = await (await to()).through("g", space.to("f"));
    expect(next.outcome).toBe("copied");
    expect(next.unconditional).toBeUndefined();
  });

  it("works where objects may not be removed", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    s3.fault = (request, answer) => {
      if (request.method === "DELETE") sendError(answer, 403, "AccessDenied");
      return request.method === "DELETE";
    };
    const fileWorker = await to();
    for (const name of ["f", "g", "h"]) {
      const outcome = await fileWorker.through(name, space.to("f"));
      expect(outcome.outcome).toBe("copied");
      expect(outcome.unconditional).toBeUndefined();
    }
    expect(left(s3.keys)).toHaveLength(1);
  });

  it("leaves nothing behind if it is cancelled", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    const fileWorker = await to();
    const { arrived, open } = gate(({ headers }) => headers["if-none-match"] !== undefined, s3);
    const result = fileWorker.once("f", space.to("f"));
    await arrived;
    fileWorker.context.leases.cancelHeld(fileWorker.runId);
    open();
    expect(await result).toMatchObject({ outcome: { outcome: "cancelled" } });
    expect(s3.keys).toEqual([]);
  });

  it("leaves nothing behind if answers are lost", async ({ s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), "mine");
    const fileWorker = await to();
    s3.fault = ({ method, key }, answer) => {
      if (method !== "PUT" || !isProbe({ key } as FakeRequest)) return false;
      s3.put(key, "");
      answer.destroy();
      return true;
    };
    expect(await fileWorker.once("f", space.to("f"))).toMatchObject({ is: "retry" });
    s3.fault = () => false;
    expect(s3.keys).toEqual([]);
  });

  it.for(["f", "big"])(
    "works if the service throttles each request once (%s)",
    async (name, { s3, space, to }) => {
      mkdirSync(space.root, { recursive: true });
      writeFileSync(space.to(name), name === "f" ? "mine" : toBuffer(pattern(17 << 20)));
      const asked = new Set<string>();
      s3.fault = (request, answer) => {
        const { method, key, query, headers } = request;
        const asking = [
          method,
          key,
          query.has("uploads"),
          query.has("partNumber"),
          headers["if-match"],
          headers["if-none-match"],
        ].join();
        if (!isProbe(request) || asked.has(asking)) return false;
        asked.add(asking);
        sendError(answer, 503, "SlowDown");
        return true;
      };
      const outcome = await (await to()).through(name, space.to(name));
      expect(outcome).toMatchObject({ outcome: "copied", attempts: 1 });
      expect(outcome.unconditional).toBeUndefined();
      expect([s3.keys, s3.writes.uploads.size]).toEqual([[`to/${name}`], 0]);
    },
  );

  it("works below a prefix with any characters", async ({ s3, to }) => {
    s3.put("from", "content");
    const fileWorker = await to({ root: "s3://bucket/to?a+b&c=%2541 #ü" });
    const outcome = await fileWorker.through("f", "s3://bucket/from");
    expect(outcome.error).toBeUndefined();
    expect(outcome.outcome).toBe("copied");
    expect(outcome.unconditional).toBeUndefined();
    expect(s3.keys).toEqual(["from", "to?a+b&c=%41 #ü/f"]);
  });
});

describe("an object that others write too", () => {
  const content = toBuffer(pattern(17 << 20));

  it("is not replaced by an upload that began earlier, if the service supports no conditions", async ({
    s3,
    space,
    to,
  }) => {
    s3.writes.conditions = "none";
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    s3.before = (request) => {
      if (isPart(request)) s3.put("to/f", "theirs");
      return undefined;
    };
    const result = await (await to()).once("f", space.to("f"));
    expect(result).toMatchObject({ is: "retry", error: { class: "changed", message: /another writer/ } });
    expect(s3.stored("to/f")?.content.toString()).toBe("theirs");
  });

  it("is not taken for ours if the service says that a missing upload is complete", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    s3.fault = (request, answer) => {
      if (!isComplete(request)) return false;
      s3.writes.uploads.clear();
      s3.put("to/f", "theirs");
      const etag = s3.stored("to/f")?.etag;
      answer.end(`<CompleteMultipartUploadResult><ETag>${etag}</ETag></CompleteMultipartUploadResult>`);
      return true;
    };
    const result = await (await to()).once("f", space.to("f"));
    expect(result).toMatchObject({ is: "retry", error: { class: "changed" } });
  });

  it("is not written by a worker whose lease has expired", async ({ s3, origin, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("warm"), "warm");
    const fileWorker = await to();
    await fileWorker.through("warm", space.to("warm"));
    s3.requests.length = 0;
    const url = origin.route("/f", (exchange) => {
      vi.spyOn(Date, "now").mockReturnValue(Date.now() + LEASE_MS); // the machine slept
      return file("mine")(exchange);
    });
    const result = await fileWorker.once("f", url);
    vi.restoreAllMocks();
    expect(result).toMatchObject({ is: "retry", error: { class: "locked" } });
    expect(s3.requests).toEqual([]);
  });
});

describe("an object that may not be read", () => {
  const content = toBuffer(pattern(17 << 20));

  it("is created although without s3:ListBucket a missing object looks forbidden", async ({
    s3,
    space,
    to,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), content);
    s3.put("from", "content");
    s3.fault = ({ method, key }, answer) => {
      const forbidden = method === "HEAD" && s3.stored(key) === undefined;
      if (forbidden) answer.writeHead(403).end();
      return forbidden;
    };
    const fileWorker = await to({ mostCopyBytes: 1 << 30 });
    for (const source of [space.to("f"), "s3://bucket/from"]) {
      const outcome = await fileWorker.through(source.slice(-1), source);
      expect(outcome.error).toBeUndefined();
      expect(outcome.outcome).toBe("copied");
    }
  });

  it.for([
    ["small", Buffer.from("mine")],
    ["large", content],
  ] as const)("is never replaced by a %s one", async ([, mine], { s3, space, to }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("f"), mine);
    s3.put("to/f", "theirs");
    s3.fault = ({ method }, answer) => {
      if (method === "HEAD") answer.writeHead(403).end();
      return method === "HEAD";
    };
    const outcome = await (await to()).through("f", space.to("f"));
    const message = expect.stringMatching(/^cannot write to s3:\/\/bucket\/to: access denied/);
    expect(outcome).toMatchObject({ outcome: "failed", error: { class: "forbidden", message } });
    expect(s3.stored("to/f")?.content.toString()).toBe("theirs");
    expect(s3.writes.uploads.size).toBe(0);
  });
});

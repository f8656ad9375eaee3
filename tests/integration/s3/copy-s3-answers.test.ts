import { mkdirSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { pattern, sha256, toBuffer } from "../../harness/content.js";
import { type FakeRequest, type FakeS3, sendError } from "../../harness/fake-s3.js";
import { isComplete, isPart, isPut, it } from "../helpers/s3.js";

const MIB = 1 << 20;
const content = toBuffer(pattern(17 * MIB));

const isCopy = (request: FakeRequest) => isPut(request) && "x-amz-copy-source" in request.headers;
const isCreate = ({ method, key, query }: FakeRequest) =>
  method === "POST" && query.has("uploads") && !key.includes(".drover-");

/** Answers one request of a kind in its own way, and says whether that has happened. */
function once(s3: FakeS3, of: (request: FakeRequest) => boolean, reply: (answer: ServerResponse) => void) {
  const was = { answered: false };
  s3.fault = (request, answer) => {
    if (was.answered || !of(request)) return false;
    was.answered = true;
    reply(answer);
    return true;
  };
  return was;
}

const html = (answer: ServerResponse) => answer.writeHead(200).end("<html><body>It works!</body></html>");
const kinds: [string, (request: FakeRequest) => boolean, string][] = [
  ["a put", isPut, "small"],
  ["the beginning of an upload", isCreate, "large"],
  ["a part", isPart, "large"],
  ["the end of an upload", isComplete, "large"],
  ["a copy", isCopy, "s3://bucket/from"],
];

describe("an answer of the service", () => {
  it.for(kinds)(
    "that stalls is given up after the timeout (%s)",
    async ([, of, source], { s3, space, to }) => {
      const fileWorker = await to({ timeoutMs: 1_000 });
      const from = prepare(s3, space, source);
      const was = once(s3, of, (answer) => void answer.writeHead(200, { "content-length": 100 }).write(" "));
      expect(await fileWorker.through("f", from)).toMatchObject({ outcome: "copied" });
      expect(was.answered).toBe(true);
    },
  );

  it("may take longer while the request is still on its way over a slow line", async ({ s3, space, to }) => {
    const fileWorker = await to({ timeoutMs: 500 });
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("source"), content.subarray(0, 512 << 10));
    s3.before = (request) => (isPut(request) ? sleep(2_500) : undefined); // as if it was read so slowly
    expect(await fileWorker.once("f", space.to("source"))).toMatchObject({ is: "settled" });
  });

  it("that is an error and stalls is an error by its status", async ({ s3, space, to }) => {
    const fileWorker = await to();
    const from = prepare(s3, space, "small");
    const was = once(s3, isPut, (answer) => void answer.writeHead(500, { "content-length": 9 }).write("<"));
    expect(await fileWorker.once("f", from)).toMatchObject({ is: "retry", error: { class: "server" } });
    expect(was.answered).toBe(true);
  });

  it.for(kinds)(
    "that does not come from S3 is no success (%s)",
    async ([, of, source], { s3, space, to }) => {
      const fileWorker = await to();
      const from = prepare(s3, space, source);
      const was = once(s3, of, html);
      const outcome = await fileWorker.through("f", from);
      expect(outcome).toMatchObject({ outcome: "copied", attempts: of === isPart ? 1 : 2 });
      expect(was.answered).toBe(true);
      expect(s3.stored("to/f")?.content.length).toBe(outcome.bytes);
    },
  );

  it.for([304, 416])("with status %i is no success of a PUT", async (status, { s3, space, to }) => {
    const fileWorker = await to();
    const from = prepare(s3, space, "small");
    once(s3, isPut, (answer) => answer.writeHead(status, { etag: '"abc"' }).end());
    const outcome = await fileWorker.through("f", from);
    expect(outcome.outcome).toBe("failed");
    expect(s3.stored("to/f")).toBeUndefined();
  });

  it.for<[string, (request: FakeRequest) => boolean, string]>([
    ["the end of an upload", isComplete, "large"],
    ["a copy", isCopy, "s3://bucket/from"],
  ])(
    "with status 200 and an error in its body is an error (%s)",
    async ([, of, source], { s3, space, to }) => {
      const fileWorker = await to();
      const from = prepare(s3, space, source);
      once(s3, of, (answer) =>
        answer.writeHead(200).end('<?xml version="1.0"?>\n  <Error><Code>InternalError</Code></Error>'),
      );
      expect(await fileWorker.once("f", from)).toMatchObject({ is: "retry", error: { class: "server" } });
      expect(s3.stored("to/f")).toBeUndefined();
      expect(await fileWorker.through("f", from)).toMatchObject({ outcome: "copied" });
    },
  );

  it("that a part is not valid has the part sent again", async ({ s3, space, to }) => {
    const fileWorker = await to();
    const from = prepare(s3, space, "large");
    once(s3, isComplete, (answer) => sendError(answer, 400, "InvalidPart"));
    const outcome = await fileWorker.through("f", from);
    expect(outcome).toMatchObject({ outcome: "copied", attempts: 2, checksum: sha256(content) });
    expect(s3.writes.uploads.size).toBe(0);
  });
});

function prepare(s3: FakeS3, space: { root: string; to(name: string): string }, source: string): string {
  if (source.startsWith("s3:")) {
    s3.put("from", "content");
    return source;
  }
  mkdirSync(space.root, { recursive: true });
  writeFileSync(space.to("source"), source === "large" ? content : "small");
  return space.to("source");
}

import { mkdirSync, writeFileSync } from "node:fs";
import { describe, expect } from "vitest";
import { pattern, toBuffer } from "../../harness/content.js";
import { type FakeRequest, type FakeS3, sendError } from "../../harness/fake-s3.js";
import type { FileWorkerOptions } from "../helpers/file-worker.js";
import { isComplete, isPart, isPut, it } from "../helpers/s3.js";

const MIB = 1 << 20;
const content = toBuffer(pattern(17 * MIB));

interface Kind {
  name: string;
  of(request: FakeRequest): boolean;
  /** The last part of a key of the bucket, or of a file. */
  source: "object" | "file";
  options?: FileWorkerOptions;
  /** The request is sent again within the same try of the file. */
  within?: true;
}

/** The requests that S3 may answer with status 200 before it knows how they end. */
const KINDS: Kind[] = [
  { name: "CompleteMultipartUpload", of: isComplete, source: "file" },
  { name: "CopyObject", of: (request) => isPut(request) && isOfCopy(request), source: "object" },
  {
    name: "UploadPartCopy",
    of: (request) => isPart(request) && isOfCopy(request),
    source: "object",
    within: true,
    options: { mostCopyBytes: 16 * MIB },
  },
];

function isOfCopy({ headers }: FakeRequest): boolean {
  return "x-amz-copy-source" in headers;
}

const error = (code: string) => `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code></Error>`;
const ANSWERS: [string, string, string][] = [
  ["InternalError", error("InternalError"), "server"],
  ["SlowDown", error("SlowDown"), "throttled"],
  ["an error without a code", "<Error/>", "server"],
  ["an error behind blanks", `${" \n".repeat(100)}${error("ServiceUnavailable")}`, "server"],
  ["nothing", "", "protocol"],
  ["blanks alone", " \r\n \n", "protocol"],
  ["a declaration alone", '<?xml version="1.0" encoding="UTF-8"?>\n\n', "protocol"],
  [
    "an answer that is cut off",
    "<Result><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETa",
    "protocol",
  ],
  ["an answer cut off behind its ETag", "<Result><ETag>&quot;0123456789abcdef&quot;</ETag>", "protocol"],
];

function prepare(s3: FakeS3, space: { root: string; to(name: string): string }, { source }: Kind): string {
  if (source === "object") {
    s3.put("from", content);
    return "s3://bucket/from";
  }
  mkdirSync(space.root, { recursive: true });
  writeFileSync(space.to("source"), content);
  return space.to("source");
}

/** Answers the first request of a kind with status 200 and this, before its effect or after it. */
function answerOnce(s3: FakeS3, of: Kind["of"], body: string, when: "before" | "after") {
  const was = { answered: false };
  const answer: FakeS3["fault"] = (request, response) => {
    if (was.answered || !of(request)) return false;
    was.answered = true;
    response.writeHead(200, { "content-type": "application/xml" }).end(body);
    return true;
  };
  if (when === "before") s3.fault = answer;
  else s3.writes.after = answer;
  return was;
}

describe.for(KINDS)("status 200 for a $name that goes wrong", (kind) => {
  it.for(ANSWERS)("is tried again: %s", async ([, body, cls], { s3, space, to }) => {
    const fileWorker = await to(kind.options);
    const from = prepare(s3, space, kind);
    const was = answerOnce(s3, kind.of, body, "before");
    const first = await fileWorker.once("f", from);
    expect(was.answered).toBe(true);
    if (kind.within) expect(first).toMatchObject({ is: "settled", outcome: { outcome: "copied" } });
    else {
      expect(first).toMatchObject({ is: "retry", error: { class: cls } });
      expect(s3.stored("to/f")).toBeUndefined();
      expect(await fileWorker.through("f", from)).toMatchObject({ outcome: "copied" });
    }
    expect(s3.stored("to/f")?.content.equals(content)).toBe(true);
    expect(s3.writes.uploads.size).toBe(0);
  });

  it.for(ANSWERS)(
    "is found out if the effect is there all the same: %s",
    async ([, body], { s3, space, to }) => {
      const fileWorker = await to(kind.options);
      const from = prepare(s3, space, kind);
      const was = answerOnce(s3, kind.of, body, "after");
      expect((await fileWorker.through("f", from)).outcome).toMatch(/^(copied|unchanged)$/);
      expect(was.answered).toBe(true);
      expect(s3.stored("to/f")?.content.equals(content)).toBe(true);
      expect(s3.writes.uploads.size).toBe(0);
    },
  );

  it("is final where access is denied, and says so", async ({ s3, space, to }) => {
    const fileWorker = await to(kind.options);
    const from = prepare(s3, space, kind);
    answerOnce(s3, kind.of, error("AccessDenied"), "before");
    expect(await fileWorker.through("f", from)).toMatchObject({
      outcome: "failed",
      error: { class: "forbidden", message: expect.stringContaining("access denied (AccessDenied,") },
    });
    expect(s3.stored("to/f")).toBeUndefined();
    expect(s3.writes.uploads.size).toBe(0);
  });

  it("is no error where blanks come first and all is well", async ({ s3, space, to }) => {
    const fileWorker = await to(kind.options);
    const from = prepare(s3, space, kind);
    s3.fault = (request, answer) => {
      if (kind.of(request)) answer.write("\n \n");
      return false;
    };
    expect(await fileWorker.through("f", from)).toMatchObject({ outcome: "copied", attempts: 1 });
    expect(s3.stored("to/f")?.content.equals(content)).toBe(true);
  });

  it("is not believed where it never comes right", async ({ s3, space, to }) => {
    const fileWorker = await to(kind.options);
    const from = prepare(s3, space, kind);
    s3.fault = (request, answer) => {
      if (!kind.of(request)) return false;
      sendError(answer, 200, "InternalError");
      return true;
    };
    expect(await fileWorker.through("f", from)).toMatchObject({
      outcome: "failed",
      attempts: 3,
      error: { class: "server", message: expect.stringContaining("server error (InternalError,") },
    });
    expect(s3.stored("to/f")).toBeUndefined();
    expect(s3.writes.uploads.size).toBe(0);
  });
});

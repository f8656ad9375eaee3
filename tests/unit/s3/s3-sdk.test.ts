import { createHash } from "node:crypto";
import type { ServerResponse } from "node:http";
import { TransferError } from "@drover/shared/errors";
import { HttpClient } from "@drover/shared/storage/http/client";
import { S3Bucket } from "@drover/shared/storage/s3/bucket";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import type { CredentialsProvider } from "@drover/shared/storage/s3/service/credentials";
import { type AwsIdentity, EMPTY_SHA256, encodeRfc3986 } from "@drover/shared/storage/s3/service/sigv4";
import type { S3Spec } from "@drover/shared/storage/s3/service/spec";
import { test as base, describe, expect, onTestFinished, vi } from "vitest";
import { FakeS3, sendError } from "../../harness/fake-s3.js";

const TIMEOUT_MS = 1_000;
const never = new AbortController().signal;

interface ServiceOptions extends Partial<S3Spec> {
  credentials?: CredentialsProvider;
  bucket?: string;
  connections?: number;
}

/** What was handed to the HTTP client. */
interface Sent {
  url: string;
  method: string;
  headers: Record<string, string>;
  body: string;
  signal: AbortSignal;
}

const it = base.extend<{
  s3: FakeS3;
  /** A bucket of the service, and what is sent to it. */
  at: (options?: ServiceOptions) => { bucket: S3Bucket; client: S3Client; sent: Sent[] };
}>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    const s3 = await FakeS3.start();
    await use(s3);
    await s3.stop();
  },
  at: async ({ s3 }, use) => {
    const opened: HttpClient[] = [];
    await use(({ credentials, bucket = "bucket", connections = 4, ...spec } = {}) => {
      const http = new HttpClient({ timeoutMs: TIMEOUT_MS, connections });
      opened.push(http);
      const sent: Sent[] = [];
      const ask = http.ask.bind(http);
      vi.spyOn(http, "ask").mockImplementation((origin, path, headers, signal, message) => {
        const { method = "", body = "" } = message ?? {};
        sent.push({
          url: origin + path,
          method,
          headers,
          body: Buffer.from(body as Uint8Array | "").toString(),
          signal,
        });
        return ask(origin, path, headers, signal, message);
      });
      const service: S3Spec = {
        endpoint: s3.endpoint,
        region: "us-east-1",
        pathStyle: true,
        anonymous: false,
        requesterPays: false,
        ...spec,
      };
      const client = new S3Client(
        http,
        service,
        credentials ?? (async () => ({ accessKeyId: "A", secretAccessKey: "S" })),
      );
      return { bucket: new S3Bucket(client, bucket), client, sent };
    });
    for (const http of opened) await http.close();
  },
});

type Operation = (bucket: S3Bucket, key: string, signal?: AbortSignal) => Promise<unknown>;

/** Every operation that the SDK makes, by name. */
const OPERATIONS: Record<string, Operation> = {
  createUpload: (bucket, key, signal = never) => bucket.createUpload(key, {}, signal),
  completeUpload: (bucket, key, signal = never) =>
    bucket.completeUpload({ key, uploadId: "id", etags: ['"e"'], headers: {}, signal }),
  abortUpload: (bucket, key, signal = never) => bucket.abortUpload(key, "id", signal),
  listParts: (bucket, key, signal = never) => bucket.listParts(key, "id", signal),
  listUploads: (bucket, key, signal = never) => bucket.listUploads(key, signal),
};
const EVERY = Object.keys(OPERATIONS);
const WITH_XML = EVERY.filter((name) => name !== "abortUpload");
const run = (name: string, bucket: S3Bucket, key = "k", signal?: AbortSignal) =>
  (OPERATIONS[name] as Operation)(bucket, key, signal);

/** Answers of success, as a service gives them. */
const ANSWERS: Record<string, string> = {
  createUpload: "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>",
  completeUpload: "<CompleteMultipartUploadResult><ETag>e-1</ETag></CompleteMultipartUploadResult>",
  abortUpload: "",
  listParts: "<ListPartsResult/>",
  listUploads: "<ListMultipartUploadsResult/>",
};

function answerWith(s3: FakeS3, reply: (answer: ServerResponse) => unknown): void {
  s3.fault = (_request, answer) => {
    reply(answer);
    return true;
  };
}

async function errorOf(promise: Promise<unknown>): Promise<TransferError> {
  const error = await promise.then(
    (value) => expect.fail(`it succeeded: ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(TransferError);
  return error as TransferError;
}

describe("a request that the SDK makes", () => {
  it.for([
    ...[
      "a//b",
      "a/./b",
      "a/../b",
      "../x",
      "/x",
      "//",
      " x ",
      "ü",
      "e\u0301",
      "🐑",
      "%2B",
      "%",
      "%zz",
      "?",
      "#",
    ],
    ...[
      "a?b=c&d",
      "a+b",
      "a b",
      "\n",
      "\t",
      "\u0001",
      "'()*!",
      "~._-",
      "x-id",
      "{Key+}",
      '"<&>"',
      ".",
      "..",
      "/",
    ],
  ])("has the same path for the key %j as one of ours", async (key, { s3, at }) => {
    const { bucket, sent } = at();
    await bucket.head(key, never);
    const [ours = ""] = sent.splice(0).map(({ url }) => url);
    for (const name of EVERY) {
      answerWith(s3, (answer) => answer.end(ANSWERS[name]));
      await run(name, bucket, key);
    }
    const [uploads = "", ...rest] = sent.map(({ url }) => url).reverse();
    expect(rest.map((url) => url.split("?")[0])).toEqual(Array(4).fill(ours));
    expect(uploads).toBe(`${s3.endpoint}/bucket?prefix=${encodeRfc3986(key)}&uploads=`);
    expect(s3.requests.map(({ key }) => key)).toEqual([key, key, key, key, key, ""]);
  });

  it("has exactly the headers that it is given, besides those of every request of ours", async ({
    s3,
    at,
  }) => {
    const { bucket, sent } = at({ requesterPays: true });
    const headers = {
      "content-type": "text/csv; charset=utf-8",
      "cache-control": "max-age=60, private",
      "content-encoding": "gzip",
      "content-disposition": 'attachment; filename="a  b"',
      expires: "Thu, 01 Jan 2032 00:00:00 GMT",
      "x-amz-meta-mtime": "1577934245.5",
      "x-amz-meta-a-b": "two  blanks, 100%",
    };
    await bucket.put("k", Buffer.alloc(0), EMPTY_SHA256, headers, never);
    await bucket.createUpload("k", headers, never);
    await bucket.createUpload("k", {}, never);
    const [put, create, plain] = sent.map(({ headers }) => {
      const { authorization, "x-amz-date": _date, "content-length": _length, ...rest } = headers;
      return { ...rest, signed: /SignedHeaders=([^,]*)/.exec(authorization ?? "")?.[1] };
    });
    expect(create).toEqual(put);
    expect(Object.keys(plain ?? {}).sort()).toEqual(
      ["accept-encoding", "signed", "x-amz-content-sha256", "x-amz-request-payer"].sort(),
    );
    const { key, headers: arrived } = s3.requests[1] as (typeof s3.requests)[0];
    expect([key, arrived]).toEqual(["k", expect.objectContaining(headers)]);
  });

  it.for([{ "if-match": '"abc-2"' }, { "if-match": "abc-2" }, { "if-none-match": "*" }])(
    "has the condition exactly as it is given: %j",
    async (headers, { s3, at }) => {
      const { bucket } = at();
      answerWith(s3, (answer) => answer.end(ANSWERS.completeUpload));
      const etags = ['"a&b"', '"c"'];
      await bucket.completeUpload({ key: "k", uploadId: "i+/d", etags, headers, signal: never });
      const [request] = s3.requests;
      expect(request?.headers).toMatchObject(headers);
      expect(request?.query.get("uploadId")).toBe("i+/d");
    },
  );

  it("names the parts in order, and its signature covers them", async ({ s3, at }) => {
    const { bucket, sent } = at();
    answerWith(s3, (answer) => answer.end(ANSWERS.completeUpload));
    const etags = ['"a&b"', '"c"'];
    await bucket.completeUpload({ key: "k", uploadId: "id", etags, headers: {}, signal: never });
    const { headers, body } = sent[0] as Sent;
    expect(
      [...body.matchAll(/<Part>(.*?)<\/Part>/g)].map(([, part]) => part?.match(/[^<>]+(?=<\/)/g)?.sort()),
    ).toEqual([
      ["&quot;a&amp;b&quot;", "1"],
      ["&quot;c&quot;", "2"],
    ]);
    expect(headers["x-amz-content-sha256"]).toBe(createHash("sha256").update(body).digest("hex"));
  });

  it.for<[string, ServiceOptions, string]>([
    ["with the bucket in the host name", { pathStyle: false }, "http://bucket.s3.test:1/k"],
    [
      "with a bucket that no host name can hold",
      { pathStyle: false, bucket: "a.b" },
      "http://s3.test:1/a.b/k",
    ],
    ["with the bucket in the path", { pathStyle: true }, "http://s3.test:1/bucket/k"],
    ["below a path", { endpoint: "http://s3.test:1/base/" }, "http://s3.test:1/base/bucket/k"],
    [
      "for a bucket that the SDK knows as S3 Express",
      { bucket: "a--use1-az4--x-s3" },
      "http://s3.test:1/a--use1-az4--x-s3/k",
    ],
  ])("goes where ours go: %s", async ([, options, url], { at }) => {
    const { bucket, sent } = at({ endpoint: "http://s3.test:1", ...options });
    await errorOf(bucket.head("k", never));
    for (const name of ["createUpload", "completeUpload", "abortUpload", "listParts"])
      await errorOf(run(name, bucket));
    expect(sent.map(({ url }) => url.split("?")[0])).toEqual(Array(5).fill(url));
  });

  it.for(EVERY)("is not signed where nothing is: %s", async (name, { s3, at }) => {
    const { bucket } = at({ anonymous: true, credentials: async () => undefined });
    answerWith(s3, (answer) => answer.end(ANSWERS[name]));
    await run(name, bucket);
    const { headers } = s3.requests[0] as (typeof s3.requests)[0];
    expect(Object.keys(headers).filter((header) => /^(authorization|x-amz-)/.test(header))).toEqual([]);
  });

  it("has the session token and the payer, both signed", async ({ s3, at }) => {
    const identity = { accessKeyId: "A", secretAccessKey: "S", sessionToken: "T" };
    const { bucket } = at({ requesterPays: true, credentials: async () => identity });
    await bucket.createUpload("k", {}, never);
    const { headers } = s3.requests[0] as (typeof s3.requests)[0];
    expect(headers).toMatchObject({ "x-amz-security-token": "T", "x-amz-request-payer": "requester" });
    expect(headers.authorization).toMatch(
      /Credential=A\/\d{8}\/us-east-1\/s3\/.*x-amz-request-payer;x-amz-security-token/,
    );
  });

  it("is sent once more with other credentials after the service refused them", async ({ s3, at }) => {
    const old = { accessKeyId: "OLD", secretAccessKey: "S" };
    const refused: (AwsIdentity | undefined)[] = [];
    const { bucket } = at({
      credentials: async (not) => {
        refused.push(not);
        return not ? { accessKeyId: "NEW", secretAccessKey: "S" } : old;
      },
    });
    s3.fault = ({ headers }, answer) => {
      const isOld = headers.authorization?.includes("OLD") === true;
      if (isOld) sendError(answer, 403, "ExpiredToken");
      return isOld;
    };
    expect(await bucket.createUpload("k", {}, never)).toBe("upload-1");
    expect(refused).toEqual([undefined, old]);
    expect(s3.requests).toHaveLength(2);
  });

  it("takes nothing from the environment and from the files of AWS", async ({ s3, at }) => {
    const settings = {
      AWS_ENDPOINT_URL: "http://127.0.0.1:1",
      AWS_ENDPOINT_URL_S3: "http://127.0.0.1:1",
      AWS_CONFIG_FILE: "/dev/full/none",
      AWS_SHARED_CREDENTIALS_FILE: "/dev/full/none",
      AWS_S3_USE_ARN_REGION: "garbage",
      AWS_S3_DISABLE_EXPRESS_SESSION_AUTH: "garbage",
      AWS_USE_FIPS_ENDPOINT: "garbage",
      AWS_USE_DUALSTACK_ENDPOINT: "garbage",
      AWS_MAX_ATTEMPTS: "garbage",
      AWS_RETRY_MODE: "garbage",
      AWS_REQUEST_CHECKSUM_CALCULATION: "garbage",
      AWS_RESPONSE_CHECKSUM_VALIDATION: "garbage",
      AWS_SIGV4A_SIGNING_REGION_SET: "garbage",
      AWS_LAMBDA_FUNCTION_NAME: "f",
      _X_AMZN_TRACE_ID: "trace",
    };
    for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
    onTestFinished(() => void vi.unstubAllEnvs());
    const { bucket, sent } = at();
    for (const name of EVERY) {
      answerWith(s3, (answer) => answer.end(ANSWERS[name]));
      await run(name, bucket);
    }
    expect(s3.requests).toHaveLength(EVERY.length);
    expect(
      sent.flatMap(({ headers }) => Object.keys(headers)).filter((name) => /trace|agent/.test(name)),
    ).toEqual([]);
  });

  it("is refused before it is sent if its key is over 1,024 bytes", async ({ s3, at }) => {
    const { bucket } = at();
    expect(await errorOf(bucket.createUpload("ü".repeat(513), {}, never))).toMatchObject({
      class: "path",
      permanent: true,
    });
    expect(s3.requests).toEqual([]);
  });
});

describe("an error answer to the SDK", () => {
  const errors: [number, string, Record<string, string>, string][] = [
    [400, "AuthorizationHeaderMalformed", {}, "<Region>eu-north-1</Region>"],
    [400, "BadDigest", {}, ""],
    [400, "InvalidPart", {}, ""],
    [400, "RequestTimeout", {}, ""],
    [400, "MalformedXML", {}, "<Message>m</Message>"],
    [301, "PermanentRedirect", { "x-amz-bucket-region": "eu-west-1", location: "http://127.0.0.1:1/" }, ""],
    [307, "TemporaryRedirect", { location: "http://127.0.0.1:1/" }, ""],
    [403, "AccessDenied", {}, ""],
    [403, "SignatureDoesNotMatch", {}, ""],
    [403, "RequestTimeTooSkewed", { date: "Thu, 01 Jan 2026 00:00:00 GMT" }, ""],
    [404, "NoSuchBucket", {}, ""],
    [404, "NoSuchUpload", {}, ""],
    [404, "NoSuchKey", {}, ""],
    [409, "OperationAborted", {}, ""],
    [429, "TooManyRequests", { "retry-after": "2" }, ""],
    [500, "InternalError", {}, ""],
    [501, "NotImplemented", {}, ""],
    [503, "SlowDown", { "retry-after": "3" }, ""],
    [507, "QuotaExceeded", {}, ""],
  ];
  it.for(errors)(
    "with %i %s is the same error as for a request of ours, and is not tried again",
    async ([status, code, headers, more], { s3, at }) => {
      answerWith(s3, (answer) => sendError(answer, status, code, headers, more));
      const { bucket, client } = at();
      const ours = await errorOf(client.get("bucket", "k", {}, {}, never));
      // Both may say by how many seconds the clocks differ.
      const message = (text: string) => text.replace(/\d+ s /, "");
      for (const name of ["createUpload", "listUploads"]) {
        s3.requests.length = 0;
        const error = await errorOf(run(name, bucket));
        expect({ ...error, message: message(error.message) }).toEqual({
          ...ours,
          message: message(ours.message),
        });
        expect(s3.requests).toHaveLength(1);
      }
    },
  );

  it("without a body is an error by its status", async ({ s3, at }) => {
    answerWith(s3, (answer) => answer.writeHead(502).end("<html>bad gateway"));
    const { bucket } = at();
    for (const name of EVERY)
      expect(await errorOf(run(name, bucket))).toMatchObject({
        class: "server",
        message: "server error (HTTP status 502)",
      });
  });

  it("names the missing upload", async ({ s3, at }) => {
    answerWith(s3, (answer) => sendError(answer, 404, "NoSuchUpload"));
    const { bucket } = at();
    expect((await errorOf(bucket.createUpload("k", {}, never))).message).toBe(
      "no such upload (NoSuchUpload, HTTP status 404)",
    );
  });

  it("means that the upload is gone, unless it is the bucket that is missing", async ({ s3, at }) => {
    const { bucket } = at();
    answerWith(s3, (answer) => sendError(answer, 404, "NoSuchUpload"));
    expect(await run("completeUpload", bucket)).toEqual({ is: "gone" });
    expect(await run("listParts", bucket)).toBeUndefined();
    expect(await run("abortUpload", bucket)).toBeUndefined();
    answerWith(s3, (answer) => sendError(answer, 404, "NoSuchBucket"));
    for (const name of ["completeUpload", "abortUpload", "listUploads"])
      expect(await errorOf(run(name, bucket))).toMatchObject({ class: "not-found", permanent: true });
  });

  it("with 412 means that the condition does not hold", async ({ s3, at }) => {
    const { bucket } = at();
    for (const body of ["", "<Error><Code>PreconditionFailed</Code></Error>", "<html>"]) {
      answerWith(s3, (answer) => answer.writeHead(412).end(body));
      expect(await run("completeUpload", bucket)).toEqual({ is: "refused" });
    }
  });

  it.for<[string, object]>([
    ["InternalError", { class: "server", permanent: false, verdict: "fail" }],
    ["SlowDown", { class: "throttled", throttled: true }],
    ["InvalidPart", { class: "changed", permanent: false }],
    [
      "NoSuchBucket",
      { class: "not-found", message: "no such bucket: bucket (NoSuchBucket, HTTP status 500)" },
    ],
  ])("may begin with 200: %s", async ([code, fields], { s3, at }) => {
    answerWith(s3, (answer) => sendError(answer, 200, code));
    const { bucket } = at();
    for (const name of ["completeUpload", "createUpload"])
      expect(await errorOf(run(name, bucket))).toMatchObject(fields);
    expect(s3.requests).toHaveLength(2);
  });

  it("may begin with 200 and say that the condition does not hold, or that the upload is gone", async ({
    s3,
    at,
  }) => {
    const { bucket } = at();
    answerWith(s3, (answer) => sendError(answer, 200, "PreconditionFailed"));
    expect(await run("completeUpload", bucket)).toEqual({ is: "refused" });
    answerWith(s3, (answer) => sendError(answer, 200, "NoSuchUpload"));
    expect(await run("completeUpload", bucket)).toEqual({ is: "gone" });
  });
});

describe("an answer that makes no sense", () => {
  const odd = { class: "protocol", permanent: false, verdict: "fail" };
  const message = expect.stringMatching(/^an answer of S3 cannot be understood: .*[^\n]$/);

  it.for(
    WITH_XML.flatMap((name) =>
      [
        "",
        "text",
        "<html><body>It works!</body></html>",
        "<ListBucketResult/>",
        `${ANSWERS[name]}${ANSWERS[name]}`,
        `${ANSWERS[name]}text`,
        ANSWERS[name]?.replace("<", "<!DOCTYPE a><") ?? "",
        ANSWERS[name]?.replace(/\/?>/, "><a>") ?? "",
        ANSWERS[name]?.replace(/(<\/\w+>|\/>)$/, "") ?? "",
        ANSWERS[name]?.replace(/^<(\w+)(\/?>)/, "<$1><a>&unknown;</a>$2") ?? "",
      ].map((body) => [name, body] as const),
    ),
  )("is an error: %s is answered with %j", async ([name, body], { s3, at }) => {
    answerWith(s3, (answer) => answer.end(body));
    expect(await errorOf(run(name, at().bucket))).toMatchObject({ ...odd, message });
  });

  it.for<[string, string]>([
    ["createUpload", "<InitiateMultipartUploadResult/>"],
    ["createUpload", "<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>"],
    ["listParts", "<ListPartsResult><IsTruncated>true</IsTruncated></ListPartsResult>"],
    [
      "listParts",
      "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>0</NextPartNumberMarker></ListPartsResult>",
    ],
    [
      "listParts",
      "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>x</NextPartNumberMarker></ListPartsResult>",
    ],
    [
      "listUploads",
      "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker></ListMultipartUploadsResult>",
    ],
  ])("is an error: %s is answered with %s", async ([name, body], { s3, at }) => {
    answerWith(s3, (answer) => answer.end(body));
    expect(await errorOf(run(name, at().bucket))).toMatchObject({ ...odd, message });
  });

  it("is an error where the pages of uploads go in a circle", async ({ s3, at }) => {
    const page =
      "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker></ListMultipartUploadsResult>";
    answerWith(s3, (answer) => answer.end(page));
    expect(await errorOf(run("listUploads", at().bucket))).toMatchObject({ ...odd, message });
    expect(s3.requests).toHaveLength(2);
  });

  it.for(WITH_XML)(
    "is an error if it is longer than 8 MiB, and the rest is not read: %s",
    async (name, { s3, at }) => {
      let closed = Promise.resolve();
      answerWith(s3, (answer) => {
        closed = new Promise((resolve) => answer.once("close", resolve));
        answer.write(`<${"a".repeat(9 << 20)}`);
      });
      const error = await errorOf(run(name, at().bucket));
      expect(error).toMatchObject({
        ...odd,
        message: "an answer of S3 cannot be understood: it is too long",
      });
      await closed;
    },
  );

  it.for(WITH_XML)("and does not end fails within the timeout: %s", async (name, { s3, at }) => {
    answerWith(s3, (answer) => answer.writeHead(200, { "content-length": 100 }).write("<"));
    const started = performance.now();
    expect(await errorOf(run(name, at().bucket))).toMatchObject({ class: "timeout", verdict: "fail" });
    expect(performance.now() - started).toBeLessThan(5 * TIMEOUT_MS);
  });
});

describe("a request of the SDK that gets no answer", () => {
  it.for(EVERY)("fails within the timeout: %s", async (name, { s3, at }) => {
    answerWith(s3, () => {});
    expect(await errorOf(run(name, at().bucket))).toMatchObject({ class: "timeout", verdict: "fail" });
    expect(s3.requests).toHaveLength(1);
  });

  it.for(EVERY)("fails if the connection breaks off: %s", async (name, { s3, at }) => {
    answerWith(s3, (answer) => answer.destroy());
    expect(await errorOf(run(name, at().bucket))).toMatchObject({ class: "connect", permanent: false });
    expect(s3.requests).toHaveLength(1);
  });

  it.for(EVERY)("is given up with the reason of its signal: %s", async (name, { s3, at }) => {
    const { bucket } = at();
    const abort = new AbortController();
    const reason = new TransferError("cancelled", "enough");
    answerWith(s3, () => abort.abort(reason));
    expect(await errorOf(run(name, bucket, "k", abort.signal))).toBe(reason);
    expect(await errorOf(run(name, bucket, "k", AbortSignal.abort(reason)))).toBe(reason);
    expect(s3.requests).toHaveLength(1);
  });

  it("holds no connection that others wait for", async ({ s3, at }) => {
    const { bucket } = at({ connections: 1 });
    answerWith(s3, (answer) => sendError(answer, 404, "NoSuchUpload"));
    for (let round = 0; round < 3; round++)
      for (const name of ["completeUpload", "abortUpload", "listParts"]) await run(name, bucket);
    s3.fault = () => false;
    expect(await bucket.head("k", never)).toBeUndefined();
    expect(s3.mostAtOnce).toBe(1);
  });
});

describe("an answer of a service that is not AWS", () => {
  it.for(
    WITH_XML.flatMap((name) =>
      [
        ANSWERS[name]?.replaceAll(/<(\/?)(\w)/g, "<$1s3:$2") ?? "",
        `\uFEFF<?xml version="1.0"?>${ANSWERS[name]}`,
      ].map((body) => [name, body] as const),
    ),
  )("is understood: %s is answered with %j", async ([name, body], { s3, at }) => {
    answerWith(s3, (answer) => answer.setHeader("x-amz-abort-date", "soon").end(body));
    await run(name, at().bucket);
  });

  it("may have dates in any form, or none", async ({ s3, at }) => {
    const upload = (id: string, date: string) =>
      `<Upload><Key>k</Key><UploadId>${id}</UploadId><Initiated>${date}</Initiated></Upload>`;
    answerWith(s3, (answer) =>
      answer.end(
        `<ListMultipartUploadsResult>${upload("a", "today")}${upload("b", "Fri, 02 Jan 2026 03:04:05 GMT")}</ListMultipartUploadsResult>`,
      ),
    );
    const startedMs = Date.UTC(2026, 0, 2, 3, 4, 5);
    expect(await at().bucket.listUploads("k", never)).toEqual([{ uploadId: "b", startedMs }]);
    const part = "<Part><PartNumber>1</PartNumber><LastModified/><ETag>e</ETag><Size>5</Size></Part>";
    answerWith(s3, (answer) => answer.end(`<ListPartsResult>${part}</ListPartsResult>`));
    expect(await at().bucket.listParts("k", "id", never)).toEqual(
      new Map([[1, { etag: '"e"', sizeBytes: 5 }]]),
    );
  });
});

describe("pages of a listing", () => {
  it("give all parts of an upload, with quoted ETags", async ({ s3, at }) => {
    const page = (part: number, more: boolean) =>
      `<ListPartsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>${more}</IsTruncated><NextPartNumberMarker>${part}</NextPartNumberMarker><Part><PartNumber>${part}</PartNumber><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>${part === 1 ? "&quot;e1&quot;" : "e2"}</ETag><Size>${part * 5}</Size></Part></ListPartsResult>`;
    s3.fault = ({ query }, answer) => {
      answer.end(
        page(query.get("part-number-marker") === "0" ? 1 : 2, query.get("part-number-marker") === "0"),
      );
      return true;
    };
    expect(await at().bucket.listParts("k", "id", never)).toEqual(
      new Map([
        [1, { etag: '"e1"', sizeBytes: 5 }],
        [2, { etag: '"e2"', sizeBytes: 10 }],
      ]),
    );
    expect(s3.requests.map(({ query }) => query.get("part-number-marker"))).toEqual(["0", "1"]);
  });

  it("give the uploads of exactly this key", async ({ s3, at }) => {
    const upload = (key: string, id: string) =>
      `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>`;
    const pages: Record<string, string> = {
      "": `<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>a&amp;</NextUploadIdMarker>${upload("k", "a&amp;")}`,
      "a&": `<IsTruncated>true</IsTruncated><NextKeyMarker>kk</NextKeyMarker><NextUploadIdMarker>c</NextUploadIdMarker>${upload("k", "b")}${upload("kk", "c")}<Upload><Key>k</Key></Upload>`,
    };
    s3.fault = ({ query }, answer) => {
      const page = pages[query.get("upload-id-marker") ?? ""];
      answer.end(`<ListMultipartUploadsResult>${page}</ListMultipartUploadsResult>`);
      return true;
    };
    const startedMs = Date.parse("2026-01-02T03:04:05.000Z");
    expect(await at().bucket.listUploads("k", never)).toEqual([
      { uploadId: "a&", startedMs },
      { uploadId: "b", startedMs },
    ]);
    expect(s3.requests).toHaveLength(2);
    expect(s3.requests[1]?.query.get("key-marker")).toBe("k");
  });

  it.for([["a", "b"], ["a"], ["a", "b", "c"]])(
    "of uploads are refused where they go in a circle: %s",
    async (markers, { s3, at }) => {
      s3.fault = ({ query }, answer) => {
        const at = markers.indexOf(query.get("upload-id-marker") ?? "");
        const next = markers[(at + 1) % markers.length];
        const more = `<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>`;
        answer.end(
          `<ListMultipartUploadsResult>${more}<NextUploadIdMarker>${next}</NextUploadIdMarker></ListMultipartUploadsResult>`,
        );
        return true;
      };
      expect(await errorOf(at().bucket.listUploads("k", never))).toMatchObject({
        message: expect.stringContaining("do not go on"),
      });
    },
  );

  it.for<[string, string]>([
    ["a//b", "a//b"],
    [" x ", " x "],
    ["ü", "&#xFC;"],
    ["🐑", "🐑"],
    ["🐑", "&#x1F411;"],
    ["🐑", "&#128017;"],
    ["<&>", "&#00060;&amp;&gt;"],
    ["<&>", "<![CDATA[<&>]]>"],
    ["a\nb", "a&#10;b"],
    ["a\rb", "a&#13;b"],
    ["%2B", "%2B"],
  ])("have the key %j where it is written as %s", async ([key, xml], { s3, at }) => {
    answerWith(s3, (answer) =>
      answer.end(
        `<ListMultipartUploadsResult><Upload><Key>${xml}</Key><UploadId>id</UploadId><Initiated>2026-01-02T03:04:05Z</Initiated></Upload></ListMultipartUploadsResult>`,
      ),
    );
    expect(await at().bucket.listUploads(key, never)).toHaveLength(1);
  });
});

describe("the end of an upload", () => {
  it("has the headers of the answer, and an ETag in quotes or none", async ({ s3, at }) => {
    for (const [xml, etag] of [
      ["<ETag>e-1</ETag>", '"e-1"'],
      ["<ETag>&quot;e-1&quot;</ETag>", '"e-1"'],
      ["", ""],
    ]) {
      answerWith(s3, (answer) =>
        answer
          .writeHead(200, { "x-amz-version-id": "v1" })
          .end(`<CompleteMultipartUploadResult>${xml}</CompleteMultipartUploadResult>`),
      );
      expect(await run("completeUpload", at().bucket)).toEqual({
        is: "written",
        etag,
        headers: expect.objectContaining({ "x-amz-version-id": "v1" }),
      });
    }
  });

  it("may come late: blanks keep the connection alive until then", async ({ s3, at }) => {
    answerWith(s3, (answer) => {
      answer.write('<?xml version="1.0" encoding="UTF-8"?>\n');
      let blanks = 0;
      const timer = setInterval(() => {
        if (++blanks < 5) return void answer.write(" ");
        clearInterval(timer);
        answer.end(ANSWERS.completeUpload);
      }, TIMEOUT_MS / 4);
    });
    expect(await run("completeUpload", at().bucket)).toMatchObject({ is: "written" });
  });
});

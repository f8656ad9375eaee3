import { hash } from "node:crypto";
import { HttpClient } from "@drover/shared/storage/http/client";
import { objectsOf, parsePage } from "@drover/shared/storage/s3/listing/page";
import { parseS3, s3Text } from "@drover/shared/storage/s3/object/name";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import { encodeKey, encodeQuery, Signer } from "@drover/shared/storage/s3/service/sigv4";
import { parseXml } from "@drover/shared/storage/s3/service/xml";
import { S3Source, s3Version } from "@drover/shared/storage/s3/source";
import { test as base, describe, expect, test } from "vitest";
import { FakeS3, sendError } from "../../harness/fake-s3.js";

describe("a signature", () => {
  // The examples of "Signature Calculations for the Authorization Header" in AWS's S3 reference.
  const identity = {
    accessKeyId: "AKIAIOSFODNN7EXAMPLE",
    secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  };
  const when = new Date("2013-05-24T00:00:00Z");
  interface Example {
    method: string;
    path: string;
    query?: Record<string, string>;
    headers?: Record<string, string>;
    bodyHash?: string;
    signature: string;
  }
  test.for<[string, Example]>([
    [
      "GET of a range of an object",
      {
        method: "GET",
        path: "/test.txt",
        headers: { range: "bytes=0-9" },
        signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
      },
    ],
    [
      "PUT of an object",
      {
        method: "PUT",
        path: `/${encodeKey("test$file.text")}`,
        headers: { date: "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY" },
        bodyHash: hash("sha256", "Welcome to Amazon S3.", "hex"),
        signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
      },
    ],
    [
      "GET of a sub-resource",
      {
        method: "GET",
        path: "/",
        query: { lifecycle: "" },
        signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
      },
    ],
    [
      "GET of a listing",
      {
        method: "GET",
        path: "/",
        query: { prefix: "J", "max-keys": "2" },
        signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
      },
    ],
  ])("of a %s is the one that AWS publishes", ([, { query = {}, headers = {}, signature, ...request }]) => {
    const all = { host: "examplebucket.s3.amazonaws.com", ...headers };
    const signed = new Signer("us-east-1").sign(
      identity,
      { ...request, query: encodeQuery(query), headers: all },
      when,
    );
    expect(signed.authorization).toMatch(new RegExp(`Signature=${signature}$`));
  });

  test("covers header values as the service sees them: blanks reduced, byte by byte", () => {
    const sign = (value: string) => {
      const headers = { host: "h", "x-amz-meta-a": value };
      const request = { method: "PUT", path: "/", query: "", headers, bodyHash: "" };
      return new Signer("us-east-1").sign(identity, request, when).authorization;
    };
    expect(sign(" a   b ")).toBe(sign("a b"));
    // As Ceph has it, which was asked: "ü" in UTF-8, as HTTP gives it back.
    expect(sign("\u00c3\u00bc")).toMatch(
      /Signature=949d5568898e2e8f855a406ebfbd3823378081ff52456ec2f726db84220f79f8$/,
    );
  });

  test("changes with the day and the secret key, although the signing key is cached", () => {
    const signer = new Signer("us-east-1");
    const sign = (own: typeof identity, date: string) =>
      signer.sign(own, { method: "GET", path: "/", query: "", headers: { host: "h" } }, new Date(date))
        .authorization;
    const first = sign(identity, "2013-05-24T00:00:00Z");
    expect(sign(identity, "2013-05-25T00:00:00Z")).not.toBe(first);
    expect(sign({ ...identity, secretAccessKey: "other" }, "2013-05-24T00:00:00Z")).not.toBe(first);
    expect(sign(identity, "2013-05-24T00:00:00Z")).toBe(first);
  });
});

describe("an s3:// name", () => {
  test.for<[string, string, string]>([
    ["s3://bucket/a/b.csv", "bucket", "a/b.csv"],
    ["S3://bucket", "bucket", ""],
    ["s3://bucket/a b+c?d#e", "bucket", "a b+c?d#e"],
    ["s3://bucket/100%25", "bucket", "100%"],
    ["s3://bucket/100%", "bucket", "100%"],
    ["s3://bucket/%c3%bc%0a", "bucket", "ü\n"],
    ["s3://bucket//x/../y", "bucket", "/x/../y"],
  ])("%s is parsed into bucket and key", ([text, bucket, key]) => {
    expect(parseS3(text)).toEqual({ bucket, key });
    expect(parseS3(s3Text({ bucket, key }))).toEqual({ bucket, key });
  });
});

describe("XML", () => {
  test("is parsed with entities, without namespaces and comments", () => {
    const root = parseXml(
      '<?xml version="1.0"?>\n<a xmlns="x"><!-- no --><n:b c="d">1 &amp; &#x41;&#66;</n:b><e/><![CDATA[<&]]></a>\n',
    );
    expect(root).toMatchObject({
      name: "a",
      text: "<&",
      children: [{ name: "b", text: "1 & AB" }, { name: "e" }],
    });
  });
  test.for([
    "",
    "text",
    "<a>",
    "<a></b>",
    "<a/><b/>",
    "<a>&x;</a>",
    "<a>&</a>",
    "<!DOCTYPE a [<!ENTITY x 'y'>]><a/>",
    "<a",
    "<a></a>x",
  ])("%j is refused", (xml) => expect(() => parseXml(xml)).toThrow());
  test("other than a listing is refused as a page", () => {
    expect(() => parsePage(Buffer.from("<Error><Code>X</Code></Error>"))).toThrow(/instead of a listing/);
    expect(() => parsePage(Buffer.from("<html></html>"))).toThrow();
  });
});

const it = base.extend<{ s3: FakeS3; open: (key: string, known?: string) => ReturnType<S3Source["open"]> }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    const s3 = await FakeS3.start();
    await use(s3);
    await s3.stop();
  },
  open: async ({ s3 }, use) => {
    const http = new HttpClient({ timeoutMs: 5_000, connections: 8 });
    const spec = {
      endpoint: s3.endpoint,
      region: "us-east-1",
      pathStyle: true,
      anonymous: false,
      requesterPays: true,
    };
    const client = new S3Client(http, spec, async () => ({
      accessKeyId: "A",
      secretAccessKey: "S",
      sessionToken: "T",
    }));
    await use(async (key, known = "") => {
      const opened = await new S3Source(client, { bucket: "bucket", key }).open(
        known,
        new AbortController().signal,
      );
      if (opened.is === "body") while (await opened.body.read());
      return opened;
    });
    await http.close();
  },
});

describe("an object", () => {
  const md5 = "9a0364b9e99bb480dd25e1f0284c8555"; // of "content"
  const etag = { by: "etag", algorithm: "md5" };
  it.for<[string, Record<string, string>, object | undefined]>([
    ["its ETag", {}, etag],
    ["its ETag under SSE-S3", { "x-amz-server-side-encryption": "AES256" }, etag],
    ["nothing for an ETag of parts", { etag: `"${md5}-2"` }, undefined],
    ["nothing for an ETag that is no MD5", { etag: '"abc"' }, undefined],
    ["nothing under SSE-KMS", { "x-amz-server-side-encryption": "aws:kms" }, undefined],
    ["nothing under DSSE-KMS", { "x-amz-server-side-encryption": "aws:kms:dsse" }, undefined],
    ["nothing under SSE-C", { "x-amz-server-side-encryption-customer-algorithm": "AES256" }, undefined],
    [
      "its SHA-256",
      { "x-amz-checksum-sha256": "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M=" },
      { by: "x-amz-checksum", algorithm: "sha256" },
    ],
    [
      "its ETag for a checksum of checksums",
      { "x-amz-checksum-sha256": "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M=-2" },
      etag,
    ],
    [
      "its ETag for a composite checksum",
      { "x-amz-checksum-type": "COMPOSITE", "x-amz-checksum-sha1": "2jmj7l5rSw0yVb/vlWAYkK/YBwk=" },
      etag,
    ],
    [
      "its ETag rather than a CRC",
      { "x-amz-checksum-crc64nvme": "rosUhgp5mIg=", "x-amz-checksum-type": "FULL_OBJECT" },
      etag,
    ],
    [
      "a note of its uploader rather than a CRC",
      {
        etag: '"abc-2"',
        "x-amz-checksum-crc64nvme": "rosUhgp5mIg=",
        "x-amz-meta-drover-sha256": "f".repeat(64),
      },
      { by: "x-amz-meta", algorithm: "sha256" },
    ],
    ["nothing for a CRC of CRCs", { etag: '"abc-2"', "x-amz-checksum-crc32": "y/Q5Jg==-2" }, undefined],
  ])("is verified by %s", async ([, headers, digest], { s3, open }) => {
    s3.put("k", "content", headers);
    const { entry } = await open("k");
    if (digest) expect(entry.digest).toMatchObject(digest);
    else expect(entry.digest).toBeUndefined();
  });

  it("takes one signed request with the payer, and is never decoded", async ({ s3, open }) => {
    s3.put("k/ü +%?#", "content", { "content-encoding": "gzip" });
    const { entry } = await open("k/ü +%?#");
    expect(entry.encoding).toBe("");
    expect(s3.requests).toHaveLength(1);
    const { key, headers } = s3.requests[0] as (typeof s3.requests)[0];
    expect(key).toBe("k/ü +%?#");
    expect(headers).toMatchObject({
      "x-amz-request-payer": "requester",
      "x-amz-security-token": "T",
      "accept-encoding": "identity",
    });
    expect(headers.authorization).toMatch(/SignedHeaders=host;.*x-amz-request-payer;x-amz-security-token/);
  });

  it("has the same version in a listing and in a GET", async ({ s3, open }) => {
    const modified = new Date("2026-01-02T03:04:05.678Z");
    s3.put("k", "content", {}, modified);
    const [listed] = objectsOf(parsePage(Buffer.from(s3.page(new URLSearchParams()))), 1);
    const { entry } = await open("k");
    expect(entry.version).toBe(s3Version(listed?.etag ?? "", listed?.sizeBytes ?? 0, listed?.mtimeMs ?? 0));
    expect((await open("k", entry.version)).is).toBe("unchanged");
    // Written again with the same bytes: asked about once, and then known by its new time.
    s3.put("k", "content", {}, new Date("2026-02-02"));
    const touched = await open("k", entry.version);
    expect(touched.is).toBe("unchanged");
    expect(touched.entry.version).not.toBe(entry.version);
  });

  it.for<[number, string, Record<string, string>, string, object, RegExp]>([
    [404, "NoSuchKey", {}, "", { class: "not-found", permanent: true }, /no such object/],
    [404, "NoSuchBucket", {}, "", { class: "not-found", permanent: true }, /no such bucket: bucket/],
    [403, "AccessDenied", {}, "", { class: "forbidden", permanent: true }, /access denied/],
    [
      403,
      "AccessDenied",
      { "x-amz-request-id": "TX0A-1/b=" },
      "",
      { class: "forbidden" },
      /^access denied \(AccessDenied, HTTP status 403, request TX0A-1\/b=\)$/,
    ],
    [
      500,
      "InternalError",
      { "x-amz-request-id": "a b" },
      "",
      { class: "server" },
      /InternalError, HTTP status 500\)$/,
    ],
    [403, "SignatureDoesNotMatch", {}, "", { class: "credentials", permanent: true }, /not accepted/],
    [
      403,
      "RequestTimeTooSkewed",
      { date: "Thu, 01 Jan 2026 00:00:00 GMT" },
      "",
      { class: "credentials", permanent: true },
      /clock is \d+ s ahead/,
    ],
    [403, "InvalidObjectState", {}, "", { class: "forbidden", permanent: true }, /archived.*restore/],
    [
      503,
      "SlowDown",
      { "retry-after": "3" },
      "",
      { class: "throttled", permanent: false, throttled: true, verdict: "fail", retryAfterMs: 3000 },
      /too many/,
    ],
    [
      503,
      "ServiceUnavailable",
      {},
      "",
      { class: "server", permanent: false, throttled: true, verdict: "fail" },
      /ServiceUnavailable/,
    ],
    [500, "InternalError", {}, "", { class: "server", permanent: false, verdict: "fail" }, /InternalError/],
    [400, "RequestTimeout", {}, "", { class: "server", permanent: false }, /try again/],
    [
      301,
      "PermanentRedirect",
      { "x-amz-bucket-region": "eu-west-1", location: "http://127.0.0.1:1/" },
      "",
      { class: "redirect", permanent: true },
      /--s3-region eu-west-1$/,
    ],
    [
      400,
      "AuthorizationHeaderMalformed",
      {},
      "<Region>eu-north-1</Region>",
      { class: "redirect", permanent: true },
      /--s3-region eu-north-1$/,
    ],
    [
      307,
      "TemporaryRedirect",
      { location: "http://127.0.0.1:1/" },
      "",
      { class: "redirect", permanent: true },
      /check --s3-region/,
    ],
  ])(
    "fails with a clear error for %i %s",
    async ([status, code, headers, more, fields, message], { s3, open }) => {
      s3.fault = (_request, answer) => {
        sendError(answer, status, code, headers, more);
        return true;
      };
      const error = await open("k").then(
        () => undefined,
        (thrown: Error) => thrown,
      );
      expect(error).toMatchObject(fields);
      expect(error?.message).toMatch(message);
      expect(s3.requests).toHaveLength(1);
    },
  );
});

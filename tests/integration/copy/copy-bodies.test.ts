import { gzipSync } from "node:zlib";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hashOf, pattern, sha256, sha256OfFile, toBuffer } from "../../harness/content.js";
import { it } from "../helpers/file-worker.js";
import { OLD, settledError, withOld } from "../helpers/http.js";

describe("a copied file", () => {
  const BODY = "the body";
  it.for<[string, does.Headers | undefined, boolean, string]>([
    ["the checksum given", undefined, true, "sha256"],
    ["Repr-Digest", does.digests.repr(BODY), false, "repr-digest"],
    ["Content-Digest", does.digests.content(BODY), false, "content-digest"],
    ["Digest", does.digests.old(BODY), false, "digest"],
    ["Content-MD5", does.digests.md5(BODY), false, "content-md5"],
    ["the checksum given, above the server's", does.digests.md5(BODY), true, "sha256"],
  ])("is verified by %s", async ([, headers, given, by], { fileWorker, origin }) => {
    const url = origin.route("/file", does.file(BODY, headers ? { headers } : {}));
    const outcome = await fileWorker.through("file", url, given ? { sha256: sha256(BODY) } : {});
    expect(outcome).toMatchObject({ outcome: "copied", verifiedBy: by });
  });

  it.for<[string, does.Headers | undefined, boolean]>([
    ["the checksum given", undefined, true],
    ["Repr-Digest", does.digests.repr("other"), false],
    ["Content-Digest", does.digests.content("other"), false],
    ["Digest", does.digests.old("other"), false],
    ["Content-MD5", does.digests.md5("other"), false],
    ["Content-MD5, although the checksum given is right", does.digests.md5("other"), false],
  ])(
    "is retried once, then failed, and the old file stays, if it does not match %s",
    async ([, headers, given], { fileWorker, origin, space }) => {
      withOld(space);
      const url = origin.route("/file", does.file(BODY, headers ? { headers } : {}));
      const error = await settledError(fileWorker, "file", url, given ? sha256("other") : undefined);
      expect(error).toMatchObject({ class: "checksum", attempts: 2 });
      expect(origin.requests).toHaveLength(2);
      expect(space.read("file")).toBe(OLD);
      expect(space.files()).toEqual(["file"]);
    },
  );

  it("counts the checksum mismatch of another worker's attempt", async ({ fileWorker, origin }) => {
    const url = origin.route("/file", does.file(BODY));
    expect(await fileWorker.once("file", url, { sha256: sha256("other"), attempt: 1 })).toMatchObject({
      is: "retry",
    });
    const other = await fileWorker.other();
    const result = await other.once("file", url, { sha256: sha256("other"), attempt: 1 });
    expect(result).toMatchObject({
      is: "settled",
      outcome: { outcome: "failed", error: { class: "checksum" } },
    });
  });

  it("that is large is hashed behind its writer, which finds a wrong digest", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const content = pattern(9 << 20);
    const headers = { "content-md5": hashOf("md5", "other").toString("base64") };
    const url = origin.route("/file", does.file(content, { headers }), does.file(content));
    const outcome = await fileWorker.through("file", url);
    expect(outcome).toMatchObject({ outcome: "copied", attempts: 2 });
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(content));
  });

  it("is reported as unverified if only the end of the connection marks its end", async ({
    fileWorker,
    origin,
  }) => {
    const url = origin.route("/file", does.closeDelimited("text"));
    expect(await fileWorker.through("file", url)).toMatchObject({
      outcome: "copied",
      verifiedBy: "unverified",
    });
    const known = await fileWorker.through("given", url, { sha256: sha256("text") });
    expect(known).toMatchObject({ outcome: "copied", verifiedBy: "sha256" });
  });
});

describe("an incomplete body", () => {
  it.for<[string, does.Headers | "chunked", number]>([
    ["closed early, small", {}, 1_000],
    ["closed early, large", {}, 3 << 20],
    ["chunked, cut before its last chunk", "chunked", 1_000],
    ["chunked, cut before its last chunk, large", "chunked", 3 << 20],
  ])(
    "leaves the old file in place until an attempt completes (%s)",
    async ([, kind, size], { fileWorker, origin, space }) => {
      withOld(space);
      const content = pattern(size);
      const bad =
        kind === "chunked"
          ? does.chunkedCut(content)
          : does.cutAt(content, size - 7, "close", { etag: null });
      const url = origin.route("/file", bad, bad, does.file(content, { etag: null }));
      for (const attempt of [1, 2]) {
        const result = await fileWorker.once("file", url, { attempt });
        expect(result).toMatchObject({ is: "retry", error: { permanent: false, verdict: "fail" } });
        expect(space.read("file")).toBe(OLD);
        expect(space.staged()).toEqual([]);
      }
      expect(await fileWorker.through("file", url)).toMatchObject({ outcome: "copied", bytes: size });
      expect(await sha256OfFile(space.to("file"))).toBe(sha256(content));
    },
  );

  it("fails the file once its attempts are used up", async ({ make, origin, space }) => {
    const fileWorker = await make({ retries: 3 });
    const url = origin.route("/file", does.cutAt("text", 2, "reset"));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ attempts: 3 });
    expect(space.files()).toEqual([]);
    expect(await fileWorker.counts()).toMatchObject({ settled: 1, failed: 1 });
  });
});

/** The body in one chunk of chunked encoding. */
function chunkOf(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from("\r\n0\r\n\r\n")]);
}

describe("a digest in the trailers", () => {
  for (const size of [1_000, 3 << 20]) {
    const content = pattern(size);
    const behind = (digest: does.Headers) => {
      const [[name, value] = ["", ""]] = Object.entries(digest);
      const head = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: ${name}\r\n\r\n`;
      const body = chunkOf(toBuffer(content));
      const trailer = Buffer.from(`${name}: ${value}\r\n\r\n`);
      return Buffer.concat([Buffer.from(head), body.subarray(0, -2), trailer]);
    };

    it(`verifies a body of ${size} bytes`, async ({ fileWorker, origin }) => {
      const url = origin.route("/file", does.garbage(behind(does.digests.repr(content))));
      expect(await fileWorker.through("file", url)).toMatchObject({
        outcome: "copied",
        checksum: sha256(content),
        verifiedBy: "repr-digest",
      });
    });

    it(`reveals a wrong body of ${size} bytes`, async ({ fileWorker, origin, space }) => {
      const url = origin.route("/file", does.garbage(behind(does.digests.old("others"))));
      expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "checksum" });
      expect(space.files()).toEqual([]);
    });
  }
});

describe("a body that is encoded although that was not requested", () => {
  const TEXT = "some text, again and again. ".repeat(4_000);
  it.for(["gzip", "br", "deflate"] as const)(
    "with %s is decoded",
    async (encoding, { fileWorker, origin, space }) => {
      const url = origin.route("/file", does.encoded(TEXT, encoding));
      const outcome = await fileWorker.through("file.csv", url);
      expect(outcome).toMatchObject({ outcome: "copied", bytes: TEXT.length, checksum: sha256(TEXT) });
      expect(space.read("file.csv")).toBe(TEXT);
      expect(origin.requests[0]?.headers["accept-encoding"]).toBe("identity");
    },
  );

  it("with gzip is kept as it is if the file's name says gzip", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.encoded(TEXT, "gzip"));
    const outcome = await fileWorker.through("file.csv.gz", url);
    expect(outcome.bytes).toBeLessThan(TEXT.length);
    expect(space.read("file.csv.gz")?.slice(1, 3)).not.toBe("so");
  });

  it("that is cut short is never published", async ({ fileWorker, origin, space }) => {
    const wire = does.encoded(TEXT, "gzip", { "content-length": "100000" });
    const url = origin.route("/file", (exchange) => {
      void wire(exchange);
      exchange.request.socket.destroySoon();
    });
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    expect(space.files()).toEqual([]);
  });

  it("that decodes to more bytes than allowed is aborted", async ({ make, origin, space }) => {
    const fileWorker = await make({ maxFileSizeBytes: 50_000 });
    const url = origin.route("/file", does.encoded(TEXT, "gzip"));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "too-large", attempts: 1 });
    expect(space.files()).toEqual([]);
  });

  it("with an unknown encoding is refused", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.file("text", { headers: { "content-encoding": "x-rot13" } }));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "encoding", attempts: 1 });
    expect(space.files()).toEqual([]);
  });

  it.for([
    ["for the way, in chunks", "gzip, chunked", (body: Buffer) => chunkOf(body)],
    ["for the way, to the end of the connection", "gzip", (body: Buffer) => body],
  ] as const)(
    "encoded %s is refused, as its bytes are not the file's",
    async ([, coding, framed], { fileWorker, origin, space }) => {
      const head = `HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n`;
      const answer = Buffer.concat([Buffer.from(head), framed(gzipSync(TEXT))]);
      const url = origin.route("/file", does.garbage(answer));
      expect(await settledError(fileWorker, "file", url)).toMatchObject({
        class: "encoding",
        attempts: 1,
        message: `unsupported Transfer-Encoding ${coding}`,
      });
      expect(space.files()).toEqual([]);
    },
  );

  it("that is not gzip after all is refused", async ({ make, origin, space }) => {
    const fileWorker = await make({ retries: 2 });
    const url = origin.route("/file", does.file("no gzip", { headers: { "content-encoding": "gzip" } }));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "encoding" });
    expect(space.files()).toEqual([]);
  });

  it("is compared with a digest of the encoded bytes", async ({ fileWorker, origin, space }) => {
    const wire = gzipSync(TEXT);
    const url = origin.route("/file", does.encoded(TEXT, "gzip", does.digests.repr("other")));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "checksum" });
    origin.route(
      "/file",
      does.file(wire, { headers: { "content-encoding": "gzip", ...does.digests.md5(wire) } }),
    );
    expect(await fileWorker.through("another", url)).toMatchObject({
      outcome: "copied",
      checksum: sha256(TEXT),
      verifiedBy: "content-md5",
    });
    expect(space.read("another")).toBe(TEXT);
  });

  it("is found unchanged by the next sync", async ({ fileWorker, make, origin }) => {
    const url = origin.route("/file", does.encoded(TEXT, "br"));
    await fileWorker.through("file", url);
    expect((await (await make()).through("file", url)).outcome).toBe("unchanged");
  });
});

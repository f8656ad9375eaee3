import { mkdtempSync, rmSync } from "node:fs";
import { request as plainRequest } from "node:http";
import { request as tlsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import * as does from "./behaviours.js";
import { selfSigned } from "./certificate.js";
import { pattern, sha256, toBuffer } from "./content.js";
import { FaultOrigin, RawOrigin, refusedUrl } from "./fault-origin.js";
import { Gate } from "./gate.js";

let origin: FaultOrigin;

beforeEach(async () => {
  origin = await FaultOrigin.start();
});

afterEach(async () => {
  await origin.stop();
});

describe("a good file", () => {
  const etag = does.etagOf("hello world");
  const cases: { name: string; headers: Record<string, string>; status: number; body?: string }[] = [
    { name: "plain", headers: {}, status: 200, body: "hello world" },
    { name: "range", headers: { range: "bytes=2-4" }, status: 206, body: "llo" },
    { name: "open range", headers: { range: "bytes=6-" }, status: 206, body: "world" },
    { name: "suffix range", headers: { range: "bytes=-5" }, status: 206, body: "world" },
    { name: "range past the end", headers: { range: "bytes=11-" }, status: 416 },
    {
      name: "If-Range that holds",
      headers: { range: "bytes=6-", "if-range": etag },
      status: 206,
      body: "world",
    },
    {
      name: "If-Range that does not",
      headers: { range: "bytes=6-", "if-range": '"x"' },
      status: 200,
      body: "hello world",
    },
    { name: "If-Match that holds", headers: { "if-match": etag }, status: 200 },
    { name: "If-Match that does not", headers: { "if-match": '"x"' }, status: 412 },
    { name: "If-None-Match that is known", headers: { "if-none-match": etag }, status: 304 },
    { name: "If-None-Match that is not", headers: { "if-none-match": '"x"' }, status: 200 },
    {
      name: "If-Modified-Since later",
      headers: { "if-modified-since": new Date(1_800_000_000_000).toUTCString() },
      status: 304,
    },
  ];
  it.each(cases)("$name: $status", async ({ headers, status, body }) => {
    const response = await fetch(origin.route("/a.txt", does.file("hello world")), { headers });
    const text = await response.text();
    expect(response.status).toBe(status);
    if (body !== undefined) expect(text).toBe(body);
    expect(origin.requestsTo("/a.txt")).toHaveLength(1);
  });
});

describe("bad ones", () => {
  it("answers in turn, and the last behaviour from then on", async () => {
    const url = origin.route("/x", ...does.times(2, does.status(503)), does.file("ok"));
    const seen: number[] = [];
    for (let i = 0; i < 4; i++) seen.push((await fetch(url)).status);
    expect(seen).toEqual([503, 503, 200, 200]);
  });

  it.each([
    ["a short body", does.cutAt("0123456789", 4, "close")],
    ["a reset body", does.cutAt("0123456789", 4, "reset")],
    ["a body cut before its last chunk", does.chunkedCut("0123456789")],
    ["a reset", does.reset],
    ["garbage", does.garbage("220 ftp.example ready\r\n")],
    ["a TLS hello", does.garbage(does.TLS_HELLO)],
  ])("%s is an error to a client", async (_name, behaviour) => {
    const url = origin.route("/x", behaviour);
    await expect(fetch(url).then((response) => response.text())).rejects.toThrow();
  });

  it("ends a close-delimited body by closing", async () => {
    const response = await fetch(origin.route("/x", does.closeDelimited("all of it", { "x-a": "b" })));
    expect(response.headers.get("content-length")).toBeNull();
    expect(response.headers.get("x-a")).toBe("b");
    expect(await response.text()).toBe("all of it");
  });

  it("waits at a gate", async () => {
    const gate = new Gate();
    const text = fetch(origin.route("/x", does.pausedAt("0123456789", 5, gate))).then((r) => r.text());
    await gate.reached;
    gate.open();
    expect(await text).toBe("0123456789");
  });

  it.each(["gzip", "br", "deflate"] as const)("encodes with %s", async (encoding) => {
    const response = await fetch(origin.route("/x", does.encoded("squeezed", encoding)));
    expect(response.headers.get("content-encoding")).toBe(encoding);
    expect(await response.text()).toBe("squeezed");
  });

  it("moves a range and admits it", async () => {
    const url = origin.route("/x", does.wrongContentRange("0123456789abcdefghij"));
    const response = await fetch(url, { headers: { range: "bytes=10-" } });
    expect(response.headers.get("content-range")).toBe("bytes 3-19/20");
    expect(await response.text()).toBe("3456789abcdefghij");
  });

  it("finds names that are percent-encoded on the wire", async () => {
    expect(await (await fetch(origin.route("/Größe 100%.txt", does.file("ü")))).text()).toBe("ü");
  });

  it("refuses connections where nobody listens", async () => {
    await expect(fetch(await refusedUrl())).rejects.toThrow();
  });

  it("hangs up at once", async () => {
    const raw = await RawOrigin.start((socket) => socket.destroy());
    await expect(fetch(raw.url())).rejects.toThrow();
    expect(raw.connections).toBeGreaterThan(0);
    await raw.stop();
  });
});

describe("content made on the way", () => {
  it("is the same from wherever it is read", () => {
    const content = pattern(3_000_000, 7);
    const whole = toBuffer(content);
    const part = Buffer.concat([...content.slices(1_048_000, 2_500_001)]);
    expect(part.equals(whole.subarray(1_048_000, 2_500_001))).toBe(true);
    expect(sha256(content)).toBe(sha256(whole));
    expect(sha256(pattern(3_000_000, 8))).not.toBe(sha256(content));
  });

  it("arrives whole", async () => {
    const content = pattern(10_000_000);
    const got = Buffer.from(await (await fetch(origin.route("/big", does.file(content)))).arrayBuffer());
    expect(sha256(got)).toBe(sha256(content));
  });
});

it("speaks TLS with a certificate that nobody knows", async () => {
  const directory = mkdtempSync(join(tmpdir(), "cert-"));
  const certificate = await selfSigned(directory);
  const tls = await FaultOrigin.start(certificate);
  const url = tls.route("/a", does.file("secret"));
  const get = (ca?: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      const request = url.startsWith("https") ? tlsRequest : plainRequest;
      const options = ca === undefined ? {} : { ca };
      request(url, options, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on("error", reject)
        .end();
    });
  await expect(get()).rejects.toThrow(/self-signed/);
  expect(await get(certificate.cert)).toBe(200);
  await tls.stop();
  rmSync(directory, { recursive: true });
});

import { existsSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile, toBuffer } from "../../harness/content.js";
import { filesBelow } from "../../harness/drover.js";
import { type Behaviour, RawOrigin } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";

const quick = ["--backoff-factor", "1"];
const once = ["--retries", "1"];

describe("a file that changes while it is fetched is never mixed", () => {
  const old = pattern(4_000_000, 1);
  const young = pattern(4_000_000, 2);

  it("when a download is cut and resumed", async ({ box, origin, work }) => {
    const url = origin.route("/a.bin", does.cutAt(old, 3_000_000, "close"), does.file(young));
    const { items, code } = await box.sync([url, ...work.into, ...quick]);
    expect(code).toBe(0);
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256(young) });
    expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(young));
  });

  it("when a download is cut and resumed on a server with ranges but without conditions", async ({
    box,
    origin,
    work,
  }) => {
    const careless: Behaviour = (exchange) => {
      for (const name of ["if-range", "if-match", "if-unmodified-since"])
        delete exchange.request.headers[name];
      return does.file(young)(exchange);
    };
    const url = origin.route("/a.bin", does.cutAt(old, 3_000_000, "close"), careless);
    const { items, code } = await box.sync([url, ...work.into, ...quick]);
    expect(code).toBe(0);
    expect(items[0]?.checksum).toBe(sha256(young));
    expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(young));
  });

  it("when the segments of a large file are fetched", async ({ box, origin, work }) => {
    const before = pattern(80 * 1024 * 1024, 3);
    const after = pattern(80 * 1024 * 1024, 4);
    const served = new does.MutableFile(before);
    const url = origin.route("/big.bin", async (exchange) => {
      // The first segments still see the old version; from the third request on it is the new one.
      if (exchange.nth === 3) served.replace(after);
      await served.serve(exchange);
    });
    const { items, code } = await box.sync([url, ...work.into, ...quick]);
    const sum = await sha256OfFile(work.to("big.bin"));
    expect(code).toBe(0);
    expect([sha256(before), sha256(after)]).toContain(sum);
    expect(items[0]?.checksum).toBe(sum);
    if (origin.requests.length > 2) expect(sum).toBe(sha256(after));
  });
});

describe("a partial file is never taken for the whole", () => {
  const cases: { name: string; fault: Behaviour; cls: RegExp }[] = [
    {
      name: "a body shorter than its length",
      fault: does.cutAt("0123456789", 4, "close"),
      cls: /^truncated$/,
    },
    { name: "a reset body", fault: does.cutAt("0123456789", 4, "reset"), cls: /^(truncated|connect)$/ },
    { name: "a chunked body without its end", fault: does.chunkedCut("01234"), cls: /^truncated$/ },
    {
      name: "a larger body shorter than its length",
      fault: does.cutAt(pattern(3_000_000), 2_000_000, "close"),
      cls: /^truncated$/,
    },
    {
      name: "a larger chunked body without its end",
      fault: does.chunkedCut(pattern(2_000_000)),
      cls: /^truncated$/,
    },
    {
      name: "a part that nobody asked for",
      fault: does.status(206, { "content-range": "bytes 0-3/10" }, "0123"),
      cls: /^(protocol|http|truncated)$/,
    },
    { name: "an answer without content", fault: does.status(204, {}, ""), cls: /^(protocol|http)$/ },
  ];
  it.for(cases)("$name", async ({ fault, cls }, { box, origin, work }) => {
    work.write({ "out/a.bin": "old" });
    const { items, code } = await box.sync([origin.route("/a.bin", fault), ...work.into, ...once]);
    expect(items[0]).toMatchObject({
      status: "failed",
      checksum: null,
      error: { class: expect.stringMatching(cls) },
    });
    expect(code).toBe(3);
    expect(readFileSync(work.to("a.bin"), "utf8")).toBe("old");
    expect(filesBelow(work.out)).toEqual([work.to("a.bin")]);
  });
});

describe("a resumed download succeeds despite", () => {
  const content = pattern(4_000_000);
  const cut = does.cutAt(content, 3_000_000, "close");
  const unended: Behaviour = async (exchange) => {
    exchange.response.setHeader("etag", does.etagOf(content));
    exchange.response.setHeader("accept-ranges", "bytes");
    await does.chunkedCut(content)(exchange);
  };
  const cases: { name: string; answers: Behaviour[] }[] = [
    { name: "a server that ignores the range", answers: [cut, does.file(content, { ranges: false })] },
    {
      name: "a server that answers with another range",
      answers: [cut, does.wrongContentRange(content), does.file(content)],
    },
    { name: "416, for the file was complete", answers: [unended, does.file(content)] },
    { name: "416, again and again", answers: [cut, does.status(416), does.file(content)] },
    { name: "412", answers: [cut, does.status(412), does.file(content)] },
    { name: "a file that is another one", answers: [cut, does.file(content, { etag: '"other"' })] },
    {
      name: "a part without Content-Range",
      answers: [cut, does.status(206, { etag: does.etagOf(content) }, "tail"), does.file(content)],
    },
  ];
  it.for(cases)("$name", async ({ answers }, { box, origin, work }) => {
    const { items, code } = await box.sync([origin.route("/a.bin", ...answers), ...work.into, ...quick]);
    expect(items[0], JSON.stringify(items)).toMatchObject({ outcome: "copied", checksum: sha256(content) });
    expect(code).toBe(0);
    expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(content));
  });

  it("a file that has become smaller than its staged bytes", async ({ box, origin, work }) => {
    const url = origin.route("/a.bin", cut, does.file("tiny"));
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256("tiny"), bytes: 4 });
    expect(readFileSync(work.to("a.bin"), "utf8")).toBe("tiny");
  });
});

describe("content encoding", () => {
  it.for(["gzip", "br", "deflate"] as const)(
    "is not requested: %s",
    async (encoding, { box, origin, work }) => {
      const text = "a line\n".repeat(1000);
      const { items } = await box.sync([
        origin.route("/a.csv", does.negotiated(text, encoding)),
        ...work.into,
      ]);
      expect(origin.requests[0]?.headers["accept-encoding"]).toBe("identity");
      expect(items[0]).toMatchObject({ outcome: "copied", bytes: text.length, checksum: sha256(text) });
      expect(readFileSync(work.to("a.csv"), "utf8")).toBe(text);
    },
  );

  it.for(["gzip", "br", "deflate"] as const)(
    "that is sent regardless is decoded or refused: %s",
    async (encoding, { box, origin, work }) => {
      const text = "a line\n".repeat(1000);
      const { items } = await box.sync([
        origin.route("/a.csv", does.encoded(text, encoding)),
        ...work.into,
        ...once,
      ]);
      if (items[0]?.status === "ok") {
        expect(items[0]).toMatchObject({ bytes: text.length, checksum: sha256(text) });
        expect(readFileSync(work.to("a.csv"), "utf8")).toBe(text);
      } else {
        expect(items[0]?.error?.class).toBe("encoding");
        expect(existsSync(work.to("a.csv"))).toBe(false);
      }
    },
  );
});

describe("--max-file-size", () => {
  const limit = ["--max-file-size", "100000"];

  it.for<[string, Behaviour]>([
    ["announced", does.file(pattern(100_001))],
    ["not announced", does.chunked(pattern(400_000))],
    ["without an end", does.endless],
    ["behind a connection that closes", does.closeDelimited(toBuffer(pattern(100_001)))],
  ])("aborts a larger file: %s", async ([, behaviour], { box, origin, work }) => {
    const { items, code } = await box.sync([origin.route("/a", behaviour), ...work.into, ...limit]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: 1, error: { class: "too-large" } });
    expect(code).toBe(3);
    expect(filesBelow(work.out)).toEqual([]);
  });

  it("accepts a file of exactly that size", async ({ box, origin, work }) => {
    const urls = [
      origin.route("/a", does.file(pattern(100_000))),
      origin.route("/b", does.chunked(pattern(100_000))),
    ];
    const { code } = await box.sync([...urls, ...work.into, ...limit]);
    expect(code).toBe(0);
  });

  it("applies to local files too", async ({ box, work }) => {
    const path = work.write({ "a.bin": Buffer.alloc(100_001) });
    const { items } = await box.sync([path, ...work.into, ...limit]);
    expect(items[0]).toMatchObject({ status: "failed", error: { class: "too-large" } });
  });
});

describe("unusual responses", () => {
  const head = "HTTP/1.1 200 OK\r\n";
  const cases: { name: string; answer: string | Buffer; cls: RegExp }[] = [
    { name: "another protocol", answer: "220 ftp.example ready\r\n", cls: /^protocol$/ },
    { name: "a TLS hello", answer: does.TLS_HELLO, cls: /^protocol$/ },
    {
      name: "noise",
      answer: Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 7) % 256)),
      cls: /^protocol$/,
    },
    { name: "nothing at all", answer: "", cls: /^(protocol|connect|truncated)$/ },
    { name: "half a status line", answer: "HTTP/1.1 2", cls: /^(protocol|connect|truncated)$/ },
    {
      name: "two lengths",
      answer: `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
      cls: /^protocol$/,
    },
    { name: "a length that is none", answer: `${head}Content-Length: five\r\n\r\nhello`, cls: /^protocol$/ },
    {
      name: "a chunk size that is none",
      answer: `${head}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`,
      cls: /^protocol$/,
    },
    { name: "endless headers", answer: `${head}X-Long: ${"x".repeat(300_000)}\r\n\r\n`, cls: /^protocol$/ },
  ];
  it.for(cases)("fail the file: $name", async ({ answer, cls }, { box, work }) => {
    const raw = await RawOrigin.start((socket) => socket.once("data", () => socket.end(answer)));
    const { items, code, stderr } = await box.sync([raw.url("/a"), ...work.into, ...once, "--timeout", "5"]);
    await raw.stop();
    expect(items[0]).toMatchObject({ status: "failed", error: { class: expect.stringMatching(cls) } });
    expect(code).toBe(3);
    expect(filesBelow(work.out)).toEqual([]);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("fail the file if the connection is closed at once", async ({ box, work }) => {
    const raw = await RawOrigin.start((socket) => socket.destroy());
    const { items } = await box.sync([raw.url("/a"), ...work.into, ...once]);
    await raw.stop();
    expect(items[0]).toMatchObject({
      status: "failed",
      error: { class: expect.stringMatching(/connect|protocol|truncated/) },
    });
  });

  it("fail the file if the body is longer than its length", async ({ box, work }) => {
    const answer = `${head}Content-Length: 5\r\nConnection: close\r\n\r\nhello, and more`;
    const raw = await RawOrigin.start((socket) => socket.once("data", () => socket.end(answer)));
    const { items } = await box.sync([raw.url("/a"), ...work.into, ...once]);
    await raw.stop();
    if (items[0]?.status === "ok") expect(readFileSync(work.to("a"), "utf8")).toBe("hello");
    else expect(filesBelow(work.out)).toEqual([]);
  });

  it("are accepted if they begin with early hints", async ({ box, work }) => {
    const answer = `HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n${head}Content-Length: 5\r\n\r\nhello`;
    const raw = await RawOrigin.start((socket) => socket.once("data", () => socket.write(answer)));
    const { items } = await box.sync([raw.url("/a"), ...work.into, ...once]);
    await raw.stop();
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256("hello") });
  });
});

it("a missing file leaves nothing behind", async ({ box, origin, work }) => {
  const { items } = await box.sync([origin.url("/no/such.csv"), ...work.into]);
  expect(items[0]?.error?.class).toBe("not-found");
  expect(filesBelow(work.path)).toEqual([]);
});

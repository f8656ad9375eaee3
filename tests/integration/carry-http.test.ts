import { mkdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { describe, expect } from "vitest";
import * as does from "../harness/behaviours.js";
import { hashOf, pattern, sha256, sha256OfFile, toBuffer } from "../harness/content.js";
import { FaultOrigin, refusedUrl } from "../harness/fault-origin.js";
import { Gate, until } from "../harness/gate.js";
import { type Carrier, it, type Space } from "./helpers/carrier.js";
import { RULES } from "./helpers/fleet.js";

const OLD = "what was there before";

/** There is an old file, and it must be there afterwards. */
function withOld(space: Space, name = "file"): void {
  mkdirSync(space.root, { recursive: true });
  writeFileSync(space.to(name), OLD);
}

async function settledError(carrier: Carrier, name: string, url: string, sha?: string) {
  const outcome = await carrier.through(name, url, sha === undefined ? {} : { sha256: sha });
  expect(outcome).toMatchObject({ outcome: "failed", checksum: null, bytes: 0, verifiedBy: null });
  return { ...outcome.error, attempts: outcome.attempts };
}

describe("a file", () => {
  it.for<[string, number]>([
    ["of no bytes", 0],
    ["of one byte", 1],
    ["of 10 KB", 10_000],
    ["just small enough for one write", 512 << 10],
    ["just too large for it", (512 << 10) + 1],
    ["of 5 MiB and a bit", (5 << 20) + 3],
  ])("%s arrives whole", async ([, size], { carrier, origin, space, redis, keys }) => {
    const content = pattern(size);
    const url = origin.route("/file", does.file(content));
    const outcome = await carrier.through("dir/file", url);
    expect(outcome).toMatchObject({
      outcome: "copied",
      bytes: size,
      checksum: sha256(content),
      verifiedBy: "length",
      attempts: 1,
      name: "dir/file",
      destination: space.to("dir/file"),
    });
    expect(await sha256OfFile(space.to("dir/file"))).toBe(sha256(content));
    expect(space.files()).toEqual(["dir/file"]);
    expect(await carrier.counts()).toMatchObject({ files: 1, settled: 1, copied: 1 });
    expect(await redis.keys(`${keys.namespace}:lease:*`)).toEqual([]);
    expect(await redis.keys(keys.flight("*"))).toEqual([]);
  });

  it("gets the time of its source, and the same time again is no reason to copy it", async ({
    carrier,
    make,
    origin,
    space,
  }) => {
    const lastModified = new Date("2076-01-02T03:04:05Z");
    const url = origin.route("/file", does.file("text", { lastModified, etag: null }));
    expect((await carrier.through("file", url)).outcome).toBe("copied");
    expect(statSync(space.to("file")).mtimeMs).toBe(lastModified.getTime());
    const again = await (await make()).through("file", url);
    expect(again).toMatchObject({ outcome: "unchanged", checksum: sha256("text"), bytes: 4 });
  });

  it("that is unchanged is asked about by its ETag and not sent again", async ({
    carrier,
    make,
    origin,
    space,
  }) => {
    const url = origin.route("/file", does.file("text"));
    await carrier.through("file", url);
    const before = statSync(space.to("file"), { bigint: true });
    const again = await (await make()).through("file", url);
    expect(again).toMatchObject({
      outcome: "unchanged",
      verifiedBy: "not-modified",
      checksum: sha256("text"),
    });
    expect(origin.requests[1]?.headers["if-none-match"]).toBe(does.etagOf("text"));
    expect(statSync(space.to("file"), { bigint: true })).toMatchObject({
      mtimeNs: before.mtimeNs,
      ino: before.ino,
    });
  });

  it("of the same size and an older time, with other content, is copied", async ({
    carrier,
    make,
    origin,
    space,
  }) => {
    const first = does.file("text", { etag: null, lastModified: new Date(1_700_000_000_000) });
    const second = does.file("TEXT", { etag: null, lastModified: new Date(1_600_000_000_000) });
    const url = origin.route("/file", first, second);
    await carrier.through("file", url);
    expect((await (await make()).through("file", url)).outcome).toBe("copied");
    expect(space.read("file")).toBe("TEXT");
  });

  it("that is there already, byte for byte, is not touched", async ({ carrier, origin, space }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("file"), "text");
    utimesSync(space.to("file"), 1_000, 1_000);
    const url = origin.route("/file", does.chunked("text"));
    expect((await carrier.through("file", url)).outcome).toBe("unchanged");
    expect(statSync(space.to("file")).mtimeMs).toBe(1_000_000);
    expect(space.files()).toEqual(["file"]);
  });

  it("that somebody changed at the destination is copied again", async ({ carrier, make, origin, space }) => {
    const url = origin.route("/file", does.file("text"));
    await carrier.through("file", url);
    writeFileSync(space.to("file"), "TEXT");
    expect((await (await make()).through("file", url)).outcome).toBe("copied");
    expect(space.read("file")).toBe("text");
  });

  it("that is the one the checksum names is not even asked for", async ({ carrier, origin, space }) => {
    withOld(space);
    const url = origin.route("/file", does.file("never"));
    const outcome = await carrier.through("file", url, { sha256: sha256(OLD) });
    expect(outcome).toMatchObject({ outcome: "unchanged", verifiedBy: "sha256", checksum: sha256(OLD) });
    expect(origin.requests).toEqual([]);
  });

  it("at which another source was before is not taken for that one's", async ({
    carrier,
    make,
    origin,
    space,
  }) => {
    const etag = '"same"';
    const one = origin.route("/one", does.file("one", { etag }));
    const two = origin.route("/two", does.file("two", { etag }));
    await carrier.through("file", one);
    expect((await (await make()).through("file", two)).outcome).toBe("copied");
    expect(space.read("file")).toBe("two");
  });

  it("that is not there creates none", async ({ carrier, origin, space }) => {
    const error = await settledError(carrier, "file", origin.url("/none"));
    expect(error).toMatchObject({ class: "not-found", attempts: 1 });
    expect(space.files()).toEqual([]);
  });
});

describe("what vouches for a file", () => {
  const BODY = "the body";
  it.for<[string, does.Headers | undefined, boolean, string]>([
    ["the checksum given", undefined, true, "sha256"],
    ["Repr-Digest", does.digests.repr(BODY), false, "repr-digest"],
    ["Content-Digest", does.digests.content(BODY), false, "content-digest"],
    ["Digest", does.digests.old(BODY), false, "digest"],
    ["Content-MD5", does.digests.md5(BODY), false, "content-md5"],
    ["the checksum given, above the server's", does.digests.md5(BODY), true, "sha256"],
  ])("%s", async ([, headers, given, by], { carrier, origin }) => {
    const url = origin.route("/file", does.file(BODY, headers ? { headers } : {}));
    const outcome = await carrier.through("file", url, given ? { sha256: sha256(BODY) } : {});
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
    "not %s: tried once more, then failed, and the old file stays",
    async ([, headers, given], { carrier, origin, space }) => {
      withOld(space);
      const url = origin.route("/file", does.file(BODY, headers ? { headers } : {}));
      const error = await settledError(carrier, "file", url, given ? sha256("other") : undefined);
      expect(error).toMatchObject({ class: "checksum", attempts: 2 });
      expect(origin.requests).toHaveLength(2);
      expect(space.read("file")).toBe(OLD);
      expect(space.files()).toEqual(["file"]);
    },
  );

  it("the mismatch of another worker's try counts", async ({ carrier, origin }) => {
    const url = origin.route("/file", does.file(BODY));
    expect(await carrier.once("file", url, { sha256: sha256("other"), attempt: 1 })).toMatchObject({
      is: "retry",
    });
    const other = await carrier.other();
    const carried = await other.once("file", url, { sha256: sha256("other"), attempt: 1 });
    expect(carried).toMatchObject({
      is: "settled",
      outcome: { outcome: "failed", error: { class: "checksum" } },
    });
  });

  it("a wrong digest of a large file is found behind its writer", async ({ carrier, origin, space }) => {
    const content = pattern(9 << 20);
    const headers = { "content-md5": hashOf("md5", "other").toString("base64") };
    const url = origin.route("/file", does.file(content, { headers }), does.file(content));
    const outcome = await carrier.through("file", url);
    expect(outcome).toMatchObject({ outcome: "copied", attempts: 2 });
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(content));
  });

  it("nothing, where only the end of the connection tells the end", async ({ carrier, origin }) => {
    const url = origin.route("/file", does.closeDelimited("text"));
    expect(await carrier.through("file", url)).toMatchObject({ outcome: "copied", verifiedBy: "unverified" });
    const known = await carrier.through("given", url, { sha256: sha256("text") });
    expect(known).toMatchObject({ outcome: "copied", verifiedBy: "sha256" });
  });
});

describe("a body that is not whole", () => {
  it.for<[string, does.Headers | "chunked", number]>([
    ["closed early, small", {}, 1_000],
    ["closed early, large", {}, 3 << 20],
    ["chunked, cut before its last chunk", "chunked", 1_000],
    ["chunked, cut before its last chunk, large", "chunked", 3 << 20],
  ])("%s: the old file stays until it comes whole", async ([, kind, size], { carrier, origin, space }) => {
    withOld(space);
    const content = pattern(size);
    const bad =
      kind === "chunked" ? does.chunkedCut(content) : does.cutAt(content, size - 7, "close", { etag: null });
    const url = origin.route("/file", bad, bad, does.file(content, { etag: null }));
    for (const attempt of [1, 2]) {
      const carried = await carrier.once("file", url, { attempt });
      expect(carried).toMatchObject({ is: "retry", error: { permanent: false, verdict: "fail" } });
      expect(space.read("file")).toBe(OLD);
      expect(space.staged()).toEqual([]);
    }
    expect(await carrier.through("file", url)).toMatchObject({ outcome: "copied", bytes: size });
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(content));
  });

  it("is failed for good when the tries are spent", async ({ make, origin, space }) => {
    const carrier = await make({ retries: 3 });
    const url = origin.route("/file", does.cutAt("text", 2, "reset"));
    expect(await settledError(carrier, "file", url)).toMatchObject({ attempts: 3 });
    expect(space.files()).toEqual([]);
    expect(await carrier.counts()).toMatchObject({ settled: 1, failed: 1 });
  });
});

/** A chunked body of one chunk. */
function chunkOf(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from("\r\n0\r\n\r\n")]);
}

describe("a digest behind the body", () => {
  for (const size of [1_000, 3 << 20]) {
    const content = pattern(size);
    const behind = (digest: does.Headers) => {
      const [[name, value] = ["", ""]] = Object.entries(digest);
      const head = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: ${name}\r\n\r\n`;
      const body = chunkOf(toBuffer(content));
      const trailer = Buffer.from(`${name}: ${value}\r\n\r\n`);
      return Buffer.concat([Buffer.from(head), body.subarray(0, -2), trailer]);
    };

    it(`of ${size} bytes vouches for them`, async ({ carrier, origin }) => {
      const url = origin.route("/file", does.garbage(behind(does.digests.repr(content))));
      expect(await carrier.through("file", url)).toMatchObject({
        outcome: "copied",
        checksum: sha256(content),
        verifiedBy: "repr-digest",
      });
    });

    it(`of ${size} bytes that are others is told from theirs`, async ({ carrier, origin, space }) => {
      const url = origin.route("/file", does.garbage(behind(does.digests.old("others"))));
      expect(await settledError(carrier, "file", url)).toMatchObject({ class: "checksum" });
      expect(space.files()).toEqual([]);
    });
  }
});

describe("a body that is encoded although nobody asked for it", () => {
  const TEXT = "some text, again and again. ".repeat(4_000);
  it.for(["gzip", "br", "deflate"] as const)(
    "%s: the file is what it stands for",
    async (encoding, { carrier, origin, space }) => {
      const url = origin.route("/file", does.encoded(TEXT, encoding));
      const outcome = await carrier.through("file.csv", url);
      expect(outcome).toMatchObject({ outcome: "copied", bytes: TEXT.length, checksum: sha256(TEXT) });
      expect(space.read("file.csv")).toBe(TEXT);
      expect(origin.requests[0]?.headers["accept-encoding"]).toBe("identity");
    },
  );

  it("gzip of a name that says so is kept as it is", async ({ carrier, origin, space }) => {
    const url = origin.route("/file", does.encoded(TEXT, "gzip"));
    const outcome = await carrier.through("file.csv.gz", url);
    expect(outcome.bytes).toBeLessThan(TEXT.length);
    expect(space.read("file.csv.gz")?.slice(1, 3)).not.toBe("so");
  });

  it("cut short is never published", async ({ carrier, origin, space }) => {
    const wire = does.encoded(TEXT, "gzip", { "content-length": "100000" });
    const url = origin.route("/file", (exchange) => {
      void wire(exchange);
      exchange.request.socket.destroySoon();
    });
    expect(await carrier.once("file", url)).toMatchObject({ is: "retry" });
    expect(space.files()).toEqual([]);
  });

  it("with more bytes decoded than allowed is stopped", async ({ make, origin, space }) => {
    const carrier = await make({ maxFileSizeBytes: 50_000 });
    const url = origin.route("/file", does.encoded(TEXT, "gzip"));
    expect(await settledError(carrier, "file", url)).toMatchObject({ class: "too-large", attempts: 1 });
    expect(space.files()).toEqual([]);
  });

  it("in a way that nobody knows is refused", async ({ carrier, origin, space }) => {
    const url = origin.route("/file", does.file("text", { headers: { "content-encoding": "x-rot13" } }));
    expect(await settledError(carrier, "file", url)).toMatchObject({ class: "encoding", attempts: 1 });
    expect(space.files()).toEqual([]);
  });

  it.for([
    ["for the way, in chunks", "gzip, chunked", (body: Buffer) => chunkOf(body)],
    ["for the way, to the end of the connection", "gzip", (body: Buffer) => body],
  ] as const)(
    "%s is refused: its bytes are not the file's",
    async ([, coding, framed], { carrier, origin, space }) => {
      const head = `HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n`;
      const answer = Buffer.concat([Buffer.from(head), framed(gzipSync(TEXT))]);
      const url = origin.route("/file", does.garbage(answer));
      expect(await settledError(carrier, "file", url)).toMatchObject({
        class: "encoding",
        attempts: 1,
        message: `unsupported Transfer-Encoding ${coding}`,
      });
      expect(space.files()).toEqual([]);
    },
  );

  it("that is no gzip after all is refused", async ({ make, origin, space }) => {
    const carrier = await make({ retries: 2 });
    const url = origin.route("/file", does.file("no gzip", { headers: { "content-encoding": "gzip" } }));
    expect(await settledError(carrier, "file", url)).toMatchObject({ class: "encoding" });
    expect(space.files()).toEqual([]);
  });

  it("is held against a digest of what was sent", async ({ make, origin }) => {
    const right = does.encoded(TEXT, "gzip", does.digests.repr("other"));
    const carrier = await make();
    const url = origin.route("/file", right);
    expect(await settledError(carrier, "file", url)).toMatchObject({ class: "checksum" });
  });

  it("is found unchanged the next time", async ({ carrier, make, origin }) => {
    const url = origin.route("/file", does.encoded(TEXT, "br"));
    await carrier.through("file", url);
    expect((await (await make()).through("file", url)).outcome).toBe("unchanged");
  });
});

describe("a redirect", () => {
  const it2 = it.extend<{ second: FaultOrigin }>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    second: async ({}, use) => {
      const second = await FaultOrigin.start();
      await use(second);
      await second.stop();
    },
  });
  const secrets = {
    authorization: "Bearer CANARY",
    cookie: "CANARY",
    "x-api-key": "CANARY",
    "user-agent": "me",
  };

  it2.for([301, 302, 303, 307, 308])(
    "%i is followed, and keeps the headers with their origin",
    async (code, { make, origin, second, space }) => {
      const carrier = await make({ headers: secrets });
      const last = second.route("/last", does.file("text"));
      origin.route("/next", does.redirect(last, code));
      const url = origin.route("/first", does.redirect("next?x=1", code));
      expect((await carrier.through("file", url)).outcome).toBe("copied");
      expect(space.read("file")).toBe("text");
      expect(origin.requestsTo("/next")[0]?.headers).toMatchObject(secrets);
      const there = second.requestsTo("/last")[0];
      expect(JSON.stringify(there?.headers)).not.toContain("CANARY");
      expect(there?.headers["user-agent"]).toBe("me");
    },
  );

  it("to a name that is not encoded is read as UTF-8", async ({ carrier, origin, space }) => {
    const location = Buffer.from("/ü b.csv").toString("latin1"); // its bytes, as a header holds them
    const url = origin.route("/first", does.redirect(location));
    origin.route("/%C3%BC%20b.csv", does.file("text"));
    expect((await carrier.through("file", url)).outcome).toBe("copied");
    expect(space.read("file")).toBe("text");
  });

  it2("does not give the headers back after it went away and came home", async ({ make, origin, second }) => {
    const carrier = await make({ headers: secrets });
    const home = origin.route("/home", does.file("text"));
    const away = second.route("/away", does.redirect(home));
    const url = origin.route("/first", does.redirect(away));
    await carrier.through("file", url);
    expect(JSON.stringify(origin.requestsTo("/home")[0]?.headers)).not.toContain("CANARY");
  });

  it2(
    "never carries the user of the URL elsewhere, nor takes one from it",
    async ({ make, origin, second }) => {
      const carrier = await make();
      second.route("/last", does.file("text"));
      origin.route("/first", does.redirect(`http://user:CANARY2@${second.host}/last`));
      await carrier.through("file", `http://user:CANARY@${origin.host}/first`);
      expect(origin.requests[0]?.headers.authorization).toMatch(/^Basic /);
      expect(second.requests[0]?.headers.authorization).toBeUndefined();
    },
  );

  it.for<[string, string]>([
    ["to itself", "/first"],
    ["to a file", "file:///etc/passwd"],
    ["to another scheme", "ftp://127.0.0.1/x"],
    ["to nonsense", "http://[bad/"],
  ])("%s is refused, for good", async ([, to], { carrier, origin, space }) => {
    const url = origin.route("/first", does.redirect(to));
    expect(await settledError(carrier, "file", url)).toMatchObject({ class: "redirect", attempts: 1 });
    expect(space.files()).toEqual([]);
  });

  it("that goes round in circles, or on and on, is refused", async ({ carrier, origin }) => {
    origin.route("/b", does.redirect("/a"));
    const circle = origin.route("/a", does.redirect("/b"));
    expect(await settledError(carrier, "circle", circle)).toMatchObject({ class: "redirect" });
    const on = origin.route("/n*", ({ request, response }) => {
      response.writeHead(302, { location: `/n${Number(request.url?.slice(2)) + 1}` }).end();
    });
    expect(await settledError(carrier, "on", on.replace("*", "1"))).toMatchObject({ class: "redirect" });
    expect(origin.requests.length).toBeLessThan(20);
  });

  it.for([
    "http://10.0.0.1/x",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/x",
    "http://2852039166/x",
    "http://0/x",
    "http://[::ffff:a9fe:a9fe]/x",
    "http://[64:ff9b::a9fe:a9fe]/x",
  ])("to %s is refused, for good and without a connection", async (to, { carrier, origin }) => {
    const url = origin.route("/first", does.redirect(to));
    expect(await settledError(carrier, "file", url)).toMatchObject({ class: "address", attempts: 1 });
  });

  it2(
    "is followed for the conditions, too: the last hop is asked what is new",
    async ({ carrier, make, origin, second }) => {
      const last = second.route("/last", does.file("text"));
      const url = origin.route("/first", does.redirect(last));
      await carrier.through("file", url);
      const again = await (await make()).through("file", url);
      expect(again).toMatchObject({ outcome: "unchanged", verifiedBy: "not-modified" });
    },
  );
});

describe("limits", () => {
  it("of size are held from the length that is announced: nothing is read", async ({
    make,
    origin,
    space,
  }) => {
    const carrier = await make({ maxFileSizeBytes: 1_000 });
    const gate = new Gate();
    const url = origin.route("/file", does.pausedAt(pattern(1_001), 10, gate));
    expect(await settledError(carrier, "file", url)).toMatchObject({ class: "too-large", attempts: 1 });
    gate.open();
    const fits = origin.route("/fits", does.file(pattern(1_000)));
    expect((await carrier.through("fits", fits)).outcome).toBe("copied");
    expect(space.files()).toEqual(["fits"]);
  });

  it("of size are held while a body without a length comes in", async ({ make, origin, space }) => {
    for (const maxFileSizeBytes of [1_000, 4 << 20]) {
      const carrier = await make({ maxFileSizeBytes });
      const url = origin.route("/endless", does.endless);
      expect(await settledError(carrier, "file", url)).toMatchObject({ class: "too-large", attempts: 1 });
      expect(space.files()).toEqual([]);
    }
  });

  it("of speed hold for all bodies together", async ({ make, origin, space }) => {
    const carrier = await make({ bytesPerSecond: 2 << 20 });
    const started = performance.now();
    await Promise.all(
      ["a", "b", "c"].map((name) =>
        carrier.through(name, origin.route(`/${name}`, does.file(pattern(1 << 20)))),
      ),
    );
    // 3 MiB at 2 MiB/s are 1.5 s; what may come before the first wait is the last body's, at most.
    expect(performance.now() - started).toBeGreaterThan(900);
    expect(space.files()).toEqual(["a", "b", "c"]);
  });

  it.for<[string, (content: ReturnType<typeof pattern>) => ReturnType<typeof does.file>]>([
    ["no answer", () => does.silence],
    ["a body that stops", (content) => does.cutAt(content, 100_000, "stall")],
    ["a body that drips", (content) => does.drip(content, 10, 50)],
  ])(
    "of time: %s is given up, and counts against the host",
    async ([, behaviour], { make, origin, space }) => {
      const carrier = await make({ timeoutMs: 400 });
      const url = origin.route("/file", behaviour(pattern(200_000)));
      const carried = await carrier.once("file", url);
      expect(carried).toMatchObject({
        is: "retry",
        error: { class: "timeout", permanent: false, verdict: "fail" },
      });
      expect(space.files()).toEqual([]);
    },
  );

  it("of time do not hold against a slow body that is fast enough", async ({ make, origin }) => {
    const carrier = await make({ timeoutMs: 1_000 });
    const url = origin.route("/file", does.drip(pattern(20_000), 1_000, 100));
    expect(await carrier.through("file", url)).toMatchObject({ outcome: "copied", attempts: 1 });
  });

  it("a host that nobody is on counts against it", async ({ carrier }) => {
    const carried = await carrier.once("file", await refusedUrl("/x"));
    expect(carried).toMatchObject({ is: "retry", error: { class: "connect", verdict: "fail" } });
  });
});

describe("the breaker", () => {
  const rules = { ...RULES, threshold: 2 };

  it("opens after failures in a row; then the file is not even asked for", async ({ make, origin }) => {
    const carrier = await make({ rules });
    const url = origin.route("/file", does.status(503, { "retry-after": "120" }));
    expect(await carrier.once("file", url)).toMatchObject({ is: "retry", blockedUntilMs: 0 });
    const second = await carrier.once("file", url);
    if (second.is !== "retry") throw new Error(second.is);
    expect(second.error.retryAfterMs).toBe(120_000);
    expect(second.blockedUntilMs).toBeGreaterThan(Date.now() + 100_000);
    expect(await carrier.once("file", url)).toMatchObject({ is: "blocked" });
    expect(origin.requests).toHaveLength(2);
  });

  it("is kept closed by every answer of the host, a 404 too", async ({ make, origin }) => {
    const carrier = await make({ rules });
    const bad = origin.route("/bad", does.status(500));
    for (let nth = 0; nth < 4; nth++) {
      expect(await carrier.once(`bad-${nth}`, bad)).toMatchObject({ is: "retry", blockedUntilMs: 0 });
      expect((await carrier.through(`none-${nth}`, origin.url("/none"))).error?.class).toBe("not-found");
    }
  });

  it("opens when a file's tries are spent, where that is asked for", async ({ make, origin }) => {
    const carrier = await make({ rules: { ...RULES, threshold: 100 }, openWhenSpent: true, retries: 2 });
    const url = origin.route("/file", does.status(500));
    expect((await carrier.through("file", url)).outcome).toBe("failed");
    expect(await carrier.once("other", url)).toMatchObject({ is: "blocked" });
  });
});

describe("a busy destination", () => {
  it("is told with whether the same source is on its way", async ({ carrier, make, origin }) => {
    const gate = new Gate();
    const url = origin.route("/file", does.gated(gate, does.file("text")));
    const other = origin.route("/other", does.file("other"));
    const first = carrier.once("file", url);
    await gate.reached;
    const [same, different] = await Promise.all([make(), make()]);
    expect(await same.once("file", url)).toEqual({ is: "busy", sameSource: true });
    expect(await different.once("file", other)).toEqual({ is: "busy", sameSource: false });
    gate.open();
    expect(await first).toMatchObject({ is: "settled", outcome: { outcome: "copied" } });
    expect(await different.once("file", other)).toMatchObject({ outcome: { outcome: "copied" } });
    await until("the destination to be free", async () => (await same.once("file", url)).is === "settled");
  });
});

describe("a file of a cancelled run", () => {
  it("is not begun", async ({ carrier, origin, space }) => {
    await carrier.add("file", origin.route("/file", does.file("text")));
    await carrier.member.ledger.cancel(carrier.runId);
    const carried = await carrier.once("file", origin.url("/file"));
    expect(carried).toMatchObject({ is: "settled", outcome: { outcome: "cancelled" } });
    expect(origin.requests).toEqual([]);
    expect(space.files()).toEqual([]);
  });

  it("is stopped on its way, and the old file stays", async ({ carrier, origin, space }) => {
    withOld(space);
    const gate = new Gate();
    const url = origin.route("/file", does.pausedAt(toBuffer(pattern(1_000)), 500, gate));
    const carrying = carrier.once("file", url);
    await gate.reached;
    carrier.place.leases.cancelHeld(carrier.place.runId);
    expect(await carrying).toMatchObject({ is: "settled", outcome: { outcome: "cancelled" } });
    gate.open();
    expect(space.read("file")).toBe(OLD);
    expect(space.files()).toEqual(["file"]);
    expect(await carrier.counts()).toMatchObject({ settled: 1, cancelled: 1 });
  });
});

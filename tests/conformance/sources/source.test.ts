import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TransferError } from "@drover/shared/errors";
import { HttpClient } from "@drover/shared/storage/http/client";
import { HttpSource } from "@drover/shared/storage/http/source";
import { LocalSource } from "@drover/shared/storage/local/source";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import { S3Source } from "@drover/shared/storage/s3/source";
import type { ByteRange, Opened, Source } from "@drover/shared/storage/source";
import { test as base, describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, toBuffer } from "../../harness/content.js";
import { type Behaviour, FaultOrigin } from "../../harness/fault-origin.js";
import { Gate } from "../../harness/gate.js";
import { realS3, type S3Service, TestS3 } from "../../harness/s3.js";

/** One file of one storage, which a test may replace and remove. */
interface Subject {
  readonly source: Source;
  /** `modified` in milliseconds since 1970; a fixed time by default. */
  put(content: Buffer, modified?: number): void | Promise<void>;
  remove(): void | Promise<void>;
}

interface Kind {
  readonly name: string;
  /** Whether a test may say when its file was modified. */
  readonly setsTime: boolean;
  make(): Promise<{ subject: Subject; end(): Promise<void> }>;
}

const MODIFIED = 1_700_000_000_000;

const http: Kind = {
  name: "HttpSource",
  setsTime: true,
  async make() {
    const origin = await FaultOrigin.start();
    const client = new HttpClient({ timeoutMs: 5_000, connections: 8 });
    const url = origin.route("/file", does.status(404));
    const subject: Subject = {
      source: new HttpSource(client, url, {}),
      put: (content, modified = MODIFIED) =>
        void origin.route("/file", does.file(content, { lastModified: new Date(modified) })),
      remove: () => void origin.route("/file", does.status(404)),
    };
    return {
      subject,
      async end() {
        await client.close();
        await origin.stop();
      },
    };
  },
};

const local: Kind = {
  name: "LocalSource",
  setsTime: true,
  async make() {
    const directory = mkdtempSync(join(tmpdir(), "drover-source-"));
    const path = join(directory, "file ü");
    const subject: Subject = {
      source: new LocalSource(path),
      put(content, modified = MODIFIED) {
        writeFileSync(path, content);
        utimesSync(path, modified / 1_000, modified / 1_000);
      },
      remove: () => rmSync(path),
    };
    return { subject, end: async () => rmSync(directory, { recursive: true, force: true }) };
  },
};

/** @param place the service; one in this process where there is none. */
function s3(name: string, service: S3Service | undefined): Kind {
  return {
    name,
    setsTime: false,
    async make() {
      const s3 = await TestS3.start(service);
      const http = new HttpClient({ timeoutMs: 5_000, connections: 8 });
      const { endpoint, accessKeyId, secretAccessKey } = s3.service;
      const spec = { endpoint, region: "us-east-1", pathStyle: true, anonymous: false, requesterPays: false };
      const client = new S3Client(http, spec, async () => ({ accessKeyId, secretAccessKey }));
      const key = "a b/ü+%2B (file)!";
      const subject: Subject = {
        source: new S3Source(client, { bucket: s3.bucket, key }),
        put: (content) => s3.put(key, content),
        remove: () => s3.remove(key),
      };
      return {
        subject,
        async end() {
          await http.close();
          await s3.stop();
        },
      };
    },
  };
}

const real = await realS3();
const kinds = [
  http,
  local,
  s3("S3Source", undefined),
  ...(real ? [s3("S3Source, of a real service", real)] : []),
];

/** From one byte to another, or to the end. */
const rangeOf = (startByte: number, lastByte?: number): ByteRange => ({
  startByte,
  ...(lastByte === undefined ? {} : { lastByte }),
});

const never = () => new AbortController().signal;

async function body(opened: Opened): Promise<Extract<Opened, { is: "body" }>> {
  if (opened.is !== "body") throw new Error("expected a body");
  return opened;
}

/** All bytes that come, in the way that a carrier reads them. */
async function bytesOf(opened: Opened): Promise<Buffer> {
  const { body: bytes, confirm } = await body(opened);
  const all: Buffer[] = bytes.takeIfComplete() ?? [];
  if (all.length === 0)
    for (let part = await bytes.read(); part; part = await bytes.read()) all.push(...part);
  confirm?.();
  return Buffer.concat(all);
}

const openFiles = () => (process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0);

describe.for(kinds)("$name", (kind) => {
  const it = base.extend<{ subject: Subject }>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    subject: async ({}, use) => {
      const { subject, end } = await kind.make();
      await use(subject);
      await end();
    },
  });

  it("opens a file with what is known of it", async ({ subject }) => {
    await subject.put(Buffer.from("content"));
    const opened = await body(await subject.source.open("", never()));
    expect(opened.offset).toBe(0);
    expect(opened.entry).toMatchObject({ sizeBytes: 7, framed: true, encoding: "" });
    if (kind.setsTime) expect(opened.entry.mtimeMs).toBe(MODIFIED);
    else expect(Math.abs((opened.entry.mtimeMs ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(opened.entry.version).not.toBe("");
    expect(opened.entry.strongEtag).not.toBe("");
    expect(String(await bytesOf(opened))).toBe("content");
    expect(opened.body.receivedBytes).toBe(7);
  });

  it("opens the version that is known as unchanged, and any other with its bytes", async ({ subject }) => {
    await subject.put(Buffer.from("content"));
    const first = await subject.source.open("", never());
    await bytesOf(first);
    const again = await subject.source.open(first.entry.version, never());
    expect(again).toMatchObject({ is: "unchanged", entry: { version: first.entry.version } });
    expect(String(await bytesOf(await subject.source.open("another version", never())))).toBe("content");
  });

  it("has another version after a change, of the same size and to an older time, too", async ({
    subject,
  }) => {
    await subject.put(Buffer.from("content"));
    const first = await subject.source.open("", never());
    await bytesOf(first);
    await subject.put(Buffer.from("CONTENT"), MODIFIED - 86_400_000);
    const second = await subject.source.open(first.entry.version, never());
    expect(second.entry.version).not.toBe(first.entry.version);
    expect(String(await bytesOf(second))).toBe("CONTENT");
  });

  it("gives a file of no bytes", async ({ subject }) => {
    await subject.put(Buffer.alloc(0));
    const opened = await subject.source.open("", never());
    expect(opened.entry.sizeBytes).toBe(0);
    expect(await bytesOf(opened)).toHaveLength(0);
    expect((await subject.source.open(opened.entry.version, never())).is).toBe("unchanged");
  });

  it("gives a large file in pieces", async ({ subject }) => {
    const content = toBuffer(pattern((9 << 20) + 5));
    await subject.put(content);
    const opened = await body(await subject.source.open("", never()));
    const parts: Buffer[] = [];
    for (let part = await opened.body.read(); part; part = await opened.body.read()) parts.push(...part);
    expect(parts.length).toBeGreaterThan(1);
    expect(Buffer.concat(parts).equals(content)).toBe(true);
    expect(opened.body.receivedBytes).toBe(content.length);
    expect(await opened.body.read()).toBeNull();
  });

  it.for([
    [0, undefined],
    [1, undefined],
    [999_999, undefined],
    [0, 0],
    [5, 100],
    [500_000, 999_999],
  ] as const)(
    "gives a part of the version that was opened: from %i to %s",
    async ([start, end], { subject }) => {
      const content = toBuffer(pattern(1_000_000));
      await subject.put(content);
      const first = await subject.source.open("", never());
      await bytesOf(first);
      const part = await body(await subject.source.openRange(first.entry, rangeOf(start, end), never()));
      expect(part.offset).toBe(start);
      expect(part.entry).toMatchObject({ version: first.entry.version, sizeBytes: content.length });
      const found = await bytesOf(part);
      const wanted = content.subarray(start, end === undefined ? undefined : end + 1);
      // It may give more than was asked for, never less and never from elsewhere.
      expect(found.subarray(0, wanted.length).equals(wanted)).toBe(true);
    },
  );

  it.for(["same size", "shorter", "longer"])(
    "never gives a part of another version as if it were the same (%s)",
    async (how, { subject }) => {
      const size = 1_000_000;
      await subject.put(toBuffer(pattern(size, 1)));
      const first = await subject.source.open("", never());
      await bytesOf(first);
      const changed = how === "shorter" ? 400_000 : how === "longer" ? size + 1 : size;
      const content = toBuffer(pattern(changed, 2));
      await subject.put(content, MODIFIED - 1_000);
      const strict = subject.source.openRange(first.entry, rangeOf(500_000, 600_000), never());
      await expect(strict.then(bytesOf)).rejects.toMatchObject({ class: "changed", permanent: false });
      const rest = await subject.source
        .openRange(first.entry, rangeOf(500_000), never())
        .catch((error) => error);
      if (rest instanceof TransferError) expect(rest.class).toBe("changed");
      else {
        expect(rest).toMatchObject({ is: "body", offset: 0 });
        expect((await bytesOf(rest)).equals(content)).toBe(true);
      }
    },
  );

  it("that is not there is not found, for good", async ({ subject }) => {
    await expect(subject.source.open("", never())).rejects.toMatchObject({
      name: "TransferError",
      class: "not-found",
      permanent: true,
    });
    await subject.put(Buffer.from("content"));
    const first = await subject.source.open("", never());
    await bytesOf(first);
    await subject.remove();
    await expect(subject.source.openRange(first.entry, rangeOf(2), never())).rejects.toBeInstanceOf(
      TransferError,
    );
  });

  it("stops when it is told to, with what it was told", async ({ subject }) => {
    await subject.put(toBuffer(pattern(10 << 20)));
    const opened = await body(await subject.source.open("", never()));
    await opened.body.read();
    const reason = new TransferError("cancelled", "enough");
    opened.body.abort(reason);
    await expect(
      (async () => {
        while (await opened.body.read());
      })(),
    ).rejects.toBe(reason);
  });

  it("leaves nothing open", async ({ subject }) => {
    await subject.put(toBuffer(pattern(3 << 20)));
    await bytesOf(await subject.source.open("", never())); // its connection may stay
    const before = openFiles();
    for (let nth = 0; nth < 5; nth++) {
      const whole = await subject.source.open("", never());
      await bytesOf(whole);
      await subject.source.open(whole.entry.version, never());
      const cut = await body(await subject.source.openRange(whole.entry, rangeOf(5), never()));
      cut.body.abort(new Error("enough"));
      await cut.body.read().catch(() => {});
      await bytesOf(await subject.source.openRange(whole.entry, rangeOf(5), never()));
    }
    // A connection that was cut off is closed in a moment, another one may have taken its place.
    await expect.poll(openFiles).toBeLessThanOrEqual(before + 1);
  });
});

describe("HttpSource besides", () => {
  const it = base.extend<{ origin: FaultOrigin; client: HttpClient }>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    origin: async ({}, use) => {
      const origin = await FaultOrigin.start();
      await use(origin);
      await origin.stop();
    },
    // biome-ignore lint/correctness/noEmptyPattern: see above
    client: async ({}, use) => {
      const client = new HttpClient({ timeoutMs: 5_000, connections: 8 });
      await use(client);
      await client.close();
    },
  });

  it("compares a date by itself, and only for equality", async ({ origin, client }) => {
    const old = new Date(MODIFIED - 86_400_000);
    const url = origin.route(
      "/file",
      does.file("content", { etag: null, lastModified: new Date(MODIFIED) }),
      does.file("content", { etag: null, lastModified: new Date(MODIFIED) }),
      does.file("CONTENT", { etag: null, lastModified: old }),
    );
    const source = new HttpSource(client, url, {});
    const first = await source.open("", never());
    await bytesOf(first);
    expect((await source.open(first.entry.version, never())).is).toBe("unchanged");
    expect(String(await bytesOf(await source.open(first.entry.version, never())))).toBe("CONTENT");
    for (const { headers } of origin.requests) expect(headers["if-modified-since"]).toBeUndefined();
  });

  describe("after a 200 with the known ETag", () => {
    const date = new Date(MODIFIED).toUTCString();
    const earlier = new Date(MODIFIED - 86_400_000).toUTCString();
    const answer = (body: string, etag: string, modified?: string) =>
      does.status(
        200,
        {
          etag,
          "content-length": String(body.length),
          ...(modified === undefined ? {} : { "last-modified": modified }),
        },
        body,
      );
    it.for<[what: string, first: Behaviour, then: Behaviour, is: Opened["is"]]>([
      ["strong", answer("old", '"same"'), answer("old", '"same"'), "unchanged"],
      ["weak, same date", answer("old", 'W/"a;m"', date), answer("old", 'W/"a;m"', date), "unchanged"],
      ["weak, other length", answer("old", 'W/"a"', date), answer("now much longer", 'W/"a"', date), "body"],
      ["weak, other date", answer("old", 'W/"a"', date), answer("new", 'W/"a"', earlier), "body"],
      ["weak, no date any more", answer("old", 'W/"a"', date), answer("new", 'W/"a"'), "body"],
      ["weak, no date ever", answer("old", 'W/"a"'), answer("new", 'W/"a"'), "body"],
      ["not quoted, other length", answer("old", "a", date), answer("longer", "a", date), "body"],
    ])(
      "compares more than the ETag unless it is strong: %s",
      async ([, first, then, is], { origin, client }) => {
        const source = new HttpSource(client, origin.route("/file", first, then), {});
        const opened = await source.open("", never());
        await bytesOf(opened);
        const again = await source.open(opened.entry.version, never());
        expect(again.is).toBe(is);
        if (again.is === "body") await bytesOf(again);
      },
    );
  });

  it.for(['W/"same"', 'W/"a;mb;c"'])(
    "believes in a 304 for the weak ETag %s, which it sends alone",
    async (etag, { origin, client }) => {
      const file = does.file("content", { etag, lastModified: new Date(MODIFIED) });
      const source = new HttpSource(client, origin.route("/file", file), {});
      const opened = await source.open("", never());
      await bytesOf(opened);
      const again = await source.open(opened.entry.version, never());
      expect(again).toMatchObject({ is: "unchanged", entry: { version: opened.entry.version } });
      expect(origin.requests[1]?.headers["if-none-match"]).toBe(etag);
    },
  );

  it("does not believe in a 304 that it did not ask for", async ({ origin, client }) => {
    const url = origin.route("/file", does.status(304, { etag: '"a"' }, ""));
    await expect(new HttpSource(client, url, {}).open("", never())).rejects.toMatchObject({ class: "http" });
  });

  it("does not take a part for the whole", async ({ origin, client }) => {
    const range = { "content-range": "bytes 0-3/7", "content-length": "4" };
    const url = origin.route("/file", does.status(206, range, "cont"));
    await expect(new HttpSource(client, url, {}).open("", never())).rejects.toBeInstanceOf(TransferError);
  });

  it.for([
    { "content-range": "bytes 4-6/7" },
    { "content-range": "bytes 2-6/*", etag: '"other"' },
    { "content-range": "bytes 2-6/9" },
    { "content-range": "nonsense" },
    {},
  ])("refuses a part that is not what was asked for: %j", async (headers, { origin, client }) => {
    const good = does.file("content", { etag: '"a"' });
    const url = origin.route(
      "/file",
      good,
      does.status(206, { etag: '"a"', ...headers } as does.Headers, "ntent"),
    );
    const source = new HttpSource(client, url, {});
    const first = await source.open("", never());
    await bytesOf(first);
    const part = source.openRange(first.entry, rangeOf(2), never());
    await expect(part).rejects.toBeInstanceOf(TransferError);
  });

  it("is stopped by its signal: before it asks, while it waits, and in the middle of the body", async ({
    origin,
    client,
  }) => {
    const gate = new Gate();
    const reason = new TransferError("locked", "stop");
    const silent = new HttpSource(client, origin.route("/silent", does.gated(gate, does.file("x"))), {});
    await expect(silent.open("", AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(origin.requests).toEqual([]);
    const waiting = new AbortController();
    const opening = silent.open("", waiting.signal);
    await gate.reached;
    waiting.abort(reason);
    await expect(opening).rejects.toBe(reason);
    gate.open();
    const half = new Gate();
    const content = pattern(1_000_000);
    const source = new HttpSource(client, origin.route("/half", does.pausedAt(content, 500_000, half)), {});
    const middle = new AbortController();
    const opened = await body(await source.open("", middle.signal));
    const reading = (async () => {
      while (await opened.body.read());
    })();
    await half.reached;
    middle.abort(reason);
    await expect(reading).rejects.toBe(reason);
    half.open();
  });

  it("sends the user of the URL as a login and never in the path", async ({ origin, client }) => {
    origin.route("/file", does.file("content"));
    const source = new HttpSource(client, `http://us%40er:pa%3Ass@${origin.host}/file`, {});
    await bytesOf(await source.open("", never()));
    const login = Buffer.from("us@er:pa:ss").toString("base64");
    expect(origin.requests[0]?.headers.authorization).toBe(`Basic ${login}`);
  });

  it("refuses what it cannot ask for", async ({ client }) => {
    for (const url of ["ftp://host/x", "file:///etc/passwd", "nonsense"]) {
      await expect(new HttpSource(client, url, {}).open("", never())).rejects.toMatchObject({
        class: "unsupported",
      });
    }
  });
});

describe("LocalSource besides", () => {
  const it = base.extend<{ directory: string }>({
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    directory: async ({}, use) => {
      const directory = mkdtempSync(join(tmpdir(), "drover-source-"));
      await use(directory);
      rmSync(directory, { recursive: true, force: true });
    },
  });

  it("reads what a link leads to", async ({ directory }) => {
    writeFileSync(join(directory, "file"), "content");
    symlinkSync("file", join(directory, "link"));
    const opened = await new LocalSource(join(directory, "link")).open("");
    expect(String(await bytesOf(opened))).toBe("content");
  });

  it("knows the permissions of a file", async ({ directory }) => {
    writeFileSync(join(directory, "file"), "content");
    chmodSync(join(directory, "file"), 0o640);
    const opened = await new LocalSource(join(directory, "file")).open("");
    expect(opened.entry.mode).toBe(0o640);
    await bytesOf(opened);
  });

  it("refuses what is no file, and does not hang on a pipe", async ({ directory }) => {
    mkdirSync(join(directory, "sub"));
    execFileSync("mkfifo", [join(directory, "pipe")]);
    symlinkSync("nothing", join(directory, "dangling"));
    const classOf = (name: string) =>
      new LocalSource(join(directory, name)).open("").then(
        () => "opened",
        (error) => (error as TransferError).class,
      );
    expect(await classOf("sub")).toBe("unsupported");
    expect(await classOf("pipe")).toBe("unsupported");
    expect(await classOf("dangling")).toBe("not-found");
    expect(await classOf("sub/none")).toBe("not-found");
  });

  // The stat of such a file says 0 bytes, whatever is in it.
  it.skipIf(process.platform !== "linux")("reads a file of unknown size to its end", async () => {
    const source = new LocalSource("/proc/filesystems");
    const opened = await body(await source.open(""));
    // Nothing about it shows whether its content is another one by now.
    expect(opened.entry).toMatchObject({ sizeBytes: undefined, version: "", strongEtag: "" });
    expect(opened.path).toBeUndefined();
    const content = await bytesOf(opened);
    expect(content.length).toBeGreaterThan(0);
    expect(content.equals(readFileSync("/proc/filesystems"))).toBe(true);
    const range = source.openRange(opened.entry, rangeOf(1));
    await expect(range).rejects.toMatchObject({ class: "changed" });
  });

  it.for([1_000, 3_000_000])(
    "says so when a file of %i bytes changed while it was read",
    async (size, { directory }) => {
      const path = join(directory, "file");
      for (const change of ["rewritten", "appended", "cut", "replaced"]) {
        writeFileSync(path, Buffer.alloc(size, "a"));
        const opened = await body(await new LocalSource(path).open(""));
        if (change === "rewritten") writeFileSync(path, Buffer.alloc(size, "b"));
        if (change === "appended") writeFileSync(path, "more", { flag: "a" });
        if (change === "cut") writeFileSync(path, "less");
        if (change !== "replaced") {
          await expect(bytesOf(opened), change).rejects.toMatchObject({ class: "changed" });
          continue;
        }
        // The file that was opened is another one than the file that is there now: it is read whole, or said to be.
        rmSync(path);
        writeFileSync(path, "other");
        const found = await bytesOf(opened).catch((error) => error);
        if (Buffer.isBuffer(found)) expect(found.equals(Buffer.alloc(size, "a"))).toBe(true);
        else expect(found).toMatchObject({ class: "changed" });
      }
    },
  );
});

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { shortHash } from "@drover/shared/ids";
import { Flights, flightHash } from "@drover/shared/protocol/flights";
import type { RunSpec } from "@drover/shared/run";
import { StoppingError } from "@drover/worker/attempt/stopping";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { Gate, until } from "../../harness/gate.js";
import { type FileWorker, it } from "../helpers/file-worker.js";
import { FAR_PROCESS } from "../helpers/fleet.js";

const MIB = 1 << 20;
const SIZE = 12 * MIB + 77;
const ONE = pattern(SIZE, 1);
const TWO = pattern(SIZE, 2);

const leaseKey = (fileWorker: FileWorker, name: string) =>
  fileWorker.member.keys.lease(shortHash(fileWorker.context.tree.path(name)));

async function expire(fileWorker: FileWorker, name: string): Promise<void> {
  await fileWorker.member.redis.hset(leaseKey(fileWorker, name), "e", "1");
}

/** Waits until a successor could continue: the staging is recorded in Redis. */
async function noted(fileWorker: FileWorker, name: string): Promise<void> {
  const { redis } = fileWorker.member;
  await until("a note of the part", async () => (await redis.hget(leaseKey(fileWorker, name), "m")) !== null);
}

const ranges = (requests: readonly { headers: { range?: string | undefined } }[]) =>
  requests.map((request) => request.headers.range);

describe("a partial download", () => {
  it("is resumed under the same version", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.cutAt(ONE, 5 * MIB, "reset"), does.file(ONE));
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    expect(space.staged()).toHaveLength(1);
    expect(existsSync(space.to("file"))).toBe(false);
    expect(await fileWorker.through("file", url)).toMatchObject({ outcome: "copied", checksum: sha256(ONE) });
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
    expect(space.files()).toEqual(["file"]);
    const [first, second] = origin.requests;
    expect(first?.headers.range).toBeUndefined();
    expect(second?.headers["if-range"]).toBe(does.etagOf(ONE));
    const from = Number(/^bytes=(\d+)-$/.exec(second?.headers.range ?? "")?.[1]);
    expect(from).toBeGreaterThanOrEqual(MIB);
    expect(from).toBeLessThanOrEqual(5 * MIB);
  });

  it("is resumed again and again", async ({ fileWorker, origin, space }) => {
    const cut =
      (at: number): ReturnType<typeof does.file> =>
      (exchange) => {
        const whole = does.file(ONE);
        const { response, request } = exchange;
        const write = response.write.bind(response);
        let sent = 0;
        response.write = ((data: Buffer) => {
          sent += data.length;
          if (sent <= at) return write(data);
          setImmediate(() => request.socket.destroySoon());
          return true;
        }) as typeof response.write;
        return whole(exchange);
      };
    const url = origin.route("/file", cut(3 * MIB), cut(3 * MIB), cut(3 * MIB), does.file(ONE));
    expect((await fileWorker.through("file", url)).checksum).toBe(sha256(ONE));
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
    const starts = ranges(origin.requests).map((range) => Number(/\d+/.exec(range ?? "0")?.[0]));
    expect(starts).toEqual([...starts].sort((a, b) => a - b));
    expect(new Set(starts).size).toBe(starts.length);
  });

  it.for<[string, ReturnType<typeof does.file>]>([
    ["was replaced (the server sends the whole)", does.file(TWO)],
    [
      "was replaced and the server knows no If-Range",
      (exchange) => {
        delete exchange.request.headers["if-range"];
        return does.file(TWO)(exchange);
      },
    ],
    [
      "is shorter now (416)",
      (exchange) => {
        delete exchange.request.headers["if-range"];
        return does.file(pattern(2 * MIB, 2))(exchange);
      },
    ],
    [
      "is longer now, under another ETag",
      (exchange) => {
        delete exchange.request.headers["if-range"];
        return does.file(pattern(SIZE + MIB, 2))(exchange);
      },
    ],
    ["comes from a server that ignores ranges now", does.file(TWO, { ranges: false })],
  ])("is not mixed with another version: the file %s", async ([, after], { fileWorker, origin, space }) => {
    const url = origin.route("/file", does.cutAt(ONE, 5 * MIB, "reset"), after);
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    const outcome = await fileWorker.through("file", url);
    expect(outcome.outcome).toBe("copied");
    const found = await sha256OfFile(space.to("file"));
    expect(found).toBe(outcome.checksum);
    expect([sha256(TWO), sha256(pattern(2 * MIB, 2)), sha256(pattern(SIZE + MIB, 2))]).toContain(found);
    expect(space.files()).toEqual(["file"]);
  });

  it("is not continued with a range from elsewhere", async ({ fileWorker, origin, space }) => {
    const url = origin.route(
      "/file",
      does.cutAt(ONE, 5 * MIB, "reset"),
      does.wrongContentRange(ONE),
      does.file(ONE),
    );
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    expect((await fileWorker.through("file", url)).checksum).toBe(sha256(ONE));
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
  });

  it("starts again at once if its range is refused with 403", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.cutAt(ONE, 5 * MIB, "reset"), does.status(403), does.file(ONE));
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    expect(await fileWorker.once("file", url)).toMatchObject({
      is: "settled",
      outcome: { outcome: "copied" },
    });
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
    expect(ranges(origin.requests)).toEqual([undefined, expect.stringMatching(/^bytes=\d+-$/), undefined]);
  });

  it("starts again in the last attempt if the server keeps failing on its range", async ({
    fileWorker,
    origin,
  }) => {
    const failsOverRanges: ReturnType<typeof does.file> = (exchange) =>
      (exchange.request.headers.range ? does.status(500) : does.file(ONE))(exchange);
    const url = origin.route("/file", does.cutAt(ONE, 5 * MIB, "reset"), failsOverRanges);
    expect(await fileWorker.through("file", url)).toMatchObject({ outcome: "copied", checksum: sha256(ONE) });
    const asked = ranges(origin.requests);
    expect(asked.slice(1, -1)).not.toContain(undefined);
    expect(asked.at(-1)).toBeUndefined();
  });

  it.for<[string, does.FileOptions, { resume?: boolean }, number]>([
    ["without a strong ETag", { etag: null }, {}, 5 * MIB],
    ["with a weak ETag", { etag: 'W/"x"' }, {}, 5 * MIB],
    ["where that is not wanted", {}, { resume: false }, 5 * MIB],
    ["of next to nothing", {}, {}, 1_000],
  ])("%s is not kept", async ([, options, terms, at], { make, origin, space }) => {
    const fileWorker = await make(terms);
    const url = origin.route("/file", does.cutAt(ONE, at, "reset", options), does.file(ONE, options));
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry" });
    expect(space.staged()).toEqual([]);
    expect((await fileWorker.through("file", url)).checksum).toBe(sha256(ONE));
    expect(ranges(origin.requests)).toEqual([undefined, undefined]);
  });

  it("of a file that failed permanently is not left behind", async ({ make, origin, space }) => {
    const first = await make({ retries: 2 });
    const url = origin.route("/file", ...does.times(2, does.cutAt(ONE, 5 * MIB, "reset")), does.file(ONE));
    expect((await first.through("file", url)).outcome).toBe("failed");
    expect(space.files()).toEqual([]);
    expect((await (await make()).through("file", url)).checksum).toBe(sha256(ONE));
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
    expect(space.files()).toEqual(["file"]);
  });

  it("with all bytes is not requested beyond its end", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.file(ONE));
    // The process stops when everything is staged and nothing is published.
    await fileWorker.add("file", url);
    const stopped = await fileWorker.other({
      wrap: (source) => ({
        openRange: (...args) => source.openRange(...args),
        open: async (...args) => {
          const opened = await source.open(...args);
          if (opened.is === "body") {
            opened.confirm = () => {
              throw new StoppingError("after the last byte");
            };
          }
          return opened;
        },
      }),
    });
    const second = await fileWorker.other();
    expect(await stopped.once("file", url)).toEqual({ is: "returned" });
    expect(space.staged()).toHaveLength(1);
    expect((await second.through("file", url)).checksum).toBe(sha256(ONE));
    expect(origin.requests.map((request) => request.headers.range)).not.toContain(`bytes=${SIZE}-`);
    expect(space.files()).toEqual(["file"]);
  });
});

describe("a process that stops", () => {
  it("keeps the staged bytes and returns the file, and another process continues at once", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const gate = new Gate();
    const url = origin.route("/file", does.pausedAt(ONE, 6 * MIB, gate), does.file(ONE));
    const carrying = fileWorker.once("file", url);
    await until("some of the file", () =>
      space.staged().some((name) => statSync(space.to(name)).size >= 2 * MIB),
    );
    fileWorker.context.leases.abortAll(new StoppingError("stopping"));
    expect(await carrying).toEqual({ is: "returned" });
    gate.open();
    expect(space.staged()).toHaveLength(1);
    expect(await fileWorker.counts()).toMatchObject({ settled: 0 });

    const other = await fileWorker.other();
    expect((await other.through("file", url)).checksum).toBe(sha256(ONE));
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
    expect(origin.requests[1]?.headers.range).toMatch(/^bytes=\d+-$/);
    expect(space.files()).toEqual(["file"]);
  });
});

describe("a worker whose lease was taken over", () => {
  /** One worker is suspended in the middle of a file; its lease expires. */
  async function hanging(
    fileWorker: FileWorker,
    origin: { route: (path: string, ...b: ReturnType<typeof does.file>[]) => string },
  ) {
    const gate = new Gate();
    const url = origin.route("/file", does.pausedAt(ONE, 10 * MIB, gate), does.file(ONE));
    const carrying = fileWorker.once("file", url);
    await noted(fileWorker, "file");
    await expire(fileWorker, "file");
    return { gate, url, carrying };
  }

  it("publishes nothing: its successor continues with a copy of its staging and removes the staging", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const { gate, url, carrying } = await hanging(fileWorker, origin);
    const [stagedBefore] = space.staged();
    const successor = await fileWorker.other();
    const outcome = await successor.through("file", url);
    expect(outcome).toMatchObject({ outcome: "copied", checksum: sha256(ONE) });
    expect(origin.requests[1]?.headers.range).toMatch(/^bytes=\d+-$/);
    expect(existsSync(space.to(stagedBefore as string))).toBe(false);
    const inode = statSync(space.to("file")).ino;
    gate.open();
    // Its flight is over: it finds nothing to report, or that it lost the lease.
    const late = await carrying;
    expect(["done", "retry"]).toContain(late.is);
    if (late.is === "retry") expect(late.error.class).toBe("locked");
    expect(statSync(space.to("file")).ino).toBe(inode);
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
    expect(space.files()).toEqual(["file"]);
    expect(await fileWorker.counts()).toMatchObject({ files: 1, settled: 1, copied: 1 });
  });

  it("learns of it with its next renewal, and stops its work", async ({ fileWorker, origin, space }) => {
    const gate = new Gate();
    let hung = 0;
    const url = origin.route("/file", (exchange) => {
      hung++;
      return does.pausedAt(ONE, 10 * MIB, gate)(exchange);
    });
    const carrying = fileWorker.once("file", url);
    await until(
      "the lease",
      async () => (await fileWorker.member.redis.exists(leaseKey(fileWorker, "file"))) === 1,
    );
    // Another worker has the lease now, before the staging is first recorded.
    await fileWorker.member.redis.hset(leaseKey(fileWorker, "file"), { f: "9007199254740000", d: "other:1" });
    const late = await carrying;
    expect(late).toMatchObject({ is: "retry", error: { class: "locked" } });
    expect(hung).toBe(1);
    gate.open();
    expect(existsSync(space.to("file"))).toBe(false);
    expect(await fileWorker.member.redis.hget(leaseKey(fileWorker, "file"), "d")).toBe("other:1");
  });

  it("cannot rename its staging once its successor has started, even at the last moment", async ({
    fileWorker,
    origin,
    space,
  }) => {
    // The stale worker is suspended between its last check of the lease and its rename. The test performs the
    // rename in its stead.
    const { gate, url, carrying } = await hanging(fileWorker, origin);
    const [staged] = space.staged();
    const second = new Gate();
    origin.route("/file", does.gated(second, does.file(ONE)));
    const successor = await fileWorker.other();
    const succeeding = successor.through("file", url);
    await second.reached;
    expect(() => renameSync(space.to(staged as string), space.to("file"))).toThrow(/ENOENT/);
    second.open();
    expect((await succeeding).outcome).toBe("copied");
    gate.open();
    await carrying;
    expect(await sha256OfFile(space.to("file"))).toBe(sha256(ONE));
  });

  it("cannot rename its staging either if its successor found the file with the given checksum", async ({
    fileWorker,
    origin,
    space,
    make,
  }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("file"), "wanted");
    const { gate, carrying } = await hanging(fileWorker, origin);
    const [staged] = space.staged();
    const successor = await make({ owner: FAR_PROCESS });
    const outcome = await successor.through("file", origin.url("/other"), { sha256: sha256("wanted") });
    expect(outcome.outcome).toBe("unchanged");
    expect(existsSync(space.to(staged as string)), "the predecessor's staging").toBe(false);
    gate.open();
    await carrying;
    expect(space.read("file")).toBe("wanted");
  });

  it("stays recorded for later successors if its successor could not open the directory", async ({
    fileWorker,
    origin,
    space,
    make,
  }) => {
    const gate = new Gate();
    const url = origin.route("/file", does.pausedAt(ONE, 10 * MIB, gate), does.file(ONE));
    const carrying = fileWorker.once("dir/file", url);
    await noted(fileWorker, "dir/file");
    const [staged] = space.staged();
    await expire(fileWorker, "dir/file");
    renameSync(space.to("dir"), space.to("aside"));
    writeFileSync(space.to("dir"), "a file in the way");
    const second = await make({ owner: FAR_PROCESS });
    expect((await second.through("dir/file", url)).outcome).toBe("failed");
    renameSync(space.to("dir"), space.to("dir.old"));
    renameSync(space.to("aside"), space.to("dir"));
    const third = await make({ owner: FAR_PROCESS });
    expect((await third.through("dir/file", url)).outcome).toBe("copied");
    expect(existsSync(space.to(staged as string)), "the first one's staging").toBe(false);
    gate.open();
    await carrying;
  });
});

describe("the destination", () => {
  it("that is a directory is refused permanently, before the fetch or after it", async ({
    fileWorker,
    origin,
    space,
  }) => {
    mkdirSync(space.to("file/inside"), { recursive: true });
    const url = origin.route("/file", does.file("text"));
    const outcome = await fileWorker.through("file", url);
    expect(outcome).toMatchObject({ outcome: "failed", attempts: 1, error: { class: "path" } });
    expect(readdirSync(space.to("file"))).toEqual(["inside"]);
    expect(space.files()).toEqual([]);
  });

  it("below a file is refused permanently", async ({ fileWorker, origin, space }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.to("a"), "a file");
    const outcome = await fileWorker.through("a/b", origin.route("/file", does.file("text")));
    expect(outcome).toMatchObject({ outcome: "failed", attempts: 1, error: { class: "path" } });
    expect(space.read("a")).toBe("a file");
  });

  it("that is a link is replaced, never followed", async ({ fileWorker, origin, space }) => {
    mkdirSync(space.root, { recursive: true });
    writeFileSync(space.at("victim"), "precious");
    symlinkSync(space.at("victim"), space.to("file"));
    const outcome = await fileWorker.through("file", origin.route("/file", does.file("text")));
    if (outcome.outcome === "copied") expect(space.read("file")).toBe("text");
    else expect(outcome.error?.class).toBe("path");
    expect(readdirSync(space.path).sort()).toEqual(["root", "victim"]);
    expect(await sha256OfFile(space.at("victim"))).toBe(sha256("precious"));
  });

  it("whose root becomes a link between two files is refused permanently", async ({
    fileWorker,
    origin,
    space,
  }) => {
    const url = origin.route("/file", does.file("text"));
    expect(await fileWorker.through("a/one", url)).toMatchObject({ outcome: "copied" });
    mkdirSync(space.at("victim"));
    writeFileSync(space.at("victim/there"), "wanted");
    renameSync(space.root, space.at("aside"));
    symlinkSync(space.at("victim"), space.root);
    const refused = { outcome: "failed", attempts: 1, error: { class: "path" } };
    expect(await fileWorker.through("b/two", url)).toMatchObject(refused);
    expect(await fileWorker.through("there", url, { sha256: sha256("wanted") })).toMatchObject(refused);
    // Its directory was open already: it is found out when the file is published.
    expect(await fileWorker.through("a/three", url)).toMatchObject({ ...refused, attempts: 2 });
    expect(readdirSync(space.at("victim"))).toEqual(["there"]);
    expect(readdirSync(space.at("aside/a"))).toEqual(["one"]);
  });

  it("whose parent is a link out of the tree is refused", async ({ fileWorker, origin, space }) => {
    mkdirSync(space.root, { recursive: true });
    mkdirSync(space.at("elsewhere"));
    symlinkSync(space.at("elsewhere"), space.to("dir"));
    const outcome = await fileWorker.through("dir/file", origin.route("/file", does.file("text")));
    expect(outcome).toMatchObject({ outcome: "failed", attempts: 1, error: { class: "path" } });
    expect(readdirSync(space.at("elsewhere"))).toEqual([]);
  });

  it.for([10, 600_000])(
    "whose parent is swapped for a link while its %i bytes arrive never leads out of the tree",
    async (size, { fileWorker, origin, space }) => {
      const gate = new Gate();
      const content = pattern(size);
      const url = origin.route(
        "/file",
        does.pausedAt(content, Math.floor(size / 2), gate),
        does.file(content),
      );
      mkdirSync(space.at("elsewhere"));
      mkdirSync(space.to("dir/sub"), { recursive: true });
      const carrying = fileWorker.once("dir/sub/file", url);
      await gate.reached;
      renameSync(space.to("dir"), space.to("aside"));
      symlinkSync(space.at("elsewhere"), space.to("dir"));
      gate.open();
      const result = await carrying;
      expect(result.is === "settled" ? result.outcome.outcome : result.is).not.toBe("copied");
      expect(readdirSync(space.at("elsewhere"), { recursive: true })).toEqual([]);
      // The directory that was moved aside has no staging either.
      expect(space.staged()).toEqual([]);
    },
  );

  it("may have a name of 255 bytes, in any script", async ({ fileWorker, origin, space }) => {
    const url = origin.route("/file", does.file("text"));
    for (const name of ["a".repeat(255), `${"ü".repeat(127)}x`, "😀".repeat(63)]) {
      expect((await fileWorker.through(name, url)).outcome).toBe("copied");
      expect(space.read(name)).toBe("text");
    }
  });
});

describe("a local source", () => {
  it("that grows while it is read is not published in a mixed state", async ({ make, space }) => {
    const source = space.at("source");
    writeFileSync(source, Buffer.alloc(3 * MIB, "a"));
    let touched = false;
    const fileWorker = await make({
      wrap: (inner) => ({
        openRange: (...args) => inner.openRange(...args),
        open: async (...args) => {
          const opened = await inner.open(...args);
          if (opened.is !== "body" || touched) return opened;
          const { body } = opened;
          const read = body.read.bind(body);
          body.read = async () => {
            const chunks = await read();
            if (!touched) writeFileSync(source, Buffer.alloc(3 * MIB, "b"));
            touched = true;
            return chunks;
          };
          return opened;
        },
      }),
    });
    expect(await fileWorker.once("file", source)).toMatchObject({ is: "retry", error: { class: "changed" } });
    expect(space.files()).toEqual([]);
    expect((await fileWorker.through("file", source)).checksum).toBe(sha256(Buffer.alloc(3 * MIB, "b")));
  });

  it.skipIf(process.platform !== "linux")(
    "of unknown size, whose stat says 0 bytes, is carried whole",
    async ({ fileWorker, space }) => {
      const content = readFileSync("/proc/filesystems");
      const end = await fileWorker.through("file", "/proc/filesystems");
      expect(end).toMatchObject({ outcome: "copied", checksum: sha256(content) });
      expect(readFileSync(space.to("file")).equals(content)).toBe(true);
    },
  );

  it("that cannot be read fails permanently", async ({ fileWorker, space }) => {
    expect(await fileWorker.through("file", space.at("none"))).toMatchObject({
      outcome: "failed",
      attempts: 1,
      error: { class: "not-found" },
    });
    expect(space.files()).toEqual([]);
  });
});

describe("a file that crashes its workers", () => {
  it("ends as poison in a fleet, after eight of them", async ({ fileWorker, origin }) => {
    const spec = { fleet: true, ownFlights: true } as RunSpec;
    fileWorker.context.flights = new Flights(fileWorker.runId, spec);
    const gate = new Gate();
    const url = origin.route("/file", does.gated(gate, does.file("content")));
    await fileWorker.add("file", url);
    const flight = fileWorker.member.keys.flight(flightHash(fileWorker.runId, url, "file", 0));
    await fileWorker.member.redis.set(flight, `${fileWorker.runId}:0`); // as for a fleet's run
    for (let nth = 1; nth <= 8; nth++) {
      const dead = fileWorker.once("file", url);
      dead.catch(() => {});
      await origin.waitFor(nth, "/file");
      await expire(fileWorker, "file");
    }
    const last = await fileWorker.once("file", url);
    if (last.is !== "settled") throw new Error(last.is);
    expect(last.outcome).toMatchObject({ outcome: "failed", error: { class: "poison" } });
    expect(origin.requestsTo("/file")).toHaveLength(8);
    gate.open();
  });
});

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { type Content, pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { filesBelow, leftovers } from "../../harness/drover.js";
import type { Behaviour } from "../../harness/fault-origin.js";
import { it, type Work } from "../../harness/fixtures.js";

/** Many small files in directories of 1,000, and the list that names them. */
function manyFiles(work: Work, count: number): string {
  const lines: string[] = [];
  for (let i = 0; i < count; i++) {
    const directory = `in/${Math.floor(i / 1000)}`;
    if (i % 1000 === 0) mkdirSync(work.at(directory), { recursive: true });
    writeFileSync(work.at(directory, `${i}.txt`), `${i}`);
    lines.push(`${work.at(directory, `${i}.txt`)}\t${directory}/${i}.txt`);
  }
  return work.write({ list: `${lines.join("\n")}\n` });
}

/** Answers a range with the whole file. */
function withoutRange(then: Behaviour): Behaviour {
  return (exchange) => {
    for (const name of ["range", "if-match"]) delete exchange.request.headers[name];
    return then(exchange);
  };
}

/** Answers a range request with a shorter range, correctly declared. */
function lessThanAsked(body: Content): Behaviour {
  return (exchange) => {
    const { headers } = exchange.request;
    headers.range = headers.range?.replace(/-(\d+)$/, (_, end) => `-${Number(end) - 1000}`);
    return does.file(body)(exchange);
  };
}

const GIB = 1024 ** 3;

/** Directory for 5 GiB: in memory if there is plenty, else on a disk with enough space. */
const roomy = ["/dev/shm", tmpdir()].find((directory) => {
  if (!existsSync(directory) || (directory === "/dev/shm" && freemem() < 12 * GIB)) return false;
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize > 8 * GIB;
});

describe("memory does not grow", () => {
  it("with the length of a list", { timeout: 180_000 }, async ({ box, work }) => {
    const count = 36_000; // a third of it covers the threads that large runs start
    const list = manyFiles(work, count);
    const short = work.write({
      short: readFileSync(list, "utf8")
        .split("\n")
        .slice(0, count / 3)
        .join("\n"),
    });
    const sync = async (from: string) => {
      const command = ["sync", "--from-file", from, ...work.into, "--durability", "rename"];
      // A small heap, so that uncollected memory does not look like growth.
      const env = { NODE_OPTIONS: "--max-old-space-size=64 --max-semi-space-size=2" };
      const result = await box.run(command, { timeoutMs: 150_000, env });
      expect(result.stdout).toMatch(/^(\d+)\/\1 successful$/m);
      return result.peakMiB ?? 0;
    };
    const few = await sync(short);
    const copied = await sync(list);
    const unchanged = await sync(list);
    expect(filesBelow(work.out)).toHaveLength(count);
    expect(copied - few).toBeLessThan(40);
    expect(unchanged - few).toBeLessThan(40);
  });

  it("with a list that repeats one source", async ({ box, work }) => {
    const path = work.write({ "a.txt": "a" });
    const input = `${path}\n`.repeat(200_000);
    const { code, stdout, peakMiB } = await box.run(["sync", "--from-file", "-", ...work.into], { input });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^1\/1 successful$/m);
    if (peakMiB !== undefined) expect(peakMiB).toBeLessThan(400);
  });

  it("with the size of a file, whatever its checks", async ({ box, origin, work }) => {
    const content = pattern(400 * 1024 * 1024);
    const sum = sha256(content);
    const url = origin.route("/big.bin", does.file(content, { headers: does.digests.repr(content) }));
    const options = [...work.into, "--durability", "rename", "--json", "--checksum", `${url}=${sum}`];
    const { code, peakMiB } = await box.run(["sync", url, ...options]);
    expect(code).toBe(0);
    expect(await sha256OfFile(work.to("big.bin"))).toBe(sum);
    if (peakMiB !== undefined) expect(peakMiB).toBeLessThan(400);
  });
});

describe("large files", () => {
  it("arrive in segments, each on the condition of the same version", async ({ box, origin, work }) => {
    const content = pattern(80 * 1024 * 1024 + 12_345);
    const url = origin.route("/big.bin", does.file(content));
    const { items, code } = await box.sync([url, ...work.into]);
    expect(code).toBe(0);
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256(content), bytes: content.size });
    expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
    const ranged = origin.requests.filter(({ headers }) => headers.range !== undefined);
    expect(ranged.length).toBeGreaterThan(1);
    for (const { headers } of ranged.slice(1)) expect(headers["if-match"]).toBe(does.etagOf(content));
  });

  it("arrive in one stream from a server without ranges", async ({ box, origin, work }) => {
    const content = pattern(80 * 1024 * 1024);
    const url = origin.route("/big.bin", does.file(content, { ranges: false }));
    const { code } = await box.sync([url, ...work.into]);
    expect(code).toBe(0);
    expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
  });

  const content = pattern(66 * 1024 * 1024);
  const served = does.file(content);
  const rangesAnswered: { name: string; behaviour: Behaviour }[] = [
    { name: "with the whole file", behaviour: withoutRange(served) },
    { name: "with another part than was asked for", behaviour: does.wrongContentRange(content) },
    { name: "with less than was asked for", behaviour: lessThanAsked(content) },
    { name: "with 403", behaviour: does.status(403) },
    { name: "with 400", behaviour: does.status(400) },
    { name: "with 503", behaviour: does.status(503) },
    { name: "by closing the connection", behaviour: does.reset },
  ];
  it.for(rangesAnswered)(
    "arrive in one stream from a server that announces ranges and answers them $name",
    async ({ behaviour }, { box, origin, work }) => {
      const url = origin.route("/big.bin", (exchange) =>
        (exchange.request.headers.range === undefined ? served : behaviour)(exchange),
      );
      const { code, items } = await box.sync([url, ...work.into, "--retries", "2"]);
      expect(code, JSON.stringify(items)).toBe(0);
      expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
      expect(leftovers(work.out)).toEqual([]);
    },
  );

  it("arrive in one stream from a server that takes one request at a time", async ({ box, origin, work }) => {
    let busy = 0;
    const url = origin.route("/big.bin", async (exchange) => {
      if (busy > 0) return does.status(429)(exchange);
      busy++;
      exchange.response.once("close", () => busy--);
      await served(exchange);
    });
    const { code, items } = await box.sync([url, ...work.into]);
    expect(code, JSON.stringify(items)).toBe(0);
    expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
  });

  it("arrive in one stream if the segments do not match the file's digest", async ({ box, origin, work }) => {
    const headers = does.digests.repr(content);
    const whole = does.file(content, { headers });
    const parts = does.file(pattern(content.size, 2), { etag: does.etagOf(content) });
    const url = origin.route("/big.bin", (exchange) =>
      (exchange.request.headers.range === undefined ? whole : parts)(exchange),
    );
    const { code, items } = await box.sync([url, ...work.into, "--retries", "2"]);
    expect(code, JSON.stringify(items)).toBe(0);
    expect(items[0]).toMatchObject({ verified_by: "repr-digest", attempts: 2 });
    expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
  });

  it("arrive in one stream from servers with an ETag each", async ({ box, origin, work }) => {
    const url = origin.route("/big.bin", (exchange) =>
      does.file(content, { etag: `"server-${exchange.nth}"` })(exchange),
    );
    const { code, items } = await box.sync([url, ...work.into, "--retries", "2"]);
    expect(code, JSON.stringify(items)).toBe(0);
    expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
  });

  it("arrive even if segments fail now and then", async ({ box, origin, work }) => {
    const content = pattern(80 * 1024 * 1024);
    const whole = does.file(content);
    const url = origin.route("/big.bin", (exchange) =>
      exchange.nth === 2 || exchange.nth === 4 ? does.reset(exchange) : whole(exchange),
    );
    const { code, items } = await box.sync([url, ...work.into, "--backoff-factor", "1"]);
    expect(code, JSON.stringify(items)).toBe(0);
    expect(await sha256OfFile(work.to("big.bin"))).toBe(sha256(content));
  });

  it.skipIf(roomy === undefined)("of 5 GiB arrive intact", { timeout: 180_000 }, async ({ box, origin }) => {
    const content = pattern(5 * GIB, 5);
    const url = origin.route("/huge.bin", does.file(content));
    const out = mkdtempSync(join(roomy ?? "", "dv-huge-"));
    const options = ["--artifact-root", out, "--script-name", "", "--durability", "rename"];
    try {
      const { code, items, peakMiB } = await box.sync([url, ...options], { timeoutMs: 150_000 });
      expect(code).toBe(0);
      expect(items[0]?.bytes).toBe(5 * GIB);
      expect(items[0]?.checksum).toBe(sha256(content));
      expect(await sha256OfFile(join(out, "huge.bin"))).toBe(items[0]?.checksum);
      if (peakMiB !== undefined) expect(peakMiB).toBeLessThan(500);
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  });
});

import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { test as base, describe, expect } from "vitest";
import { toBuffer } from "../harness/content.js";
import { VersionedFile } from "./versioned-content.js";
import { type Answered, planFiles, VersionedOrigin } from "./versioned-origin.js";

interface Fixtures {
  path: string;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  path: async ({}, use) => {
    const directory = mkdtempSync("/tmp/dvv-");
    await use(join(directory, "file"));
    rmSync(directory, { recursive: true });
  },
});

const file = new VersionedFile(1, "d/a", 600_001);
const v3 = toBuffer(file.content(3));
const v4 = toBuffer(file.content(4));

interface Got {
  code: number;
  etag: string | undefined;
  body: Buffer;
}

/** A GET as it comes; undefined where the connection broke. */
function get(url: string, headers: Record<string, string> = {}): Promise<Got | undefined> {
  return new Promise((resolve) => {
    const asked = request(url, { headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", () => {});
      response.on("close", () => {
        const { statusCode: code = 0, headers, complete } = response;
        resolve(complete ? { code, etag: headers.etag, body: Buffer.concat(parts) } : undefined);
      });
    });
    asked.on("error", () => resolve(undefined)).end();
  });
}

describe("a versioned file", () => {
  it("is told by any reader", async ({ path }) => {
    expect(await file.read(path)).toEqual({ is: "absent" });
    for (const [version, bytes] of [
      [3, v3],
      [4, v4],
    ] as const) {
      writeFileSync(path, bytes);
      expect(await file.read(path)).toEqual({ is: "whole", version });
    }
    const empty = new VersionedFile(1, "empty", 0);
    writeFileSync(path, "");
    expect(await empty.read(path)).toEqual({ is: "whole", version: "any" });
    expect(await file.read(path)).toMatchObject({ is: "broken", why: "0 bytes: nothing" });
  });

  it("that is a part, a mixture, another file or garbage is not whole", async ({ path }) => {
    const judged = async (bytes: Buffer) => {
      writeFileSync(path, bytes);
      const reading = await file.read(path);
      return reading.is === "broken" ? reading.why : reading.is;
    };
    const half = v3.length >> 1;
    expect(await judged(v3.subarray(0, half))).toContain(`${half} bytes: version 3 from byte 0, which has`);
    expect(await judged(v3.subarray(0, v3.length - 1))).toContain("version 3 from byte 0, which has");
    expect(await judged(Buffer.concat([v3, Buffer.from("x")]))).toContain("garbage");
    const mixture = Buffer.concat([v3.subarray(0, 300_000), v4.subarray(300_000)]);
    expect(await judged(mixture)).toContain("version 3 from byte 0, version 4 from byte 300000");
    const moved = Buffer.from(v3);
    v3.copy(moved, 32_000, 48_000, 64_000);
    expect(await judged(moved)).toContain("garbage from byte 32000, version 3 from byte 48000");
    const hole = Buffer.from(v3).fill(0, 4_096, 8_192);
    expect(await judged(hole)).toContain("garbage from byte 4096, version 3 from byte 8192");
    const last = Buffer.from(v3);
    last[v3.length - 1] = (last[v3.length - 1] ?? 0) ^ 1;
    expect(await judged(last)).toContain("garbage");
    expect(await judged(toBuffer(new VersionedFile(1, "d/b", 600_001).content(3)))).toContain("garbage");
  });

  it("is judged by what it is when it is read to its end", async ({ path }) => {
    writeFileSync(path, v3);
    truncateSync(path, 10);
    appendFileSync(path, v3.subarray(10));
    expect(await file.read(path)).toEqual({ is: "whole", version: 3 });
  });
});

describe("the origin of a seed", () => {
  it("has the same files for the same seed", () => {
    const plan = (seed: number) =>
      planFiles({ seed, count: 300, large: 2 }).map(({ name, kind, aboutBytes }) => [name, kind, aboutBytes]);
    expect(plan(5)).toEqual(plan(5));
    expect(plan(6)).not.toEqual(plan(5));
    const kinds = plan(5).map(([, kind]) => kind);
    for (const kind of ["steady", "flaky", "missing", "trap"]) expect(kinds).toContain(kind);
    expect(plan(5).filter(([, , bytes]) => Number(bytes) >= 70 << 20)).toHaveLength(2);
  });

  it("serves the latest version under conditions, logs it, and fails as the seed says", async () => {
    const files = planFiles({ seed: 9, count: 200, large: 0 });
    const runs: Answered[][] = [];
    for (let round = 0; round < 2; round++) {
      const origin = await VersionedOrigin.start(9, files, 1);
      const answers: Answered[] = [];
      origin.onAnswer((answered) => answers.push(answered));
      const steady = files.find(({ kind, aboutBytes }) => kind === "steady" && aboutBytes > 1_000);
      const { name } = steady as VersionedFile;
      const first = await get(origin.url(name));
      expect(first).toMatchObject({ code: 200, etag: steady?.etag(1) });
      expect(first?.body.equals(toBuffer((steady as VersionedFile).content(1)))).toBe(true);
      const etag = first?.etag ?? "";
      expect((await get(origin.url(name), { "if-none-match": etag }))?.code).toBe(304);
      expect(origin.publish(name)).toBe(2);
      expect(await get(origin.url(name), { "if-none-match": etag })).toMatchObject({
        code: 200,
        etag: steady?.etag(2),
      });
      const ranged = { range: "bytes=16-99", "if-match": etag };
      expect((await get(origin.url(name), ranged))?.code).toBe(412);
      for (const each of files.filter(({ kind }) => kind === "missing"))
        expect((await get(origin.url(each.name)))?.code).toBe(404);
      const flaky = files.filter(({ kind }) => kind === "flaky");
      await Promise.all(
        flaky.map(async ({ name }) => {
          let failed = 0;
          for (let nth = 1; nth <= 8; nth++) {
            failed = (await get(origin.url(name)))?.code === 200 ? 0 : failed + 1;
            expect(failed, `${name} failed ${failed} times in a row`).toBeLessThan(3);
          }
        }),
      );
      await origin.stop();
      runs.push(answers.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.nth - b.nth)));
    }
    expect(runs[1]).toEqual(runs[0]);
    const ways = new Set(runs[0]?.map(({ how }) => how));
    for (const how of ["file", "halting", "503", "reset", "cut", "404"]) expect(ways).toContain(how);
  });
});

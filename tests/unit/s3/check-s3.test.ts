import { S3Check } from "@drover/shared/storage/s3/check";
import { S3Tree } from "@drover/shared/storage/s3/tree";
import { test as base, describe, expect, onTestFinished } from "vitest";
import { Rng } from "../../chaos/rng.js";
import { FakeS3, sendError } from "../../harness/fake-s3.js";

const it = base.extend<{ s3: FakeS3 }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    process.env.AWS_ACCESS_KEY_ID = "AKID";
    process.env.AWS_SECRET_ACCESS_KEY = "SECRET";
    const s3 = await FakeS3.start();
    await use(s3);
    await s3.stop();
  },
});

function checkOf(s3: FakeS3, root = "s3://bucket/to"): S3Check {
  const service = {
    endpoint: s3.endpoint,
    region: "us-east-1",
    pathStyle: true,
    anonymous: false,
    requesterPays: false,
  };
  const check = new S3Check(
    new S3Tree(root, service),
    { service, timeoutMs: 5_000, retries: 1 },
    new AbortController().signal,
    () => {},
  );
  onTestFinished(() => check.close());
  return check;
}

const name = (at: number) => `d/${String(at).padStart(6, "0")}`;
const etag = (s3: FakeS3, key: string) => s3.stored(key)?.etag ?? '"none"';

function files(s3: FakeS3, names: string[]) {
  return names.map((each) => ({ name: each, stamp: etag(s3, `to/${each}`) }));
}

const heads = (s3: FakeS3) => s3.requests.filter(({ method }) => method === "HEAD").length;
const pages = (s3: FakeS3) => s3.requests.filter(({ query }) => query.has("list-type")).length;

describe("checking objects in order", () => {
  it("lists them instead of requesting each one", async ({ s3 }) => {
    for (let at = 0; at < 2_000; at++) s3.put(`to/${name(at)}`, `content ${at}`);
    const check = checkOf(s3);
    const all = files(
      s3,
      Array.from({ length: 2_000 }, (_, at) => name(at)),
    );
    s3.remove(`to/${name(700)}`);
    s3.put(`to/${name(1_300)}`, "somebody else's");
    for (let from = 0; from < all.length; from += 500) {
      const page = all.slice(from, from + 500);
      expect(await check.asLeft(page)).toEqual(page.map((_, at) => ![700, 1_300].includes(from + at)));
    }
    expect(heads(s3)).toBe(0);
    expect(pages(s3)).toBeLessThan(30);
  });

  it("requests each one if far more objects lie between them", async ({ s3 }) => {
    for (let at = 0; at < 12_000; at++) s3.put(`to/${name(at)}`, "");
    const check = checkOf(s3);
    const few = Array.from({ length: 20 }, (_, at) => name(at * 599));
    s3.remove(`to/${few[3]}`);
    const asked = files(s3, few).map((each) => ({ ...each, stamp: etag(s3, `to/${name(0)}`) }));
    expect(await check.asLeft(asked)).toEqual(few.map((_, at) => at !== 3));
    const far = [name(0), ...Array.from({ length: 20 }, (_, at) => name(9_000 + at))];
    expect(await check.asLeft(files(s3, far))).toEqual(far.map(() => true));
    expect(heads(s3)).toBeGreaterThan(0);
    expect(heads(s3)).toBeLessThanOrEqual(21);
  });

  it("requests each one if listing is not allowed", async ({ s3 }) => {
    for (let at = 0; at < 30; at++) s3.put(`to/${name(at)}`, `${at}`);
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type")) return false;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const all = files(
      s3,
      Array.from({ length: 31 }, (_, at) => name(at)),
    );
    expect(await checkOf(s3).asLeft(all)).toEqual(all.map((_, at) => at < 30));
    expect(heads(s3)).toBe(31);
  });
});

it("an object that cannot be read does not count as unchanged", async ({ s3 }) => {
  s3.put("to/a", "a");
  s3.put("to/b", "b");
  s3.fault = ({ key }, answer) => {
    if (key !== "to/b") return false;
    sendError(answer, 503, "SlowDown");
    return true;
  };
  const check = checkOf(s3);
  expect(await check.asLeft(files(s3, ["a", "b"]))).toEqual([true, false]);
  expect(check.trouble).toMatchObject({ name: "TransferError" });
});

it("an object without an ETag never counts as unchanged", async ({ s3 }) => {
  s3.put("to/a", "a", { etag: "" });
  expect(await checkOf(s3).asLeft([{ name: "a", stamp: "" }])).toEqual([false]);
});

it.for(Array.from({ length: 30 }, (_, seed) => seed))(
  "the result is right for random objects and questions (seed %d)",
  async (seed, { s3 }) => {
    const rng = new Rng(seed);
    s3.pageKeys = rng.int(1, 40);
    const any = () => `${["", "a/", "a/b/", "ü/", "😀"][rng.int(0, 4)]}${rng.int(0, 60)}`;
    const root = seed % 2 === 0 ? "s3://bucket/to" : "s3://bucket";
    const prefix = seed % 2 === 0 ? "to/" : "";
    for (let n = rng.int(0, 150); n > 0; n--) s3.put(`${prefix}${any()}`, `${rng.int(0, 1)}`);
    const check = checkOf(s3, root);
    for (let batch = 0; batch < 6; batch++) {
      const asked = [...new Set(Array.from({ length: rng.int(1, 60) }, any))];
      if (rng.chance(0.7)) asked.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const all = asked.map((each) => {
        const there = etag(s3, `${prefix}${each}`);
        return { name: each, stamp: rng.chance(0.8) ? there : '"another"' };
      });
      const expected = all.map(({ name: each, stamp }) => s3.stored(`${prefix}${each}`)?.etag === stamp);
      expect(await check.asLeft(all)).toEqual(expected);
    }
  },
);

import { HttpClient } from "@drover/shared/storage/http/client";
import { compareKeys } from "@drover/shared/storage/key-order";
import { S3Lister } from "@drover/shared/storage/s3/listing/lister";
import { listObjects } from "@drover/shared/storage/s3/listing/listing";
import { listerOf } from "@drover/shared/storage/s3/listing/page-requests";
import { Splitter } from "@drover/shared/storage/s3/listing/split";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import { test as base, describe, expect } from "vitest";
import { type FakeRequest, FakeS3, type Fault, sendError } from "../../harness/fake-s3.js";
import { Gate } from "../../harness/gate.js";

interface Listing {
  s3: FakeS3;
  /** Keys below a prefix, page by page. */
  list(prefix: string, startAfter?: string): AsyncGenerator<string[]>;
  all(prefix: string, startAfter?: string): Promise<string[]>;
  /** What a person was told. */
  warnings: string[];
}

const it = base.extend<{ listing: Listing }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  listing: async ({}, use) => {
    const s3 = await FakeS3.start();
    s3.pageKeys = 10;
    const http = new HttpClient({ timeoutMs: 5_000, connections: 16 });
    const spec = {
      endpoint: s3.endpoint,
      region: "us-east-1",
      pathStyle: true,
      anonymous: true,
      requesterPays: false,
    };
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    const lister = listerOf(new S3Client(http, spec, async () => undefined), 3, 5_000, warn, 1_500);
    const list = async function* (prefix: string, startAfter = "") {
      const pages = listObjects(lister, "bucket", prefix, startAfter, new AbortController().signal);
      for await (const page of pages) yield page.map(({ key }) => key);
    };
    const all = async (prefix: string, startAfter?: string) => {
      const keys: string[] = [];
      for await (const page of list(prefix, startAfter)) keys.push(...page);
      return keys;
    };
    await use({ s3, list, all, warnings });
    await http.close();
    await s3.stop();
  },
});

const lookOptions = (endpoint: string, root = "/nowhere"): ConstructorParameters<typeof S3Lister>[0] => ({
  of: "sources",
  signal: new AbortController().signal,
  warn: () => {},
  spec: {
    root,
    timeoutMs: 5_000,
    retries: 3,
    s3: { endpoint, region: "us-east-1", pathStyle: true, anonymous: true, requesterPays: false },
  },
});

const pad = (n: number, width = 6) => String(n).padStart(width, "0");

/** Key spaces of many shapes. */
const SHAPES: Record<string, string[]> = {
  flat: Array.from({ length: 2_000 }, (_, i) => `p/${pad(i)}`),
  "one level": Array.from({ length: 2_000 }, (_, i) => `p/${pad(i % 40, 2)}/${pad(i)}`),
  "deep with one branch": Array.from({ length: 2_000 }, (_, i) => `p/a/b/c/${2020 + (i % 6)}/${pad(i)}.csv`),
  hexadecimal: Array.from({ length: 2_000 }, (_, i) => `p/${((i * 2_654_435_761) >>> 0).toString(16)}`),
  "uneven, of other scripts": Array.from({ length: 1_500 }, (_, i) =>
    i % 3 === 0 ? `p/é文件/${i}` : i % 3 === 1 ? `p/🐑${i}` : `p/\uff5e/${"x".repeat(i % 90)}${i}`,
  ),
  "around slashes": Array.from({ length: 600 }, (_, i) => [
    `p/${i}`,
    `p/${i}/x`,
    `p/${i}-x`,
    `p/${i}.x`,
  ]).flat(),
};

const WORDS = [
  "alpha",
  "beta",
  "customers",
  "delta",
  "europe",
  "finance",
  "gamma",
  "india",
  "logs",
  "metrics",
];
/** Trees of which most requests would be wasted on guesses if names were taken for mere characters. */
const TREES: Record<string, string[]> = {
  "directories with names": Array.from(
    { length: 4_000 },
    (_, i) =>
      `p/${WORDS[i % 10]}/${WORDS[Math.floor(i / 10) % 9]}/${WORDS[Math.floor(i / 90) % 8]}/${i}.json`,
  ),
  "numbers of any length": Array.from(
    { length: 4_000 },
    (_, i) => `p/${i % 10}/${Math.floor(i / 10) % 100}/${i}.txt`,
  ),
  "branches that are unlike each other": Array.from({ length: 4_000 }, (_, i) =>
    i % 4 === 0
      ? `p/dates/${2020 + (i % 5)}/${pad((i % 12) + 1, 2)}/${pad((i % 28) + 1, 2)}/${i}`
      : i % 4 === 1
        ? `p/hashes/${((i * 2_654_435_761) >>> 0).toString(16)}`
        : `p/words/${WORDS[i % 9]}/${WORDS[i % 7]}/${pad(i)}`,
  ),
};

describe("a parallel listing", () => {
  it.for(Object.keys(TREES))("wastes few requests on a tree (%s)", async (shape, { listing }) => {
    const keys = TREES[shape] as string[];
    for (const key of keys) listing.s3.put(key, "x");
    listing.s3.delayMs = 5;
    const wanted = [...new Set(keys)].sort();
    expect(await listing.all("p/")).toEqual(wanted);
    expect(listing.s3.mostAtOnce).toBeGreaterThan(8);
    expect(listing.s3.mostAtOnce).toBeLessThanOrEqual(16);
    expect(listing.s3.requests.length).toBeLessThan((wanted.length / listing.s3.pageKeys) * 1.7);
  });

  it("guesses less if guesses find nothing: directories as large as a page, with files numbered across them", async ({
    listing,
  }) => {
    const { s3, all } = listing;
    s3.pageKeys = 100;
    s3.delayMs = 5;
    const keys = Array.from({ length: 10_000 }, (_, i) => {
      const directory = pad(Math.floor(i / 100), 4);
      return `p/${directory.slice(0, 2)}/${directory.slice(2)}/${pad(i)}.csv`;
    });
    for (const key of keys) s3.put(key, "x");
    expect(await all("p/")).toEqual(keys);
    expect(s3.requests.length).toBeLessThan(100 * 4);
  });

  it("lists without directories if the service refuses to list them", async ({ listing }) => {
    for (const key of SHAPES["one level"] as string[]) listing.s3.put(key, "x");
    let refused = 0;
    listing.s3.fault = (request, answer) => {
      if (!request.query.has("delimiter")) return false;
      refused++;
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    expect(await listing.all("p/")).toEqual((SHAPES["one level"] as string[]).toSorted());
    expect(refused).toBe(1);
  });

  it.for(Object.keys(SHAPES))("returns every key once and in order (%s)", async (shape, { listing }) => {
    const keys = SHAPES[shape] as string[];
    for (const key of [...keys, "p", "o/x", "p2/x", "q"]) listing.s3.put(key, "x");
    listing.s3.delayMs = 1;
    const wanted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(await listing.all("p/")).toEqual(wanted);
    expect(listing.s3.mostAtOnce).toBeGreaterThan(4);
    const pages = Math.ceil(keys.length / listing.s3.pageKeys);
    expect(listing.s3.requests.length).toBeLessThan(pages * 2.5);
  });

  it("continues after a given key", async ({ listing }) => {
    const keys = SHAPES["one level"] as string[];
    for (const key of keys) listing.s3.put(key, "x");
    const wanted = keys.toSorted();
    expect(await listing.all("p/", wanted[777])).toEqual(wanted.slice(778));
    expect(await listing.all("p/", wanted.at(-1))).toEqual([]);
  });

  it("takes one request if there is one page", async ({ listing }) => {
    listing.s3.put("p/1", "x");
    expect(await listing.all("p/")).toEqual(["p/1"]);
    expect(await listing.all("nothing/")).toEqual([]);
    expect(listing.s3.requests).toHaveLength(2);
  });

  it("reads ahead no further than its memory limit", async ({ listing }) => {
    for (let i = 0; i < 5_000; i++) listing.s3.put(`p/${pad(i)}`, "x");
    const pages = listing.list("p/");
    await pages.next();
    let before = -1;
    await expect
      .poll(() => {
        const still = listing.s3.requests.length === before;
        before = listing.s3.requests.length;
        return still;
      })
      .toBe(true);
    expect(before).toBeLessThan(70); // of 500 pages
    await pages.return(undefined);
  });

  it("retries pages that fail now and then", async ({ listing }) => {
    const keys = SHAPES["one level"] as string[];
    for (const key of keys) listing.s3.put(key, "x");
    let nth = 0;
    listing.s3.fault = (_request, answer) => {
      if (++nth % 41 !== 0) return false;
      if (nth % 2 === 0) answer.destroy();
      else sendError(answer, 503, "SlowDown");
      return true;
    };
    expect(await listing.all("p/")).toEqual(keys.toSorted());
  });

  const page = (s3: FakeS3, change: (xml: string) => string): Fault => {
    return (request, answer) => {
      // Pages of the middle of the listing alone.
      const xml = s3.page(request.query);
      if (!xml.includes("<Key>p/001000</Key>")) return false;
      answer.end(change(xml));
      return true;
    };
  };
  it.for<[string, (s3: FakeS3) => Fault, RegExp]>([
    ["a page that fails for good", () => fails(500, "InternalError"), /InternalError/],
    ["a page that is denied", () => fails(403, "AccessDenied"), /AccessDenied/],
    ["a page that ends in the middle", (s3) => page(s3, (xml) => xml.slice(0, -80)), /ends within/],
    [
      "a page that ends between two keys",
      (s3) => page(s3, (xml) => xml.replace(/<Contents>(?!.*<Contents>).*/, "")),
      /ends within/,
    ],
    [
      "a page without one of its keys",
      (s3) => page(s3, (xml) => xml.replace(/<Contents>.*?<\/Contents>/, "")),
      /announced/,
    ],
    ["a key out of order", (s3) => page(s3, (xml) => xml.replace("p/001000", "p/000001")), /comes after/],
    ["a key of another prefix", (s3) => page(s3, (xml) => xml.replace("p/001000", "q")), /not below/],
    ["no token for the next page", (s3) => page(s3, (xml) => xml.replace(/<NextC.*Token>/, "")), /no token/],
    [
      "no word on whether there is more",
      (s3) => page(s3, (xml) => xml.replace(/<IsTr.*?ed>/, "").replace("</IsTruncated>", "")),
      /./,
    ],
  ])("fails for %s, after it has returned all keys before", async ([, fault, message], { listing }) => {
    for (const key of SHAPES.flat as string[]) listing.s3.put(key, "x");
    listing.s3.fault = fault(listing.s3);
    const keys: string[] = [];
    const listed = (async () => {
      for await (const some of listing.list("p/")) keys.push(...some);
    })();
    await expect(listed).rejects.toThrow(message);
    expect(keys).toEqual((SHAPES.flat as string[]).slice(0, keys.length));
    expect(keys.length).toBeGreaterThan(900);
    expect(keys.length).toBeLessThanOrEqual(1000);
  });

  /** The key behind which a page is asked for. */
  const afterOf = ({ query }: FakeRequest) =>
    query.get("continuation-token") ?? query.get("start-after") ?? "";

  /** Pages behind a key that say they were the last ones. @param empty nothing is on them. */
  const endsBehind = (s3: FakeS3, first: string, last: string, empty: boolean): Fault => {
    return (request, answer) => {
      const after = afterOf(request);
      if (after < first || after > last) return false;
      const xml = s3.page(empty ? new URLSearchParams({ prefix: "nothing" }) : request.query);
      answer.end(xml.replace(/<IsTruncated>true.*Token>/, "<IsTruncated>false</IsTruncated>"));
      return true;
    };
  };

  /** Holds these pages until one behind them is asked for: nobody could know before that there are more keys. */
  const holdUntilBehind = (s3: FakeS3, first: string, last: string) => {
    const behind = new Gate();
    s3.before = async (request) => {
      const after = afterOf(request);
      if (after > last) behind.open();
      else if (after >= first) await behind.opened;
    };
  };

  it("continues after a page that claims to be the last if other requests have seen more keys", async ({
    listing,
  }) => {
    for (const key of SHAPES.flat as string[]) listing.s3.put(key, "x");
    listing.s3.delayMs = 2;
    holdUntilBehind(listing.s3, "p/000990", "p/001010");
    listing.s3.fault = endsBehind(listing.s3, "p/000990", "p/001010", false);
    expect(await listing.all("p/")).toEqual(SHAPES.flat);
  });

  it("fails if the service says that nothing follows a key, but something does", async ({ listing }) => {
    for (const key of SHAPES.flat as string[]) listing.s3.put(key, "x");
    listing.s3.delayMs = 2;
    holdUntilBehind(listing.s3, "p/000990", "p/001100");
    listing.s3.fault = endsBehind(listing.s3, "p/000990", "p/001100", true);
    const keys: string[] = [];
    const listed = (async () => {
      for await (const some of listing.list("p/")) keys.push(...some);
    })();
    await expect(listed).rejects.toThrow(/nothing is said to come behind/);
    expect(keys).toEqual((SHAPES.flat as string[]).slice(0, keys.length));
    expect(keys.length).toBeGreaterThan(900);
    expect(keys.length).toBeLessThanOrEqual(1000);
  });

  it("requests one more page after a full page that claims to be the last", async ({ listing }) => {
    listing.s3.pageKeys = 1000;
    for (const key of SHAPES.flat as string[]) listing.s3.put(key, "x");
    listing.s3.fault = endsBehind(listing.s3, "", "", false);
    expect(await listing.all("p/")).toEqual(SHAPES.flat);
    expect(listing.s3.requests.filter(({ query }) => !query.has("delimiter"))).toHaveLength(3);
  });

  it("stops guessing beyond the last key", async ({ listing }) => {
    listing.s3.pageKeys = 1000;
    listing.s3.delayMs = 30;
    const wanted = Array.from({ length: 300_000 }, (_, i) => `p/k${String(i).padStart(8, "0")}.csv`);
    for (const key of wanted) listing.s3.put(key, "x");
    expect(await listing.all("p/")).toEqual(wanted);
    expect(listing.s3.requests.length).toBeLessThan(300 * 1.1);
  });

  it("includes keys that are added at the end meanwhile", async ({ listing }) => {
    for (let i = 0; i < 300; i++) listing.s3.put(`p/${pad(i)}`, "x");
    let added = 300;
    listing.s3.before = async () => listing.s3.put(`p/${pad(added++)}`, "x");
    const keys = await listing.all("p/");
    expect(keys).toEqual(Array.from({ length: keys.length }, (_, i) => `p/${pad(i)}`));
    expect(keys.length).toBeGreaterThanOrEqual(300);
  });

  it("warns about, and then fails for, empty pages without end", async ({ listing }) => {
    const { s3, all, warnings } = listing;
    let token = 0;
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type")) return false;
      const next = `<NextContinuationToken>${++token}</NextContinuationToken>`;
      answer.end(`<ListBucketResult><IsTruncated>true</IsTruncated>${next}</ListBucketResult>`);
      return true;
    };
    await expect(all("p/")).rejects.toThrow(
      "the listing has no end: 1500 pages in a row bring no key and say that there is more; list narrower prefixes",
    );
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toMatch(
      /^the listing of s3:\/\/bucket\/p\/ goes on: 500 pages in a row bring no key/,
    );
  });

  it("accepts a few empty pages, as a bucket with deleted versions has", async ({ listing }) => {
    const { s3, all, warnings } = listing;
    s3.put("p/1", "x");
    let token = 0;
    s3.fault = ({ query }, answer) => {
      if (!query.has("list-type") || token === 20) return false;
      const next = `<NextContinuationToken>${" ".repeat(++token)}!</NextContinuationToken>`; // comes before all keys
      answer.end(`<ListBucketResult><IsTruncated>true</IsTruncated>${next}</ListBucketResult>`);
      return true;
    };
    expect(await all("p/")).toEqual(["p/1"]);
    expect(warnings).toEqual([]);
  });

  it("fails if a continuation token repeats", async ({ listing }) => {
    for (let i = 0; i < 30; i++) listing.s3.put(`p/${pad(i)}`, "x");
    listing.s3.fault = (request, answer) => {
      const token = request.query.get("continuation-token");
      if (token === null || request.query.has("delimiter")) return false;
      // Nothing new, but more to come: for ever, if one believes it.
      const empty = listing.s3.page(new URLSearchParams({ prefix: "nothing" }));
      const more = `<IsTruncated>true</IsTruncated><NextContinuationToken>${token}</NextContinuationToken>`;
      answer.end(empty.replace("<IsTruncated>false</IsTruncated>", more));
      return true;
    };
    await expect(listing.all("p/")).rejects.toThrow(/token of a page came again/);
  });

  it.for([2, 3, 100])(
    "fails if the tokens of empty pages go in a circle of %i",
    async (length, { listing }) => {
      const { s3, all } = listing;
      for (let i = 0; i < 30; i++) s3.put(`p/${pad(i)}`, "x");
      let pages = 0;
      s3.fault = ({ query }, answer) => {
        if (!query.has("continuation-token") || query.has("delimiter")) return false;
        pages++;
        const next = `<NextContinuationToken>${pages % length}</NextContinuationToken>`;
        answer.end(`<ListBucketResult><IsTruncated>true</IsTruncated>${next}</ListBucketResult>`);
        return true;
      };
      await expect(all("p/")).rejects.toThrow(/token of a page came again/);
      expect(pages).toBeLessThan(4 * length + 10);
    },
  );

  it("fails if the first object of a prefix is looked for in a circle", async () => {
    const s3 = await FakeS3.start();
    const lister = new S3Lister(lookOptions(s3.endpoint));
    try {
      let pages = 0;
      s3.fault = ({ query }, answer) => {
        if (!query.has("list-type")) return false;
        const next = `<NextContinuationToken>${++pages % 2}</NextContinuationToken>`;
        answer.end(`<ListBucketResult><IsTruncated>true</IsTruncated>${next}</ListBucketResult>`);
        return true;
      };
      await expect(lister.look("s3://bucket/p", "either")).rejects.toThrow(/token of a page came again/);
    } finally {
      await lister.close();
      await s3.stop();
    }
  });

  it("fails if the first page repeats", async ({ listing }) => {
    for (let i = 0; i < 30; i++) listing.s3.put(`p/${pad(i)}`, "x");
    const first = listing.s3.page(new URLSearchParams({ prefix: "p/" }));
    listing.s3.fault = (request, answer) => {
      if (request.query.has("delimiter")) return false;
      answer.end(first);
      return true;
    };
    await expect(listing.all("p/")).rejects.toThrow(/comes after/);
  });
});

function fails(status: number, code: string): Fault {
  return (request, answer) => {
    const after = request.query.get("continuation-token") ?? request.query.get("start-after") ?? "";
    if (after < "p/000990" || after >= "p/001000") return false;
    sendError(answer, status, code);
    return true;
  };
}

describe("a guess", () => {
  it("never splits a character", () => {
    const splitter = new Splitter("p/");
    splitter.learn(["p/11111", "p/🐑1111", "p/1🐑111", "p/🐑🐑11"]);
    const guesses = ["p/🐑", "p/🐑1", "p/🐑1111", "p/1🐑", "p/🐑🐑1"].flatMap((low) =>
      [1, 3, 10, 1_000].map((pages) => splitter.ahead(low, { from: "p/11111", to: "p/11112" }, pages)),
    );
    expect(guesses.filter((guess) => guess !== undefined).length).toBeGreaterThan(5);
    expect(guesses.filter((guess) => guess?.isWellFormed() === false)).toEqual([]);
  });

  it("is the requested number of pages ahead if directories are alike", () => {
    const splitter = new Splitter("p/");
    splitter.known("p/", ["p/east/", "p/north/", "p/west/"], "p/");
    splitter.known("p/east/", ["p/east/a/", "p/east/bb/", "p/east/c/", "p/east/dd/"], "p/");
    const page = { from: "p/east/a/1", to: "p/east/bb/1" };
    expect(splitter.ahead("p/east/a/1", page, 2)).toBe("p/east/c/");
    expect(splitter.ahead("p/east/c/1", page, 3)).toBe("p/north/bb/");
    expect(splitter.ahead("p/west/c/1", page, 3)).toBeUndefined();
    expect(splitter.pages("p/east/a/1", undefined, page)).toBeCloseTo(12);
    expect(splitter.pages("p/north/a/1", "p/west/dd/1", page)).toBeCloseTo(7);
  });
});

describe("the order of keys", () => {
  it("is that of their bytes in UTF-8", () => {
    const keys = [
      "",
      "a",
      "a/",
      "a/b",
      "a0",
      "b",
      "é",
      "\ud7ff",
      "\ue000",
      "\uff5e",
      "😀",
      "\u{10ffff}",
      "a😀",
      "a\uff5e",
    ];
    const byBytes = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect([...keys].sort(compareKeys)).toEqual(byBytes);
  });
});

describe("a lister of S3", () => {
  it.for([
    ["s3://bucket/elsewhere", ["p/a/.drover-0123456789abcdef"]],
    ["s3://bucket/p/b", ["p/a/.drover-0123456789abcdef"]],
    ["s3://bucket/p", []],
    ["s3://bucket", []],
    ["/directory", ["p/a/.drover-0123456789abcdef"]],
  ] as const)(
    "says that an empty object named like ours is left out (destination %s)",
    async ([root, wanted]) => {
      const s3 = await FakeS3.start();
      const lister = new S3Lister(lookOptions(s3.endpoint, root));
      try {
        s3.put("p/a/.drover-0123456789abcdef", "");
        s3.put("p/a/.drover-unwanted_and_me", "");
        s3.put("p/a/file", "x");
        const skipped: unknown[] = [];
        const files: unknown[] = [];
        const found = lister.list("s3://bucket/p", {
          wanted: (name) => !name.includes("unwanted"),
          after: undefined,
        });
        for await (const each of found) {
          if (each.is === "skipped") skipped.push(each);
          if (each.is === "file") files.push(each.name);
        }
        expect(files).toEqual(["a/file"]);
        const why = "such names are Drover's own staging files";
        expect(skipped).toEqual(
          wanted.map((key) =>
            expect.objectContaining({ is: "skipped", location: `s3://bucket/${key}`, why, mark: key }),
          ),
        );
      } finally {
        await lister.close();
        await s3.stop();
      }
    },
  );
});

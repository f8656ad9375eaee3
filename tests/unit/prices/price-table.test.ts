import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { costBudget } from "@drover/producer/prices/budgets";
import { costOfRequests, pricesOf } from "@drover/producer/prices/price-table";
import { readPriceTable } from "@drover/producer/prices/read-price-table";
import type { RunSpec } from "@drover/shared/run";
import { showCost } from "@drover/shared/run-budget";
import { afterAll, describe, expect, it } from "vitest";

const directory = mkdtempSync(join(tmpdir(), "drover-prices-"));
const path = join(directory, "prices.yaml");
afterAll(() => rmSync(directory, { recursive: true }));

function read(text: string) {
  writeFileSync(path, text);
  return readPriceTable(path);
}

const TABLE = `currency: EUR
prices:
  - bucket: out
    requests: { get: 1, put: 10 }
    ingress: 2
  - host: cdn.example.com
    egress: 50
  - host: "*.example.com"
    egress: 70
  - host: other.test:8443
    egress: 80
  - host: "*"
    egress: 90
    requests: { get: 4, head: 3, list: 2, delete: 1 }
`;

describe("a price table", () => {
  it.for([
    [{ host: "s3.amazonaws.com:443", bucket: "out" }, 0],
    [{ host: "s3.amazonaws.com:443", bucket: "in" }, 90],
    [{ host: "CDN.example.com:443" }, 50],
    [{ host: "a.b.example.com:443" }, 70],
    [{ host: "example.com:443" }, 90],
    [{ host: "other.test:8443" }, 80],
    [{ host: "other.test:443" }, 90],
    [{ host: "" }, undefined],
  ] as const)("has for %o the first entry that matches", ([place, egress]) => {
    expect(pricesOf(read(TABLE), place)?.egress).toBe(egress);
  });

  it("takes HEAD for GET, COPY, POST and LIST for PUT where these have no price, and DELETE for nothing", () => {
    const [bucket, , , , all] = read(TABLE).prices;
    if (!bucket || !all) throw new Error("there are five");
    const requests = { get: 1000, head: 1000, put: 1000, copy: 1000, post: 1000, list: 1000, delete: 1000 };
    expect(costOfRequests(bucket, requests)).toBe(1 + 1 + 10 + 10 + 10 + 10);
    expect(costOfRequests(all, requests)).toBe(4 + 3 + 2 + 1);
  });

  it.for([
    ["currency: EUR\nprices:\n  - host: a\n    egres: 1\n", "4:12: prices.0.egres: no such key"],
    [
      "currency: EUR\nprices:\n  - host: a\n    egress: -1\n",
      "4:13: prices.0.egress: a price: a number of at least 0",
    ],
    [
      "currency: EUR\nprices:\n  - host: a\n    egress: '1'\n",
      "4:13: prices.0.egress: a price: a number of at least 0",
    ],
    ["currency: euros\nprices:\n  - host: a\n", "1:11: currency: three letters such as EUR"],
    ["currency: EUR\nprices:\n  - egress: 1\n", "3:5: prices.0: it needs host or bucket"],
    ["currency: EUR\nprices: []\n", "2:9: prices: at least one entry"],
    [
      "currency: EUR\nprices:\n  - host: '*'\n  - host: a\n",
      "3:5: prices.0: * takes all that is left, so it must be the last entry",
    ],
    ["currency: EUR\ncurrency: USD\n", "2:1: a key that is there already"],
    ["currency: EUR\nprices: [\n", "3:1: bad indentation"],
  ] as const)("that says %j is refused, with line and column", ([text, message]) => {
    expect(() => read(text)).toThrow(`${path}:${message}`);
  });

  it("that cannot be read is refused by its name", () => {
    expect(() => readPriceTable(join(directory, "none.yaml"))).toThrow(/none\.yaml \(ENOENT\)/);
  });
});

describe("a budget of costs", () => {
  const spec = { root: "/out", checksums: {}, listIsStdin: false };
  const of = (given: Partial<RunSpec>) => costBudget(9, read(TABLE), { ...spec, ...given } as RunSpec);

  it("counts each request of a file, and its bytes", () => {
    const { perFile, perByte } = of({ sources: ["https://cdn.example.com/a"] });
    expect([perFile, perByte * 1e9]).toEqual([0, expect.closeTo(50)]);
    const there = of({ sources: ["/in/"], root: "s3://out/p" });
    // A PUT and a look at what is there; of a large file also its parts of 16 MiB.
    expect(there.perFile).toBeCloseTo(0.011);
    expect(there.perByte * 1e9).toBeCloseTo(2 + (1e9 / 2 ** 24) * 0.01, 1);
  });

  it("takes the dearest source for all, and for a list the dearest entry", () => {
    const both = of({ sources: ["https://cdn.example.com/a", "https://x.test/b"] });
    expect([both.perFile, both.perByte * 1e9]).toEqual([0.004, expect.closeTo(90)]);
    const list = of({ sources: [], list: "/list" });
    expect([list.perFile, list.perByte * 1e9]).toEqual([0.004, expect.closeTo(90)]);
  });
});

it("amounts of money have two decimals, and two digits at least", () => {
  expect([0, 12, 1.005, 0.5, 0.123, 0.00456].map((amount) => showCost(amount, "EUR"))).toEqual([
    ...["0.00 EUR", "12.00 EUR", "1.00 EUR", "0.50 EUR", "0.12 EUR", "0.0046 EUR"],
  ]);
});

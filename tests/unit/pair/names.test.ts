import { type Ancestor, decodeAncestor, encodeAncestor } from "@drover/shared/pair/ancestor";
import { type AsideVersion, conflictName } from "@drover/shared/pair/conflict-name";
import fc from "fast-check";
import { expect, it } from "vitest";

const numRuns = Number(process.env.PAIR_CASES ?? 2_000);
const VERSION: AsideVersion = {
  side: "local",
  mtimeMs: Date.UTC(2026, 10, 29, 10, 15, 0, 999),
  sha256: "0a1b2c3d".repeat(8),
};
const ADDED = ".conflict-local-20261129T101500Z-0a1b2c3d";

const hash = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString("hex"));
const version = fc.record<AsideVersion>({
  side: fc.constantFrom("local", "remote"),
  mtimeMs: fc.integer({ min: -1e12, max: 4e12 }),
  sha256: hash,
});
/** Components of names, long and short, with characters of one to four bytes. */
const component = fc
  .array(fc.constantFrom("a", "b", ".", "-", "ä", "語", "😀", " "), { minLength: 1, maxLength: 260 })
  .map((characters) => {
    let text = "";
    for (const each of characters) if (Buffer.byteLength(text + each) <= 255) text += each;
    return /^\.{1,2}$/.test(text) ? `${text}a` : text;
  });
const path = fc.array(component, { minLength: 1, maxLength: 5 }).map((parts) => {
  let text = parts.at(-1) as string;
  for (const each of parts.slice(0, -1))
    if (Buffer.byteLength(`${each}/${text}`) <= 1024) text = `${each}/${text}`;
  return text;
});

it.each([
  ["report.txt", `report${ADDED}.txt`],
  ["dir.d/report", `dir.d/report${ADDED}`],
  ["a/b/.hidden", `a/b/.hidden${ADDED}`],
  ["archive.tar.gz", `archive.tar${ADDED}.gz`],
  ["ends.", `ends${ADDED}.`],
])("names the copy of %s", (name, copy) => {
  expect(conflictName(name, VERSION)).toBe(copy);
  expect(conflictName(name, VERSION, 2)).toBe(copy.replace("0a1b2c3d", "0a1b2c3d-2"));
});

it("puts it behind the extension where programs would load the copy", () => {
  expect(conflictName("conf/database.yml", VERSION, 1, true)).toBe(`conf/database.yml${ADDED}`);
  expect(conflictName("conf/database.yml", VERSION, 3, true)).toBe(`conf/database.yml${ADDED}-3`);
});

it("gives a copy of a copy the name of the original", () => {
  for (const suffixed of [false, true]) {
    const other: AsideVersion = { ...VERSION, side: "remote", sha256: "f".repeat(64) };
    for (const number of [1, 2, 17]) {
      const first = conflictName("a/report.txt", other, number, suffixed);
      expect(conflictName(first, VERSION, 1, suffixed)).toBe(
        conflictName("a/report.txt", VERSION, 1, suffixed),
      );
    }
  }
});

it("makes names that are different, deterministic, short enough, beside the file and valid, of any name", () => {
  fc.assert(
    fc.property(
      path,
      version,
      fc.integer({ min: 1, max: 100 }),
      fc.boolean(),
      (name, aside, number, suffixed) => {
        const copy = conflictName(name, aside, number, suffixed);
        expect(conflictName(name, { ...aside }, number, suffixed)).toBe(copy);
        expect(copy).not.toBe(name);
        const directoryOf = (text: string) => text.slice(0, text.lastIndexOf("/") + 1);
        expect(directoryOf(copy)).toBe(directoryOf(name));
        const base = copy.slice(copy.lastIndexOf("/") + 1);
        expect(base).toMatch(/\.conflict-(local|remote)-\d{8}T\d{6}Z-[0-9a-f]{8}(-\d+)?/);
        expect(Buffer.byteLength(base)).toBeLessThanOrEqual(255);
        expect(Buffer.from(copy).toString()).toBe(copy); // no half of a character
        expect(Buffer.byteLength(copy)).toBeLessThanOrEqual(1024);
        expect(conflictName(name, aside, number + 1, suffixed)).not.toBe(copy);
        // No chains.
        expect(conflictName(copy, aside, number, suffixed).match(/\.conflict-/g)).toHaveLength(1);
      },
    ),
    { numRuns },
  );
});

it("cuts the stem between characters, and keeps the extension", () => {
  const copy = conflictName(`${"語".repeat(83)}.txt`, VERSION);
  expect(Buffer.byteLength(copy)).toBeLessThanOrEqual(255);
  expect(Buffer.byteLength(copy)).toBeGreaterThan(252);
  expect(copy).toMatch(/^語+\.conflict-.*\.txt$/);
  const deep = `${`${"d".repeat(200)}/`.repeat(4)}${"x".repeat(215)}.txt`;
  expect(Buffer.byteLength(deep)).toBe(1023);
  expect(Buffer.byteLength(conflictName(deep, VERSION))).toBe(1024);
});

const stampText = fc.oneof(
  fc.constant(""),
  fc
    .tuple(fc.bigInt(0n, 2n ** 63n), fc.bigInt(0n, 2n ** 63n), fc.bigInt(0n, 2n ** 63n))
    .map((parts) => parts.join(":")),
  hash.map((hex) => `12:"${hex}"`),
  fc.string({ unit: "grapheme" }),
);

it("stores an ancestor and reads it again", () => {
  fc.assert(
    fc.property(
      hash,
      fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      fc.option(fc.integer({ min: 0, max: 0o777 }), { nil: undefined }),
      stampText,
      stampText,
      (sha256, sizeBytes, mode, local, remote) => {
        const ancestor: Ancestor = {
          sha256,
          sizeBytes,
          ...(mode === undefined ? {} : { mode }),
          local,
          remote,
        };
        expect(decodeAncestor(encodeAncestor(ancestor))).toEqual(ancestor);
      },
    ),
    { numRuns },
  );
  expect(decodeAncestor(Buffer.alloc(0))).toBeUndefined();
  expect(decodeAncestor(Buffer.from([1, 2, 3]))).toBeUndefined();
});

it("needs 260 bytes at most for a large file, with stamps of the usual kinds", () => {
  const local = `${5 * 2 ** 40}:1795947300123456789:18446744073709551615:1795947300123456789`;
  for (const remote of [`${5 * 2 ** 40}:"${"a".repeat(32)}-10000"`, local]) {
    const ancestor: Ancestor = { sha256: "f".repeat(64), sizeBytes: 5 * 2 ** 40, mode: 0o644, local, remote };
    expect(encodeAncestor(ancestor).length).toBeLessThanOrEqual(260);
  }
});

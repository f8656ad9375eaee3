import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type ListLine, readList } from "@drover/producer/expand/list";
import { UnavailableError } from "@drover/shared/errors";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "drover-list-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function lines(input: string | NodeJS.ReadableStream, startByte?: number): Promise<ListLine[]> {
  const all: ListLine[] = [];
  for await (const line of readList(input, startByte)) all.push(line);
  return all;
}

const texts = (all: ListLine[]) => all.map((line) => line.text);

describe("a list", () => {
  test.for<[string, string[]]>([
    ["a\nb\n", ["a", "b"]],
    ["a\nb", ["a", "b"]],
    ["a\r\nb\r\n", ["a", "b"]],
    ["a\r\nb", ["a", "b"]],
    ["a\rb\n", ["a\rb"]],
    ["\n\na\n", ["", "", "a"]],
    ["", []],
    ["\n", [""]],
    ["ü\t文件\n", ["ü\t文件"]],
    ["a\r", ["a"]],
    ["\ufeffa\n\ufeffb\n", ["a", "\ufeffb"]],
    ["\ufeff", [""]],
  ])("has the right lines: %j", async ([text, expected]) => {
    expect(texts(await lines(Readable.from([Buffer.from(text)])))).toEqual(expected);
  });

  test("has the same lines and correct cursors however it is split into chunks", async () => {
    const text = "first\r\nsecond ü\n\nfourth\t文件\r\nlast";
    const bytes = Buffer.from(text);
    const whole = await lines(Readable.from([bytes]));
    expect(whole.at(-1)?.nextByte).toBe(bytes.length);
    for (let size = 1; size <= bytes.length; size++) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
      expect(await lines(Readable.from(chunks))).toEqual(whole);
    }
  });

  test("continues from every cursor with the following lines", async () => {
    const path = join(directory, "list");
    writeFileSync(path, Array.from({ length: 200 }, (_, at) => `line ${at} ü\r\n`).join(""));
    const all = await lines(path);
    for (const [at, line] of all.entries()) {
      if (at % 37 === 0) expect(await lines(path, line.nextByte)).toEqual(all.slice(at + 1));
    }
    expect(await lines(path, all.at(-1)?.nextByte)).toEqual([]);
  });

  test("may have long lines that span its chunks", async () => {
    const path = join(directory, "list");
    const long = Array.from({ length: 30 }, (_, at) => `${at}-`.padEnd(60_000, "x"));
    writeFileSync(path, long.join("\n"));
    expect(texts(await lines(path))).toEqual(long);
  });

  test("skips lines that are too long, without filling the memory", async () => {
    const long = Buffer.alloc(1 << 16, "x");
    const before = process.memoryUsage().rss;
    const binary = Readable.from(
      (function* () {
        yield Buffer.from(`a\n${long}\nb\nxx`);
        for (let nth = 0; nth < 4_000; nth++) yield long;
        yield Buffer.from(`xx\nc\n${long}x\n${long}xx`);
      })(),
    );
    const all = await lines(binary);
    expect(all.map(({ text, tooLong }) => (tooLong ? "too long" : text.length))).toEqual([
      1,
      long.length,
      1,
      "too long",
      1,
      "too long",
      "too long",
    ]);
    for (const [nth, line] of all.entries()) expect(line.startByte).toBe(all[nth - 1]?.nextByte ?? 0);
    expect(all.at(-1)?.nextByte).toBe(2 + 65_537 + 2 + 2 + 4_000 * 65_536 + 3 + 2 + 65_538 + 65_538);
    expect(process.memoryUsage().rss - before).toBeLessThan(150 << 20); // of 250 MiB
  });

  test("frees the chunk of a long line although a short line of it is kept", async () => {
    const chunk = Buffer.alloc(1 << 20, "y");
    chunk[1000] = 10;
    const path = join(directory, "list");
    writeFileSync(path, Buffer.concat([chunk.subarray(0, 1001), Buffer.from("tail")]));
    expect(texts(await lines(path)).map((each) => each.length)).toEqual([1000, 4]);
  });

  test("that is missing or a directory is reported as such", async () => {
    await expect(lines(join(directory, "none"))).rejects.toThrow(/cannot read the list .*none/);
    await expect(lines(directory)).rejects.toThrow(UnavailableError);
  });

  test("of a million lines does not grow the memory", { timeout: 60_000 }, async () => {
    const block = Buffer.from("http://host/some/path/of/a/file.csv\tname.csv\r\n".repeat(1_000));
    const stream = Readable.from(
      (function* () {
        for (let nth = 0; nth < 1_000; nth++) yield block;
      })(),
    );
    let count = 0;
    let most = 0;
    const before = process.memoryUsage().rss;
    for await (const line of readList(stream)) {
      if (line.text === "") throw new Error();
      if (++count % 50_000 === 0) most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(count).toBe(1_000_000);
    // The list has 46 MB; keeping all lines would take several hundred.
    expect(most).toBeLessThan(150 << 20);
  });
});

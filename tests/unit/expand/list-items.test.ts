import { Readable } from "node:stream";
import type { ListPosition } from "@drover/producer/expand/cursor";
import { legacyItems } from "@drover/producer/expand/legacy-list";
import { type ListItem, listItems } from "@drover/producer/expand/list-items";
import { listTextOf } from "@drover/producer/expand/list-text";
import { ListingError } from "@drover/shared/storage/listing-error";
import { describe, expect, test } from "vitest";

const SUM = "0123456789abcdef".repeat(4);
const BASE = "https://user:pw@host/dir?token=t";

async function read(
  text: string,
  from: ListPosition = { listByte: 0 },
  baseUrl?: string,
): Promise<ListItem[]> {
  const bytes = Buffer.from(text).subarray(from.listByte);
  const items: ListItem[] = [];
  for await (const item of listItems(Readable.from([bytes]), from, { name: "urls.txt", baseUrl }))
    items.push(item);
  return items;
}

/** What each item says, without what it leaves to defaults. */
async function said(text: string, baseUrl?: string): Promise<unknown[]> {
  return (await read(text, undefined, baseUrl)).map(({ where, says }) => {
    if ("error" in says) return `${where}: ${says.error.message}`;
    const { source, destination, sha256 } = says;
    return [source, destination, sha256].slice(0, sha256 ? 3 : destination ? 2 : 1);
  });
}

describe("lines", () => {
  test.for<[string, unknown[]]>([
    [
      "a\nb\tname\nc\tname2\tSUM\nd\t\tSUM\n",
      [["a"], ["b", "name"], ["c", "name2", SUM], ["d", undefined, SUM]],
    ],
    ["# note\n\n   \n  a\n\t# note\n\tb\n./#x\n #y", [["a"], ["b"], ["./#x"]]],
    ["a\t\tsha256:SUM", [["a", undefined, SUM]]],
    ["a\t./SUM", [["a", SUM]]],
    ["a\t./b/c", [["a", "b/c"]]],
    ["a\tb c \t", [["a", "b c "]]],
  ])("%j", async ([text, expected]) => {
    expect(await said(text.replaceAll("SUM", SUM))).toEqual(expected);
  });

  test.for([SUM, SUM.toUpperCase(), `sha256:${SUM}`, "sha256:abc"])(
    "a digest in the place of the destination is refused with its line, %s",
    async (digest) => {
      const [good, bad] = await said(`# one\n\na\nhttps://host/x\t${digest}`);
      expect(good).toEqual(["a"]);
      expect(bad).toMatch(/^line 4 of urls\.txt: column 2 .*looks like a SHA-256: put that in column 3/);
    },
  );

  test("errors name their line, also after a resume", async () => {
    const text = "# c\r\na\r\n\r\nb\tx\tnope\r\nc\t\tnope";
    expect(await said(text)).toEqual([
      ["a"],
      expect.stringMatching(/^line 4 of urls\.txt: .*64 hexadecimal digits/),
      expect.stringMatching(/^line 5 of urls\.txt: /),
    ]);
    const all = await read(text);
    expect(await read(text, all[0]?.next)).toEqual(all.slice(1));
    expect(await read(text, all[1]?.start)).toEqual(all.slice(1));
    const [long, after] = await said(`${"x".repeat(70_000)}\nb\tc\td`);
    expect(long).toBe("line 1 of urls.txt: the line is over 65536 bytes");
    expect(after).toMatch(/^line 2 /);
  });
});

describe("lines of sha256sum", () => {
  const lines = `${SUM}  a.txt\n${SUM} *./sub/b c#?%.txt\n\\${SUM}  x\\ny\\\\z\n${SUM.toUpperCase()}  ü\t1\n`;

  test("name paths, which are their destinations, too", async () => {
    expect(await said(lines)).toEqual([
      ["a.txt", "a.txt", SUM],
      ["./sub/b c#?%.txt", "sub/b c#?%.txt", SUM],
      ["x\ny\\z", "x\ny\\z", SUM],
      ["ü\t1", "ü\t1", SUM],
    ]);
    const elsewhere = await said(`${SUM}  /abs/a\n${SUM}  ../b\n${SUM}  https://h/c\n`);
    expect(elsewhere).toEqual([
      ["/abs/a", undefined, SUM],
      ["../b", undefined, SUM],
      ["https://h/c", undefined, SUM],
    ]);
  });

  test("name what is below --base-url", async () => {
    const at = (path: string) => `https://user:pw@host/dir/${path}?token=t`;
    expect(await said(lines, BASE)).toEqual([
      [at("a.txt"), "a.txt", SUM],
      [at("sub/b%20c%23%3F%25.txt"), "sub/b c#?%.txt", SUM],
      [at("x%0Ay%5Cz"), "x\ny\\z", SUM],
      [at("%C3%BC%091"), "ü\t1", SUM],
    ]);
    expect(await said(`${SUM}  a`, "http://host")).toEqual([["http://host/a", "a", SUM]]);
    expect(await said(`${SUM}  a`, "http://host/x/")).toEqual([["http://host/x/a", "a", SUM]]);
    expect(await said("b.txt\n", BASE)).toEqual([["b.txt"]]);
  });

  test.for(["/etc/x", "../x", "a/../x", "./../x", "a/./b"])("never lead out of it: %s", async (name) => {
    expect(await said(`${SUM}  ${name}`, BASE)).toEqual([
      expect.stringMatching(/^line 1 .* is not below --base-url/),
    ]);
  });

  test("with an unknown escape are refused, without what they name", async () => {
    const [item] = await read(`\\${SUM}  https://user:pw@host/\\q`);
    expect(item?.says).toMatchObject({
      source: "line 1 of urls.txt",
      error: { message: "\\q is no escape of sha256sum" },
    });
  });
});

describe("a list with a header", () => {
  test.for<[string, unknown[]]>([
    [
      "source,destination,sha256\na,b,SUM\nc\nd,,\n,x",
      [["a", "b", SUM], ["c"], ["d"], [""]].with(3, ["", "x"]),
    ],
    ["sha256\turl\tdestination\nSUM\thttps://h/,a\t\n\tb\t\n", [["https://h/,a", undefined, SUM], ["b"]]],
    ["\ufeff\n# note\r\nURL, SHA256\r\n# note\r\n\r\na,SUM\r\n", [["a", undefined, SUM]]],
    ['url\na,b\n"c,d"\n', [["a,b"], ["c,d"]]],
    ['"source","destination"\n"a,b","say ""hi"""\n "c",""\n', [["a,b", 'say "hi"'], ["c"]]],
    [
      'destination,source\n"two\n# lines\r\n",a\nb,c',
      [
        ["a", "two\n# lines\n"],
        ["c", "b"],
      ],
    ],
    ["destination,url\nSUM,a\n", [["a", SUM]]],
    ['source,destination\n"","x"\n"a",""', [["", "x"], ["a"]]],
  ])("%j", async ([text, expected]) => {
    expect(await said(text.replaceAll("SUM", SUM))).toEqual(expected);
  });

  test.for(["source,dest\n", "sources\n", "a,source\n", "./source\n", '"source\n', "source;destination\n"])(
    "is only one whose first line has known names alone: %j",
    async (text) => {
      expect(await said(text)).toEqual([[text.trim()]]);
    },
  );

  test.for<[string, RegExp]>([
    ["url,sha256\na,,b\nc", /^line 2 of urls\.txt: it has 3 fields, and the header has 2/],
    ['url,sha256\n"a"b,c\nc', /^line 2 of urls\.txt: text follows a field in quotes/],
    ['url,sha256\na"b",c\nc', /^line 2 of urls\.txt: a quote is within a field/],
    ["url,sha256\na,nope\nc", /^line 2 of urls\.txt: its checksum is no SHA-256/],
    ['destination,url,sha256\n"x\n\n",a,nope\n,c', /^line 2 of urls\.txt: its checksum/],
  ])("fails a bad record and goes on: %j", async ([text, says]) => {
    expect(await said(text)).toEqual([expect.stringMatching(says), ["c"]]);
  });

  test.for<[string, RegExp]>([
    ["destination,sha256\na,b", /line 1 of urls\.txt: a header needs one column source or url/],
    ["url,source\na,b", /a header needs one column/],
    ["url,sha256,sha256\na", /two columns have the same name/],
    ['# c\nurl\na\n"b\nc\n', /line 4 of urls\.txt: a quote is not closed/],
    [`url\n"${"x\n".repeat(40_000)}"`, /line 2 of urls\.txt: a quote is not closed/],
  ])("that cannot be read stops the list: %#", async ([text, says]) => {
    await expect(read(text)).rejects.toThrow(says);
    await expect(read(text)).rejects.toThrow(ListingError);
  });

  test("is known again at every position", async () => {
    const text = `# c\r\nsha256,destination,url\r\n${SUM},"a\nb",http://h/1\r\n\r\n,"",http://h/2\n# x\n,,http://h/3,\n"${SUM}",,"4"`;
    const all = await read(text);
    expect(all.map(({ where }) => where?.split(" ")[1])).toEqual(["3", "6", "8", "9"]);
    for (const [at, item] of all.entries()) {
      expect(await read(text, JSON.parse(JSON.stringify(item.start)))).toEqual(all.slice(at));
      expect(await read(text, JSON.parse(JSON.stringify(item.next)))).toEqual(all.slice(at + 1));
    }
  });
});

test("a list of the earlier syntax keeps its meaning", async () => {
  const text = `#a\n  b\nsource,destination\n${SUM}  c\nd\t${SUM}\n`;
  const sources: unknown[] = [];
  for await (const { says } of legacyItems(Readable.from([Buffer.from(text)]), { listByte: 0 }))
    sources.push("error" in says ? says.error : [says.source, says.destination]);
  expect(sources).toEqual([
    ["#a", undefined],
    ["  b", undefined],
    ["source,destination", undefined],
    [`${SUM}  c`, undefined],
    ["d", SUM],
  ]);
});

test("a list that is made by listTextOf says what is asked of the copies", async () => {
  const asked = {
    permissions: { mode: 0o640, owner: 'a,"b"', grants: [{ grantee: "g\n", permission: "READ" }] },
    from: { source: "s3://b/old, name", destination: "old, name" },
  };
  const items = await read(
    listTextOf([
      { source: "s3://b/new", destination: "new\nname", asks: asked },
      { source: "s3://b/plain", destination: "plain", asks: { permissions: {}, from: undefined } },
    ]),
  );
  expect(items.map(({ says }) => says)).toEqual([
    { source: "s3://b/new", destination: "new\nname", sha256: undefined, asks: asked },
    { source: "s3://b/plain", destination: "plain", sha256: undefined },
  ]);
  const [bad] = await read("source,access\na,{]\n");
  expect(bad?.says).toMatchObject({ error: { message: expect.stringContaining("access") } });
});

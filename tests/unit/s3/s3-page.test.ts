import { objectsOf, parsePage } from "@drover/shared/storage/s3/listing/page";
import { describe, expect, test } from "vitest";

const TIME = "2026-01-02T03:04:05.678Z";

function contents(
  parts: Partial<Record<"Key" | "LastModified" | "ETag" | "Size", string>>,
  more = "",
): string {
  const all = { Key: "k", LastModified: TIME, ETag: "&quot;900150983cd24fb0&quot;", Size: "3", ...parts };
  const fields = Object.entries(all).map(([name, value]) => `<${name}>${value}</${name}>`);
  return `<Contents>${fields.join("")}${more}<StorageClass>STANDARD</StorageClass></Contents>`;
}

function page(contents: string, before = "<EncodingType>url</EncodingType>"): Buffer {
  return Buffer.from(
    `<?xml version="1.0"?><ListBucketResult>${before}<IsTruncated>false</IsTruncated>${contents}</ListBucketResult>`,
  );
}

/** What is read of a page, or what is said of it. */
function read(bytes: Buffer): unknown {
  try {
    const parsed = parsePage(bytes);
    return { objects: objectsOf(parsed, parsed.objects.keys.length), prefixes: parsed.prefixes };
  } catch (error) {
    return `refused: ${(error as Error).message}`;
  }
}

const object = {
  ...{ key: "k", sizeBytes: 3, etag: '"900150983cd24fb0"', mtimeMs: Date.parse(TIME) },
  storageClass: "STANDARD",
};

describe("a page of a listing", () => {
  test.for<[string, string, object[]]>([
    ["plain", contents({ Key: "a" }) + contents({ Key: "b" }), [{ key: "a" }, { key: "b" }]],
    ["encoded", contents({ Key: "a%20b+c%3Dd%C3%A9" }), [{ key: "a b c=dé" }]],
    [
      "a line break in a key",
      contents({ Key: "a%0Ab" }) + contents({ Key: "c" }),
      [{ key: "a\nb" }, { key: "c" }],
    ],
    [
      "a key that is no UTF-8",
      contents({ Key: "a%FF" }) + contents({ Key: "b%20" }),
      [{ key: "a%FF", unreadable: true }, { key: "b " }],
    ],
    ["other characters", contents({ Key: "é文🐑" }), [{ key: "é文🐑" }]],
    [
      "another order",
      `<Contents><Size>3</Size><ETag>"900150983cd24fb0"</ETag><LastModified>${TIME}</LastModified><Key>k</Key></Contents>`,
      [{ storageClass: undefined }],
    ],
    ["elements within", contents({}, "<Owner><ID>x</ID><Key>not this</Key></Owner><Empty/>"), [{}]],
    ["white space", contents({}).replaceAll("><", ">\n  <"), [{}]],
    ["no ETag", contents({}).replace(/<ETag>.*<\/ETag>/, ""), [{ etag: "" }]],
    [
      "a time without milliseconds",
      contents({ LastModified: "2026-01-02T03:04:05Z" }),
      [{ mtimeMs: Date.parse("2026-01-02T03:04:05Z") }],
    ],
    [
      "another time zone",
      contents({ LastModified: "2026-01-02T03:04:05.678+01:00" }),
      [{ mtimeMs: Date.parse(TIME) - 3_600_000 }],
    ],
    ["a large object", contents({ Size: "5497558138880" }), [{ sizeBytes: 5_497_558_138_880 }]],
    ["a comment around one", `<!-- ${contents({ Key: "no" })} -->${contents({})}`, [{}]],
    ["a comment within one", contents({}, `<Owner><!-- </Owner> --></Owner>`), [{}]],
    ["CDATA", contents({ Key: "<![CDATA[a%26]]>" }), [{ key: "a&" }]],
    ["a line break of its own", `${contents({ Key: "a\nb" })}${contents({})}`, [{ key: "a\nb" }, {}]],
    ["none", "", []],
  ])("is parsed (%s)", ([, xml, wanted]) => {
    expect(read(page(xml))).toEqual({
      objects: wanted.map((each) => ({ ...object, ...each })),
      prefixes: [],
    });
  });

  test("may contain entities if keys are not encoded", () => {
    expect(read(page(contents({ Key: "a&amp;b%20&#10;&#x1F411;" }), ""))).toEqual({
      objects: [{ ...object, key: "a&b%20\n🐑" }],
      prefixes: [],
    });
  });

  test.for<[string, string]>([
    ["without a key", contents({}).replace(/<Key>.*<\/Key>/, "")],
    ["without a size", contents({}).replace(/<Size>.*<\/Size>/, "")],
    ["with a size that is none", contents({ Size: "-3" })],
    ["without a time", contents({}).replace(/<LastM.*d>/, "")],
    ["with a time that is none", contents({ LastModified: "2026-13-02T03:04:05.678Z" })],
    ["with a time of letters", contents({ LastModified: "2026-O1-02T03:04:05.678Z" })],
    ["with a lone &", contents({ Key: "a&b" })],
    ["with an unknown entity", contents({ Key: "a&b;" })],
    ["that is not closed", contents({}).replace("</Contents>", "")],
    ["of which an element is not closed", contents({}).replace("</Size>", "")],
    ["of which an element is closed by another", contents({}).replace("</Size>", "</ETag>")],
  ])("is refused with an object %s", ([, xml]) => {
    expect(read(page(contents({ Key: "before" }) + xml + contents({ Key: "z" })))).toMatch(/^refused/);
  });

  test("is refused if it is cut off anywhere", () => {
    const whole = page(contents({ Key: "a" }) + contents({ Key: "b" }, "<Owner><ID>x</ID></Owner>"));
    for (let length = 0; length < whole.length; length++)
      expect(read(whole.subarray(0, length)), `after ${length} bytes`).toMatch(/^refused/);
    expect(read(whole)).toMatchObject({ objects: [{ key: "a" }, { key: "b" }] });
  });
});

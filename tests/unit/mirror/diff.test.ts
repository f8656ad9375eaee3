import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { csvHead, csvLines, readCsv } from "@drover/producer/catalog/csv";
import { diff } from "@drover/producer/catalog/diff";
import { type Row, toBytes } from "@drover/producer/catalog/rows";
import { afterAll, describe, expect, it } from "vitest";

const directory = mkdtempSync("/tmp/dvd-");
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const row = (path: string, change: Partial<Row> = {}): Row => ({
  ...{ path: toBytes(path), sizeBytes: 1, sha256: "", mode: "", sourceId: "", version: "", stamp: "" },
  ...{
    mtime: "",
    owner: "",
    grants: "",
    movedFrom: "",
    eventId: "",
    eventTime: "",
    askedMode: "",
    ...change,
  },
});
const write = (name: string, rows: Row[]) => {
  const file = join(directory, name);
  writeFileSync(file, Buffer.from(csvHead(true) + csvLines(rows, true), "latin1"));
  return file;
};
const changes = async (olds: Row[], nows: Row[]) => {
  const found: string[] = [];
  for await (const each of diff(write("old.csv", olds), write("new.csv", nows)))
    found.push([each.change, ...("from" in each ? [each.from] : []), each.path].join(" "));
  return found;
};

describe("two states", () => {
  it("have renames by their events first, then by checksum", async () => {
    const [one, two] = ["aa".repeat(32), "bb".repeat(32)];
    expect(
      await changes(
        [row("a", { sha256: one }), row("b", { sha256: one }), row("c", { sha256: two }), row("d"), row("e")],
        [
          row("w", { sha256: one, movedFrom: "b" }),
          row("x", { sha256: one }),
          row("y", { sha256: two }),
          row("z", { movedFrom: "d" }),
        ],
      ),
    ).toEqual(["removed e", "renamed b w", "renamed a x", "renamed c y", "renamed d z"]);
  });

  it("have permissions apart from content", async () => {
    expect(
      await changes(
        [
          row("a", { mode: "0644" }),
          row("b", { owner: "x" }),
          row("c"),
          row("d", { version: "1" }),
          row("e"),
        ],
        [
          row("a", { mode: "0600" }),
          row("b", { owner: "y" }),
          row("c", { grants: "[]" }),
          row("d", { version: "2" }),
          row("e"),
        ],
      ),
    ).toEqual(["permissions a", "permissions b", "permissions c", "changed d"]);
  });

  it("keep every name and text through a file", async () => {
    const odd = ['=cmd|"x"', "a,b\nc", "'quoted", "-1", "+2", "@z", "ü\t", "\r"].sort((a, b) =>
      Buffer.compare(Buffer.from(a), Buffer.from(b)),
    );
    const rows = odd.map((each) =>
      row(each, {
        owner: toBytes(each),
        grants: toBytes(each),
        eventId: toBytes(each),
        movedFrom: toBytes(each),
      }),
    );
    const file = write("odd.csv", rows);
    const read: Row[] = [];
    for await (const each of readCsv(file, ["path"])) read.push(each.row);
    expect(read).toEqual(rows);
  });
});

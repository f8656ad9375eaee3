import { textLine } from "@drover/cli/log/text-line";
import { expect, it } from "vitest";

const line = (fields: object) =>
  textLine(JSON.stringify({ level: "info", ts: "T", ...fields, message: "hello" }));

it("a line of text has the time, the level, the message, and the fields", () => {
  expect(line({ run: "r1", bytes: 3, done: true, none: null })).toBe(
    "T INFO hello run=r1 bytes=3 done=true none=null\n",
  );
  expect(line({ level: "warn" })).toBe("T WARNING hello\n");
  expect(line({ level: "critical" })).toBe("T CRITICAL hello\n");
});

it("what has blanks, quotes or equals signs is quoted, and lists are JSON", () => {
  expect(line({ a: "x y", b: 'say "x"', c: "k=v", d: "", e: ["x y", 1] })).toBe(
    'T INFO hello a="x y" b="say \\"x\\"" c="k=v" d="" e=["x y",1]\n',
  );
});

it("nothing ends the line early, moves the cursor, or tells a secret", () => {
  expect(textLine(JSON.stringify({ ts: "T", level: "info", message: "a\nb\u001b[2Jc" }))).toBe(
    "T INFO a b [2Jc\n",
  );
  expect(line({ path: "x\u0085y" })).toBe('T INFO hello path="x y"\n');
  const url = "https://me:secret@example.com/x";
  expect(line({ url, in: { url }, text: `cannot read ${url}: no` })).toBe(
    'T INFO hello url=https://***@example.com/x in={"url":"https://***@example.com/x"} text="cannot read https://***@example.com/x: no"\n',
  );
});

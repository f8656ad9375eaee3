import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SettingsCheck } from "@drover/producer/sync-action/check-settings";
import { afterAll, describe, expect, it } from "vitest";

const schemas = mkdtempSync("/tmp/dsc-");
afterAll(() => rmSync(schemas, { recursive: true }));
const check = (content: string | Buffer, name = "app.yml") =>
  new SettingsCheck(schemas).check(name, Buffer.from(content));

const BOMB = `a: &a [s, s, s, s, s, s, s, s, s]
${[..."bcdefghij"].map((name, at) => `${name}: &${name} [${Array(9).fill(`*${"abcdefghi"[at]}`).join(", ")}]`).join("\n")}
`;

describe("what is checked of settings", () => {
  it.for([
    ["nothing", ""],
    ["a comment", "# none\n"],
    ["a map", "a: 1\nb: [x, y]\nc: {d: e}\n"],
    ["aliases", "base: &b {x: 1}\none: *b\ntwo: *b\n"],
    ["a text over lines", "a: |\n  one\n  two\n"],
    ["tags of a program", "password: !secret db\n"],
    ["what is beyond ASCII", "name: Grüße 你好 🐑\n"],
    ["a byte order mark", "\ufeffa: 1\n"],
    ["keys of other types", "1: a\ntrue: b\n"],
    ["__proto__", "__proto__: {polluted: 1}\n"],
  ])("%s may be published", ([, text]) => {
    expect(check(text as string)).toEqual([]);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it.for([
    ["a quote that is not closed", 'a: 1\nb: "x\n', 3],
    ["a bracket that is not closed", "a: [1, 2\n", 2],
    ["bad indentation", "a:\n  b: 1\n c: 2\n", 3],
    ["a tab", "a:\n\tb: 1\n", 2],
    ["a key twice", "a: 1\nb: 2\na: 3\n", 3],
    ["a key twice, deeper", "a:\n  b: 1\n  b: 2\n", 3],
    ["an alias of nothing", "a: *nothing\n", 1],
    ["two documents", "a: 1\n---\nb: 2\n", 2],
    ["a control character", "a: 1\nb: \u0007\n", 2],
    ["an escape that is none", 'a: "\\q"\n', 1],
  ])("%s may not, and its line is told", ([, text, line]) => {
    const issues = check(text as string);
    expect(issues.length).toBeGreaterThan(0);
    expect(issues[0]?.line).toBe(line);
    expect(issues[0]?.column).toBeGreaterThan(0);
  });

  it("tells where bytes are no UTF-8", () => {
    expect(check(Buffer.from([0x61, 0x3a, 0x20, 0x31, 0x0a, 0x62, 0x3a, 0x20, 0xc3, 0xbc, 0xff]))).toEqual([
      { why: "it is not valid UTF-8", line: 2, column: 5 },
    ]);
    expect(check(Buffer.from("a: ü", "latin1"))).toEqual([
      { why: "it is not valid UTF-8", line: 1, column: 4 },
    ]);
    expect(check(Buffer.from("\ufeffa: 1\n", "utf16le"))).toHaveLength(1);
  });

  it("refuses what would take a parser's memory or stack, at once", () => {
    const begunMs = performance.now();
    expect(check(BOMB)).toEqual([{ why: "its aliases stand for too much", line: 2, column: 8 }]);
    expect(check(`a: ${"[".repeat(100_000)}`)[0]?.why).toBeDefined();
    expect(check(`a: ${"[".repeat(500)}${"]".repeat(500)}`)).toMatchObject([
      { why: "it is nested too deeply" },
    ]);
    expect(check("a: &a [*a]\n").length).toBeLessThanOrEqual(1);
    expect(check(Buffer.alloc((1 << 20) + 1, "#"))).toEqual([{ why: "it is larger than 1 MiB" }]);
    expect(performance.now() - begunMs).toBeLessThan(20_000);
  });

  it("never says a value", () => {
    for (const text of [
      'a: "s3cr3t\n',
      "s3cr3t\nb: 1\n",
      "a: s3cr3t: x\n",
      "a: @s3cr3t\n",
      "a: *s3cr3t\n",
      "a: !!int s3cr3t\n",
      "- a\ns3cr3t\n",
      "%s3cr3t\na: 1\n",
      "a: [s3cr3t\nb: 1\n",
    ])
      expect(JSON.stringify(check(text))).not.toContain("s3cr3t");
  });
});

describe("the schema of an adapter", () => {
  const write = (name: string, schema: unknown) =>
    writeFileSync(join(schemas, name), typeof schema === "string" ? schema : JSON.stringify(schema));

  it("is JSON Schema 2020-12, and what it finds has a place and no value", () => {
    write("db.json", {
      $schema: "https://json-schema.org/draft/2020-12/schema",
      type: "object",
      required: ["host"],
      additionalProperties: false,
      properties: {
        host: { type: "string" },
        port: { type: "integer", maximum: 65_535 },
        pools: { type: "array", prefixItems: [{ type: "object", properties: { size: { enum: [1, 2] } } }] },
        mode: { const: "fast" },
        name: { pattern: "^[a-z]+$" },
      },
    });
    const text = "port: 70000\npools:\n  - {size: 31337}\nmode: s3cr3t\nname: S3CR3T\nextra: s3cr3t\n";
    const issues = check(text, "sub/db.yaml");
    expect(issues.map(({ why, line, column }) => `${line}:${column} ${why}`).sort()).toEqual([
      '1:1 schema: must NOT have additional properties: "extra"',
      "1:1 schema: must have required property 'host'",
      "1:7 schema: must be <= 65535",
      "3:12 schema: must be equal to one of the allowed values",
      "4:7 schema: must be equal to constant",
      '5:7 schema: must match pattern "^[a-z]+$"',
    ]);
    expect(JSON.stringify(issues)).not.toMatch(/s3cr3t|31337/i);
    expect(check("host: a\n", "db.yml")).toEqual([]);
    expect(check("anything: goes\n", "other.yml")).toEqual([]);
  });

  it("holds the file back where the schema is none", () => {
    write("broken.json", "{ s3cr3t");
    write("wrong.json", { type: "s3cr3t" });
    for (const name of ["broken", "wrong"])
      expect(check("a: 1\n", `${name}.yml`)).toEqual([
        { why: `its schema ${name}.json cannot be read, or is none` },
      ]);
  });
});

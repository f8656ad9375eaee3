import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { parse } from "csv-parse/sync";
import { describe, expect } from "vitest";
import { file } from "../../harness/behaviours.js";
import { sha256 } from "../../harness/content.js";
import type { Sandbox } from "../../harness/drover.js";
import { type FakeS3, sendError } from "../../harness/fake-s3.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";

/** Names that a format, a shell or a spreadsheet could misinterpret. */
const HOSTILE = [
  "=1+1",
  "-rf",
  "@x",
  "'q",
  "+1",
  "a,b",
  'a"b',
  "a\nb",
  "a\rb",
  "tab\tx",
  " s ",
  "ü",
  "＝w",
  "😀",
  "d/e",
];

/** A state directory of the test's own, whose catalog has no other trees. */
function own(work: Work): string[] {
  return ["--state-dir", work.at("state")];
}

async function syncIn(box: Sandbox, work: Work, over: readonly string[] = []) {
  return await box.sync([work.at("in"), ...work.into, ...own(work), ...over]);
}

async function catalog(box: Sandbox, work: Work, ...args: string[]) {
  const [command = "", ...rest] = args;
  return await box.run(["catalog", command, ...(command === "diff" ? [] : own(work)), ...rest]);
}

describe("drover catalog export", () => {
  it("writes one line per file, sorted by the bytes of the names", async ({ box, work }) => {
    work.write(Object.fromEntries(HOSTILE.map((name) => [`in/${name}`, `content of ${name}`])));
    chmodSync(work.at("in/ü"), 0o600);
    await syncIn(box, work);
    const { stdout, code } = await catalog(box, work, "export");
    expect(code).toBe(0);
    const [head, ...rows] = parse(stdout) as string[][];
    expect(head).toEqual(["path", "size", "sha256", "mode", "source_id", "version", "stamp"]);
    // The apostrophe keeps a spreadsheet from computing the name.
    const guarded = HOSTILE.map((name) => (/^[=\-+@'＝]/.test(name) ? `'${name}` : name));
    const names = rows.map((row) => row[0]);
    expect(names.toSorted()).toEqual(guarded.toSorted());
    const bytes = HOSTILE.map((name) => Buffer.from(name)).sort(Buffer.compare);
    expect(names.map((name) => name?.replace(/^'/, ""))).toEqual(bytes.map(String));
    const row = rows.find(([name]) => name === "ü");
    const content = "content of ü";
    expect(row?.slice(1, 4)).toEqual([String(Buffer.byteLength(content)), sha256(content), "0600"]);
  });

  it("writes the same as NDJSON and as a database", async ({ box, work }) => {
    work.write(Object.fromEntries(HOSTILE.map((name) => [`in/${name}`, `content of ${name}`])));
    await syncIn(box, work);
    const text = (await catalog(box, work, "export", "--format", "ndjson")).stdout;
    const lines = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map(({ path }) => path).toSorted()).toEqual(HOSTILE.toSorted());
    const { stdout } = await catalog(box, work, "export", "--output", work.at("c.sqlite"));
    expect(stdout).toContain(`${HOSTILE.length} files of ${work.out} written to`);
    const database = new DatabaseSync(work.at("c.sqlite"), { readOnly: true });
    expect(database.prepare("SELECT * FROM files ORDER BY path").all()).toEqual(
      lines.map((line) => Object.assign(Object.create(null), line)),
    );
    expect(database.prepare("SELECT root FROM tree").get()).toMatchObject({ root: work.out });
    database.close();
  });

  it("leaves the output file as it is if it cannot be written completely", async ({ box, work }) => {
    work.write({ "in/a": "a", "keep.csv": "before" });
    await syncIn(box, work);
    mkdirSync(work.at("full"));
    const { code, stderr } = await catalog(box, work, "export", "--output", work.at("full"));
    expect(code).toBe(2);
    expect(stderr).toMatch(/^drover: cannot write \S+ \(E\w+\)\n$/);
    expect(readdirSync(work.path).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  it.for<[string, string[], string]>([
    ["a format that is none", ["--format", "xml"], "--format must be csv, ndjson, sqlite"],
    ["a database on standard output", ["--format", "sqlite"], "needs --output"],
    ["a tree that is none", ["/nowhere"], "knows no tree /nowhere"],
  ])("refuses %s", async ([, args, message], { box, work }) => {
    work.write({ "in/a": "a" });
    await syncIn(box, work);
    const { code, stderr, stdout } = await catalog(box, work, "export", ...args);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(stdout).toBe("");
  });

  it("asks for the tree if there are several, and accepts each by its directory", async ({ box, work }) => {
    work.write({ "in/a": "a" });
    await syncIn(box, work);
    await box.sync([work.at("in"), "--artifact-root", work.at("out2"), "--script-name", "x", ...own(work)]);
    const unnamed = await catalog(box, work, "export");
    expect(unnamed.code).toBe(2);
    expect(unnamed.stderr).toContain(`name one of the trees: ${work.out}, ${work.at("out2", "x")}`);
    expect((await catalog(box, work, "export", work.at("out2/./x/"))).stdout).toContain("\na,1,");
  });

  it("says that there is nothing yet", async ({ box, work }) => {
    expect((await catalog(box, work, "export")).stderr).toContain("the catalog is empty");
    expect((await catalog(box, work, "stats")).stdout).toBe("the catalog is empty\n");
  });
});

describe("drover catalog diff", () => {
  it("reports what two syncs and a removal changed, and exits like diff", async ({ box, work }) => {
    work.write({ "in/a": "a", "in/b": "b", "in/gone": "gone", "in/mode": "mode" });
    await syncIn(box, work);
    const [old, now] = [work.at("old.csv"), work.at("new.csv")];
    await catalog(box, work, "export", "--output", old);
    work.write({ "in/b": "bb", "in/new": "new" });
    chmodSync(work.at("in/mode"), 0o600);
    renameSync(work.at("in/a"), work.at("in/to"));
    rmSync(work.at("in/gone"));
    await syncIn(box, work);
    // As left by a sync that removes files missing at the source.
    await catalog(box, work, "export", "--output", now);
    const kept = readFileSync(now, "utf8")
      .split("\n")
      .filter((line) => !/^(gone|a),/.test(line));
    writeFileSync(now, kept.join("\n"));

    const { stdout, code } = await catalog(box, work, "diff", old, now);
    expect(stdout.split("\n")).toEqual([
      "~ b (1 B -> 2 B)",
      "- gone",
      "p mode (0644 -> 0600)",
      "+ new",
      "> a -> to",
      "1 added, 1 removed, 1 changed, 1 renamed, 1 with other permissions",
      "",
    ]);
    expect(code).toBe(1);

    const json = JSON.parse((await catalog(box, work, "diff", "--json", old, now)).stdout);
    expect(json).toMatchObject({ added: 1, removed: 1, changed: 1, renamed: 1, permissions: 1 });
    expect(json.changes).toHaveLength(5);
    expect(json.changes).toContainEqual({
      change: "renamed",
      path: "to",
      from: "a",
      old: { size: 1, sha256: sha256("a"), mode: "0644" },
      new: { size: 1, sha256: sha256("a"), mode: "0644" },
    });

    const same = await catalog(box, work, "diff", old, old);
    expect([same.code, same.stdout]).toEqual([
      0,
      "0 added, 0 removed, 0 changed, 0 renamed, 0 with other permissions\n",
    ]);
    expect(JSON.parse((await catalog(box, work, "diff", "--json", now, now)).stdout).changes).toEqual([]);
  });

  it("exits with 2 for a file that is not an export", async ({ box, work }) => {
    const good = work.write({ "good.csv": "path,size,sha256\na,1,\n" });
    const missing = await catalog(box, work, "diff", good, work.at("missing.csv"));
    expect([missing.code, missing.stdout]).toEqual([2, ""]);
    expect(missing.stderr).toBe(`drover: cannot read ${work.at("missing.csv")} (ENOENT)\n`);
    const bad = work.write({ "bad.csv": "path,size,sha256\na,1,\nb,x,\n" });
    expect((await catalog(box, work, "diff", good, bad)).stderr).toContain("bad.csv, line 3: size must be");
  });

  it("quotes a name that would break its line or is not UTF-8", async ({ box, work }) => {
    const old = work.write({ "old.csv": "path,size,sha256\n" });
    const rows = Buffer.concat([
      Buffer.from('path,size,sha256\n"a\nb",1,\n\u001b[31m,1,\n'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from(",1,\n"),
    ]);
    const now = work.write({ "new.csv": rows });
    const { stdout } = await catalog(box, work, "diff", old, now);
    expect(stdout.split("\n").slice(0, 3)).toEqual(['+ "\\u001b[31m"', '+ "a\\nb"', '+ "\ufffd\ufffd"']);
    const { changes } = JSON.parse((await catalog(box, work, "diff", "--json", old, now)).stdout);
    expect(changes[2]).toMatchObject({ path: "\ufffd\ufffd", path_base64: "//4=" });
  });
});

describe("drover catalog import", () => {
  it.for(["csv", "ndjson"])(
    "of %s makes a fresh Redis recognize unchanged files",
    async (format, { box, work, origin }) => {
      work.write(Object.fromEntries(HOSTILE.map((name) => [`in/${name}`, `content of ${name}`])));
      const url = origin.route("/remote", file("remote"));
      await syncIn(box, work, [url]);
      const output = work.at(`c.${format}`);
      await catalog(box, work, "export", "--output", output);
      rmSync(work.at("state"), { recursive: true });
      const fresh = ["--state-dir", work.at("fresh")];
      const imported = await box.run(["catalog", "import", output, work.out, ...fresh]);
      expect(imported.stdout).toBe(
        `${HOSTILE.length + 1} files imported into the catalog of ${work.out}, 0 were known already\n`,
      );
      const { items } = await box.sync([work.at("in"), url, ...work.into, ...fresh]);
      expect(new Set(items.map((item) => item.outcome))).toEqual(new Set(["unchanged"]));
      expect(new Set(items.map((item) => item.verified_by))).toEqual(new Set(["catalog", "not-modified"]));
      const again = await box.run(["catalog", "import", output, ...fresh]);
      expect(again.stdout).toContain(`0 files imported`);
    },
  );

  it("that is outdated does not make changed files count as unchanged", async ({ box, work }) => {
    work.write({ "in/source": "source 1", "in/destination": "destination 1", "in/both": "both 1" });
    await syncIn(box, work);
    const old = work.at("old.csv");
    await catalog(box, work, "export", "--output", old);
    work.write({ "in/source": "source 2", "in/both": "both 2" });
    await syncIn(box, work);
    work.write({ "out/destination": "overwritten" });
    await catalog(box, work, "drop", work.out);
    await catalog(box, work, "import", old, work.out);
    const { items } = await syncIn(box, work);
    expect(items.find((item) => item.destination === work.to("destination"))?.outcome).toBe("copied");
    // Recognized only by their bytes.
    expect(items.filter((item) => item.verified_by === "catalog")).toEqual([]);
    for (const name of ["source", "destination", "both"])
      expect(readFileSync(work.to(name), "utf8")).toBe(readFileSync(work.at("in", name), "utf8"));
  });

  it("keeps existing entries of the catalog", async ({ box, work }) => {
    work.write({ "in/a": "one" });
    await syncIn(box, work);
    const old = work.at("old.csv");
    await catalog(box, work, "export", "--output", old);
    work.write({ "in/a": "other" });
    await syncIn(box, work);
    expect((await catalog(box, work, "import", old)).stdout).toContain("0 files imported");
    expect((await catalog(box, work, "export")).stdout).toContain(sha256("other"));
  });

  it.for<[string, string, string]>([
    ["a name that leads elsewhere", "../x,1,,,aaaaaaaaaaaa,v,s", 'line 1003: refused name "../x"'],
    ["a name of a staging file", ".drover-0123456789abcdef,1,,,aaaaaaaaaaaa,v,s", "line 1003: refused name"],
    ["a source that is none", "x,1,,,short,v,s", "line 1003: source_id must be 12 characters"],
    ["a line that is cut short", "x,1,,", "line 1003: Invalid Record Length"],
  ])("of %s is refused before anything is written", async ([, line, message], { box, work }) => {
    mkdirSync(work.out);
    const lines = Array.from({ length: 1001 }, (_, at) => `f${at},1,,,aaaaaaaaaaaa,v,s`);
    const bad = work.write({ "bad.csv": "path,size,sha256,mode,source_id,version,stamp\n" });
    appendFileSync(bad, `${lines.join("\n")}\n${line}\n`);
    const { code, stderr } = await catalog(box, work, "import", bad, work.out);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
    expect((await catalog(box, work, "stats")).stdout).toBe("the catalog is empty\n");
  });

  it("of a tree that does not exist is refused", async ({ box, work }) => {
    const csv = work.write({ "a.csv": "path,size,sha256,mode,source_id,version,stamp\n" });
    const { code, stderr } = await catalog(box, work, "import", csv, work.at("nowhere"));
    expect(code).toBe(2);
    expect(stderr).toContain("is no directory");
    expect(existsSync(work.at("nowhere"))).toBe(false);
  });
});

it("an export to a file with an unknown extension needs --format", async ({ box, work }) => {
  work.write({ "in/a": "a" });
  await syncIn(box, work);
  const output = work.at("x.parquet");
  const refused = await catalog(box, work, "export", "--output", output);
  expect(refused).toMatchObject({ code: 2, stdout: "" });
  expect(refused.stderr).toContain(".parquet");
  expect(existsSync(output)).toBe(false);
  const flags = ["--output", output, "--format", "csv"];
  expect((await catalog(box, work, "export", ...flags)).code).toBe(0);
  expect((await catalog(box, work, "export", "--output", work.at("plain"))).code).toBe(0);
  expect(readFileSync(work.at("plain"))).toEqual(readFileSync(output));
});

it.for<[string, string[], Record<string, string>]>([
  ["a flag", ["--no-check-destination"], {}],
  ["the environment", [], { DROVER_CHECK_DESTINATION: "false" }],
])("a local destination is always checked, regardless of %s", async ([, args, env], { box, work }) => {
  work.write({ "in/a": "a" });
  const refused = await box.run(["sync", work.at("in"), ...work.into, ...own(work), ...args], { env });
  expect(refused).toMatchObject({ code: 2, stdout: "" });
  expect(refused.stderr).toBe(
    "drover: check-destination cannot be false: a local destination is always checked\n",
  );
  expect(existsSync(work.out)).toBe(false);
  expect((await syncIn(box, work, ["--check-destination"])).code).toBe(0);
  work.write({ "out/a": "b" });
  expect((await syncIn(box, work)).items[0]?.outcome).toBe("copied");
});

describe("a destination in S3 that others have changed", () => {
  const names = Array.from({ length: 40 }, (_, at) => `f${String(at).padStart(2, "0")}`);

  async function filled(box: Sandbox, work: Work, s3: FakeS3) {
    work.write(Object.fromEntries(names.map((name) => [`in/${name}`, `content of ${name}`])));
    const command = [work.at("in"), "--artifact-root", "s3://bucket/to", "--script-name", "", ...own(work)];
    const sync = async (...over: string[]) => {
      const { items, code } = await box.sync([...command, ...over], { env: s3.env });
      const outcomes = new Map(items.map((item) => [item.destination.replace(/^.*\//, ""), item.outcome]));
      return { code, outcomes, copied: names.filter((name) => outcomes.get(name) === "copied") };
    };
    expect((await sync()).copied).toEqual(names);
    return sync;
  }

  it("is noticed only with --check-destination", async ({ box, work, s3 }) => {
    const sync = await filled(box, work, s3);
    s3.remove("to/f07");
    s3.put("to/f11", "somebody else's");
    const trusting = await sync();
    expect([trusting.code, trusting.copied]).toEqual([0, []]);
    s3.requests.length = 0;
    const checked = await sync("--check-destination");
    expect([checked.code, checked.copied]).toEqual([0, ["f07", "f11"]]);
    expect(checked.outcomes.size).toBe(40);
    for (const name of names) expect(String(s3.stored(`to/${name}`)?.content)).toBe(`content of ${name}`);
    const written = new Set(s3.requests.filter(({ method }) => method === "PUT").map(({ key }) => key));
    expect(names.filter((name) => written.has(`to/${name}`))).toEqual(["f07", "f11"]);
    expect((await sync("--check-destination")).copied).toEqual([]);
  });

  it("is noticed for URLs whose servers report no change", async ({ box, work, origin, s3 }) => {
    const url = origin.route("/a.csv", file("content"));
    const command = [url, "--artifact-root", "s3://bucket/to", ...own(work), "--script-name", ""];
    const outcome = async (...over: string[]) =>
      (await box.sync([...command, ...over], { env: s3.env })).items[0]?.outcome;
    expect(await outcome()).toBe("copied");
    s3.remove("to/a.csv");
    expect(await outcome("--no-check-destination")).toBe("unchanged");
    expect(await outcome("--check-destination")).toBe("copied");
    expect(await outcome("--check-destination")).toBe("unchanged");
  });

  it("is noticed by an import, which keeps the entries that still hold", async ({ box, work, s3 }) => {
    const sync = await filled(box, work, s3);
    const csv = work.at("c.csv");
    await catalog(box, work, "export", "s3://bucket/to/", "--output", csv);
    s3.remove("to/f07");
    s3.put("to/f11", "somebody else's");
    await catalog(box, work, "drop", "s3://bucket/to");
    const imported = await box.run(["catalog", "import", csv, "s3://bucket/to", ...own(work)], {
      env: s3.env,
    });
    expect(imported.stdout).toBe(
      "38 files imported into the catalog of s3://bucket/to, 0 were known already, 2 are not there as they were\n",
    );
    expect((await sync()).copied).toEqual(["f07", "f11"]);
  });

  it("is not confused with one that cannot be read: then nothing is imported", async ({ box, work, s3 }) => {
    await filled(box, work, s3);
    const csv = work.at("c.csv");
    await catalog(box, work, "export", "--output", csv);
    await catalog(box, work, "drop", "s3://bucket/to");
    s3.fault = (_request, answer) => {
      sendError(answer, 403, "AccessDenied");
      return true;
    };
    const args = ["catalog", "import", csv, "s3://bucket/to", ...own(work)];
    const { code, stderr } = await box.run(args, { env: s3.env });
    expect(code).toBe(2);
    expect(stderr).toContain("drover: cannot look at s3://bucket/to: access denied");
    expect((await catalog(box, work, "stats")).stdout).toBe("the catalog is empty\n");
  });
});

it("drover catalog stats reports files, their bytes and the memory in Redis", async ({ box, work }) => {
  work.write({ "in/a": "12345", "in/b/c": "123" });
  await syncIn(box, work);
  const { stdout } = await catalog(box, work, "stats", "--json");
  const [row] = JSON.parse(stdout);
  expect(row).toMatchObject({ root: work.out, files: 2, bytes: 8 });
  expect(row.memory_bytes).toBeGreaterThan(100);
  expect((await catalog(box, work, "stats", "--", row.id)).stdout).toContain(
    `${work.out}  ${row.id}  2 files, 8 B;`,
  );
});

it("drover catalog drop forgets a tree and leaves its files alone", async ({ box, work }) => {
  work.write({ "in/a": "a", "in/b": "b" });
  await syncIn(box, work);
  const { stdout } = await catalog(box, work, "drop", work.out);
  expect(stdout).toBe(`2 files of ${work.out} forgotten; the files themselves were not touched\n`);
  expect((await catalog(box, work, "stats")).stdout).toBe("the catalog is empty\n");
  const { items } = await syncIn(box, work);
  // Recognized by their bytes.
  expect(items.map((item) => [item.outcome, item.verified_by])).toEqual([
    ["unchanged", "length"],
    ["unchanged", "length"],
  ]);
  expect(JSON.parse((await catalog(box, work, "stats", "--json")).stdout)[0].files).toBe(2);
});

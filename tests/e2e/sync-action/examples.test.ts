import { execFile } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseAddress } from "@drover/shared/redis/address";
import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import type { Work } from "../../harness/fixtures.js";
import { type Buckets, DOCUMENT, it } from "../../harness/sync-examples.js";

/** The programs of the document: a code block that is headed `ts file=NAME` is a whole file. */
const PROGRAMS = [...DOCUMENT.matchAll(/^```ts file=(\S+)\n(.*?)^```$/gms)].map(
  ([, name = "", text = ""]) => ({
    name,
    text,
  }),
);
/** Its command lines. */
const LINES = [...DOCUMENT.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, block = ""]) =>
  [...block.matchAll(/^drover (.*?) *(?:#.*)?$/gm)].map(([, line = ""]) => line),
);

/** Files as the examples have them. */
function fill(work: Work, buckets: Buckets): void {
  work.write({
    "templates/index.html": "index",
    "templates/mail/hello.j2": "hello",
    "custom_templates/custom.html": "custom",
    "settings/database.yml": "host: localhost\n",
    "settings/cache.yml": "url: redis\n",
    "config/email.yml": "from: me\n",
    "schemas/database.json": JSON.stringify({ properties: { host: { type: "string" } } }),
  });
  buckets.put("templates", "remote.jinja2", "remote");
  buckets.put("settings", "mail.yaml", "to: you\n");
  buckets.put("config", "database.yml", "host: db\n");
}

/** A program's packages, with drover among them. */
function installed(work: Work): void {
  const linked = work.at("node_modules/@drover");
  mkdirSync(linked, { recursive: true });
  symlinkSync(join(REPOSITORY, "packages/cli"), join(linked, "cli"));
  work.write({
    "node_modules/drover/package.json": JSON.stringify({
      type: "module",
      exports: { types: "./index.d.ts", default: "./index.js" },
    }),
    "node_modules/drover/index.js": 'export * from "@drover/cli/library";',
    "node_modules/drover/index.d.ts": 'export * from "@drover/cli/library";',
  });
}

describe("docs/templates-settings-cache.md", () => {
  it("has programs that run, in its order", async ({ box, work, buckets, program }) => {
    fill(work, buckets);
    installed(work);
    const cache = await connect(parseAddress(program.url));
    for (const key of ["template:index.html", "bccache:index.html", "response:/"]) await cache.set(key, "x");
    const run = async (name: string) => {
      const text = PROGRAMS.find((each) => each.name === name)?.text;
      writeFileSync(work.at(name), text as string);
      const { stdout } = await promisify(execFile)(process.execPath, [name], {
        cwd: work.path,
        env: {
          PATH: process.env.PATH,
          HOME: box.home,
          ...buckets.env,
          DROVER_CACHE: program.url,
          DROVER_REDIS: program.url,
        },
        timeout: 50_000,
      });
      return stdout.trimEnd().split("\n");
    };
    // The second sync finds the first one's files in place, and brings the other directory's.
    expect(await run("templates.mts")).toEqual([
      "Synced 3 templates",
      "Synced: custom.html",
      "Invalidated 0 cache entries",
      "Cleared 0 bytecode entries",
    ]);
    expect(buckets.get("templates", "mail/hello.j2")).toBe("hello");
    expect(await run("settings.mts")).toEqual([
      ...["Synced settings for 3 adapters", "Synced: 1", "Conflicts: 0", "Backed up: 0"],
      "Config reloaded: false",
    ]);
    await cache.set("template:index.html", "x");
    const lines = await run("cache.mts");
    expect(lines[0]).toBe("Refreshed 2 cache entries");
    expect(lines.slice(-3)).toEqual(["Invalidated: 0", "Warmed: 0", "Cleared: 1"]);
    work.write({ "templates/local.html": "local", "settings/database.yml": "host: other\nport: 1\n" });
    buckets.put("templates", "index.html", "index of production");
    expect(await run("environment.mts")).toEqual([
      ...["Environment sync complete:", "- Settings: 1 synced", "- Templates: 2 synced", "- Cache: 0 warmed"],
    ]);
    work.write({ "settings/database.yml": "host: third\nport: 22\n" });
    expect(await run("deployment.mts")).toEqual(['{"templates":1,"settings":1,"cacheWarmed":0}']);
    work.write({ "templates/index.html": "edited here" });
    buckets.put("templates", "index.html", "edited there, too");
    expect(await run("dry-run.mts")).toEqual([
      ...["Dry run results:", "Would sync: index.html", "Would sync 1 templates", "Found 1 conflicts"],
    ]);
    expect(await run("manual.mts")).toEqual([
      "Manual conflict resolution required",
      "index.html: both_changed",
    ]);
    expect(await run("conflicts.mts")).toEqual([
      "Found 1 conflicts:",
      "Conflict: index.html",
      expect.stringMatching(/^Local time: 2\d{3}-/),
      expect.stringMatching(/^Remote time: 2\d{3}-/),
      expect.stringMatching(/^Created backups: index\.html\.conflict-local-/),
    ]);
    cache.disconnect();
    work.write({ "docs/a.md": "a", "docs/b.tmp": "b" });
    expect(await run("pair.mts")).toEqual(["1 synced, in sync: true"]);
    expect(PROGRAMS).toHaveLength(9);
  }, 180_000);

  it("has programs that fit the types", async ({ work }) => {
    installed(work);
    for (const { name, text } of PROGRAMS) writeFileSync(work.at(name), text);
    work.write({
      "tsconfig.json": JSON.stringify({
        compilerOptions: {
          ...{ strict: true, noEmit: true, module: "nodenext", target: "es2024", skipLibCheck: true },
          ...{
            exactOptionalPropertyTypes: true,
            types: ["node"],
            typeRoots: [join(REPOSITORY, "node_modules/@types")],
          },
        },
        files: PROGRAMS.map(({ name }) => name),
      }),
    });
    const tsc = join(REPOSITORY, "node_modules/.bin/tsc");
    const { stdout } = await promisify(execFile)(tsc, ["-p", work.path]).catch(
      (error) => error as { stdout: string },
    );
    expect(stdout).toBe("");
  }, 120_000);

  it("has command lines that run, in its order", async ({ box, work, buckets, program, app }) => {
    fill(work, buckets);
    expect(LINES.length).toBeGreaterThan(15);
    for (const line of LINES) {
      const args = line
        .replaceAll("redis://localhost:6379/1", program.url)
        .replaceAll("localhost:8000", app.host)
        .match(/'[^']*'|\S+/g)
        ?.map((word) => word.replaceAll("'", ""));
      const { code, stdout, stderr } = await box.run(args as string[], { cwd: work.path, env: buckets.env });
      expect({ line, code, stderr, stdout }).toEqual({
        line,
        code: 0,
        stderr: "",
        stdout: expect.stringMatching(/./),
      });
    }
    expect(app.asked).toEqual(["GET /"]);
    expect(buckets.get("templates", "custom.html")).toBe("custom");
  }, 240_000);
});

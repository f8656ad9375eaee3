import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect } from "vitest";
import { pattern, toBuffer } from "../../harness/content.js";
import { REPOSITORY } from "../../harness/drover.js";
import { itWithFakeS3 as it, type Work } from "../../harness/fixtures.js";

const BUNDLE = join(REPOSITORY, "packages/cli/bundle");

/** The files of the built command that hold code of modules whose paths match. */
function filesWith(modules: RegExp): string[] {
  const files = readdirSync(BUNDLE).filter((file) => file.endsWith(".js"));
  return files.filter((file) => modules.test(readFileSync(join(BUNDLE, file), "utf8")));
}

/** Has every process and thread of a command note the modules that it loads. */
function noteLoads(work: Work) {
  const log = work.at("loaded.txt");
  const hook = work.write({
    "hook.mjs": `
      import { appendFileSync } from "node:fs";
      import { registerHooks } from "node:module";
      registerHooks({
        load(url, context, next) {
          appendFileSync(${JSON.stringify(log)}, url + "\\n");
          return next(url, context);
        },
      });`,
  });
  return {
    env: { NODE_OPTIONS: `--import=${pathToFileURL(hook)}` },
    /** @returns names of the files of the built command that were loaded since the last call. */
    loaded: (): string[] => {
      const urls = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
      writeFileSync(log, "");
      const below = `${pathToFileURL(BUNDLE)}/`;
      return urls.filter((url) => url.startsWith(below)).map((url) => url.slice(below.length));
    },
  };
}

describe("the built command", () => {
  const sdk = filesWith(/node_modules\/@aws-sdk\/client-s3\//);

  it("has the AWS SDK for S3 in files of its own", () => {
    expect(sdk.length).toBeGreaterThan(0);
    expect(sdk).not.toContain("main.js");
  });

  it("starts and copies local files without the parts of the AWS SDK that talk to a service", async ({
    box,
    work,
  }) => {
    const { env, loaded } = noteLoads(work);
    // Its checksums are the one part that copies need.
    const forbidden = [
      ...sdk,
      ...filesWith(
        /node_modules\/(@aws-sdk\/core\/|@smithy\/core\/dist-es\/submodules\/(?!checksum\/crc32\/))/,
      ),
    ];
    expect((await box.run(["--version"], { env })).code).toBe(0);
    const started = loaded();
    expect(started).toContain("main.js");
    expect(started.filter((file) => forbidden.includes(file))).toEqual([]);
    work.write({ "in/a": "a", "in/b": "b" });
    expect((await box.sync([work.at("in"), ...work.into], { env })).code).toBe(0);
    const synced = loaded();
    expect(synced).toContain("plan.js");
    expect(synced.filter((file) => forbidden.includes(file))).toEqual([]);
  });

  it("copies small objects from and to S3 without the AWS SDK for S3, and loads it for a multipart upload", async ({
    box,
    work,
    s3,
  }) => {
    const notes = noteLoads(work);
    const env = { ...s3.env, ...notes.env };
    work.write({ "in/a": "a", "in/b": "b" });
    s3.put("from/c", "c");
    const to = ["--artifact-root", "s3://bucket/to"];
    for (const round of ["copied", "unchanged"]) {
      const { items } = await box.sync([work.at("in"), "s3://bucket/from/", ...to], { env });
      expect(items.map(({ outcome }) => outcome)).toEqual([round, round, round]);
    }
    expect((await box.sync(["s3://bucket/to/", ...work.into], { env })).code).toBe(0);
    const small = notes.loaded();
    expect(small).toContain("plan.js");
    expect(small.filter((file) => sdk.includes(file))).toEqual([]);
    work.write({ "in/large": toBuffer(pattern(17 << 20)) });
    expect((await box.sync([work.at("in"), ...to], { env })).code).toBe(0);
    expect(s3.stored("to/large")?.content.length).toBe(17 << 20);
    expect(notes.loaded().filter((file) => sdk.includes(file))).not.toEqual([]);
  });
});

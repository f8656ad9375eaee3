import { execFile } from "node:child_process";
import { chmodSync, copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { FakeS3 } from "../../harness/fake-s3.js";
import { it } from "../../harness/fixtures.js";

const DOCUMENT = readFileSync(join(REPOSITORY, "docs/plan.md"), "utf8");
/** Its command lines and what each of them prints. */
const EXAMPLES = [...DOCUMENT.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block = ""]) =>
  [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, line = "", printed = ""]) => ({
    line,
    printed,
  })),
);

it("docs/plan.md has examples that run, in its order", { timeout: 120_000 }, async ({ box, work }) => {
  const s3 = await FakeS3.start("site");
  try {
    const main = join(REPOSITORY, "packages/cli/bundle/main.js");
    chmodSync(work.write({ "bin/drover": `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n` }), 0o755);
    copyFileSync(join(REPOSITORY, "docs/prices.example.yaml"), work.at("prices.example.yaml"));
    const env = {
      ...s3.env,
      PATH: `${work.at("bin")}:${process.env.PATH}`,
      HOME: box.home,
      XDG_STATE_HOME: box.state,
      XDG_RUNTIME_DIR: box.runtime,
      DROVER_EMBEDDED_IDLE_MS: "20000",
    };
    expect(EXAMPLES.length).toBeGreaterThan(7);
    for (const { line, printed } of EXAMPLES) {
      const options = { cwd: work.path, env };
      const { stdout, stderr } = await promisify(execFile)("sh", ["-c", line], options).catch(
        (error) => error as { stdout: string; stderr: string },
      );
      const shown = `${stdout}${stderr}`
        .replaceAll(work.path, "/srv")
        .replaceAll(new URL(s3.endpoint).host, "s3.example.com:443")
        .replace(
          /about [\d.]+s at [\d.]+ files\/s and [\d.]+ \w+\/s/g,
          "about 0.1s at 40 files/s and 12 MB/s",
        );
      expect({ line, shown }).toEqual({ line, shown: printed });
    }
  } finally {
    await s3.stop();
  }
});

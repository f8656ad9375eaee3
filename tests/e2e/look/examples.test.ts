import { execFile } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";

const DOCUMENT = readFileSync(join(REPOSITORY, "docs/ls-cat-mv.md"), "utf8");
/** Its command lines and what each of them prints. */
const EXAMPLES = [...DOCUMENT.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block = ""]) =>
  [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, line = "", printed = ""]) => ({
    line,
    printed,
  })),
);

it("docs/ls-cat-mv.md has examples that run, in its order", { timeout: 120_000 }, async ({ box, work }) => {
  const main = join(REPOSITORY, "packages/cli/bundle/main.js");
  chmodSync(work.write({ "bin/drover": `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n` }), 0o755);
  const env = {
    PATH: `${work.at("bin")}:${process.env.PATH}`,
    HOME: box.home,
    XDG_STATE_HOME: box.state,
    XDG_RUNTIME_DIR: box.runtime,
    DROVER_EMBEDDED_IDLE_MS: "1000",
  };
  expect(EXAMPLES.length).toBeGreaterThan(8);
  for (const { line, printed } of EXAMPLES) {
    const options = { cwd: work.path, env };
    const { stdout, stderr } = await promisify(execFile)("sh", ["-c", line], options);
    expect({ line, shown: stdout.replaceAll(work.path, "/srv"), stderr }).toEqual({
      line,
      shown: printed,
      stderr: "",
    });
  }
});

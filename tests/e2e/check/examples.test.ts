import { execFile } from "node:child_process";
import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "vitest";
import { REPOSITORY } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";

const DOCUMENT = readFileSync(join(REPOSITORY, "docs/check-and-receipts.md"), "utf8");
/** Its command lines and what each of them prints. */
const EXAMPLES = [...DOCUMENT.matchAll(/^```console\n(.*?)^```$/gms)].flatMap(([, block = ""]) =>
  [...block.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(([, line = "", printed = ""]) => ({
    line,
    printed,
  })),
);

it("docs/check-and-receipts.md has examples that run, in its order", { timeout: 120_000 }, async ({
  box,
  work,
}) => {
  const main = join(REPOSITORY, "packages/cli/bundle/main.js");
  chmodSync(work.write({ "bin/drover": `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n` }), 0o755);
  const env = {
    PATH: `${work.at("bin")}:${process.env.PATH}`,
    HOME: box.home,
    XDG_STATE_HOME: box.state,
    XDG_RUNTIME_DIR: box.runtime,
    DROVER_EMBEDDED_IDLE_MS: "1000",
  };
  expect(EXAMPLES.length).toBeGreaterThan(12);
  for (const { line, printed } of EXAMPLES) {
    const options = { cwd: work.path, env };
    const { stdout, stderr } = await promisify(execFile)("sh", ["-c", line], options).catch(
      (error) => error as { stdout: string; stderr: string },
    );
    const shown = stdout
      .replaceAll(work.path, "/srv")
      .replace(/\brm[a-z0-9]{7}-[0-9a-f]{6}\b/g, "RUN")
      .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME");
    expect({ line, shown, stderr }).toEqual({ line, shown: printed, stderr: "" });
  }
  const receipt = readFileSync(work.at("receipt.jsonl"), "utf8").split("\n");
  for (const [at, name] of ["first", "file"].entries()) {
    const shown = new RegExp(`^\`\`\`json receipt=${name}\n(.*?)^\`\`\`$`, "ms").exec(
      DOCUMENT,
    )?.[1] as string;
    expect(Object.keys(JSON.parse(shown))).toEqual(Object.keys(JSON.parse(receipt[at] as string)));
  }
});

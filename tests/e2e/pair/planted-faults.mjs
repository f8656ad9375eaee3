/**
 * Shows that the checks of two-way syncs see what they are for: plants one fault after the other into a copy of what was built,
 * and expects the tests of pairs to fail with the words that belong to it. To be run after scripts/build.sh:
 *
 *     scripts/with-node.sh node tests/e2e/pair/planted-faults.mjs [NAME…]
 */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const HISTORIES = "tests/e2e/pair/histories.test.ts";
const EDGES = "tests/e2e/pair/edges.test.ts";
const LIES = { test: HISTORIES, only: "through lies", env: { SEEDS: "1-80", KILLS: "0" } };

const FAULTS = [
  {
    name: "overwrite without a condition",
    file: "packages/worker/dist/pair/carry.js",
    from: "writing(attempt, end, toName, preconditionOf(over, end))",
    to: "writing(attempt, end, toName)",
    by: { test: EDGES, env: { EVERY: "7" }, says: /AssertionError/ },
  },
  {
    name: "no backup",
    file: "packages/shared/dist/pair/decide.js",
    from: /const keeps = replaces && .*;/,
    to: "const keeps = false;",
    by: { test: HISTORIES, env: { SEEDS: "1-40" }, says: /lost: v\d+/ },
  },
  {
    name: "conflict names without numbers",
    file: "packages/shared/dist/pair/conflict-name.js",
    from: "number > 1",
    to: "number < 1",
    by: { test: EDGES, env: { EVERY: "1000" }, says: /numbers a conflict copy/ },
  },
  {
    name: "ancestors dropped at random",
    file: "packages/worker/dist/attempt/settle.js",
    from: "return encodeAncestor(ancestor);",
    to: "return Math.random() < 0.3 ? NO_ENTRY : encodeAncestor(ancestor);",
    by: {
      test: HISTORIES,
      env: { SEEDS: "1-40" },
      says: /false conflict|was deleted and is there|is not what its user made of it/,
    },
  },
  {
    name: "a copy of a version that nobody looked at again",
    file: "packages/worker/dist/pair/carry.js",
    from: /if \(now\.is !== "file" \|\| now\.stamp !== look\.stamp\)/,
    to: "if (false)",
    by: { test: EDGES, env: { EVERY: "3" }, says: /AssertionError/ },
  },
  {
    name: "a report that says nothing of deletions",
    file: "packages/worker/dist/pair/sync-path.js",
    from: /action: `delete-\$\{to\}`/,
    to: 'action: "none"',
    by: { test: HISTORIES, env: { SEEDS: "1-10" }, says: /the report says of the/ },
  },
  {
    name: "pull writes to the remote side",
    file: "packages/shared/dist/pair/decide.js",
    from: 'all("local_only")',
    to: 'all("push")',
    by: { test: HISTORIES, env: { SEEDS: "1-40" }, says: /the remote side was written/ },
  },
  {
    name: "a version that is cut",
    file: "packages/worker/dist/destinations/local/staging.js",
    from: "if (at !== sizeBytes)",
    to: "if (sizeBytes % 5 === 0) ftruncateSync(this.#fd, 7);\n            if (at !== sizeBytes)",
    by: { test: HISTORIES, env: { SEEDS: "1-10" }, says: /invented on the/ },
  },
  {
    name: "what a listing leaves out is forgotten",
    file: "packages/producer/dist/pair/plan-pair.js",
    from: "if (!seen.ancestor || !rests)",
    to: "if (true)",
    by: { ...LIES, says: /was deleted and is there|is not what its user made of it/ },
  },
  {
    name: "bytes that end early are published",
    file: "packages/worker/dist/pair/carry.js",
    from: "received.sizeBytes !== look.sizeBytes",
    to: "false",
    by: { ...LIES, says: /invented on the/ },
  },
  {
    name: "a later attempt that does not know of the one before",
    file: "packages/worker/dist/pair/journal.js",
    from: "if (!this.#isRepeated)",
    to: "if (true)",
    by: { test: "tests/e2e/pair/second-attempt.test.ts", env: {}, says: /AssertionError/ },
  },
];

const repository = resolve(import.meta.dirname, "../../..");
const copy = mkdtempSync(join(tmpdir(), "drover-planted-"));
for (const name of [
  "packages",
  "tests",
  "package.json",
  "vitest.config.ts",
  "tsconfig.base.json",
  "tsconfig.json",
])
  cpSync(join(repository, name), join(copy, name), { recursive: true, verbatimSymlinks: true });
mkdirSync(join(copy, "node_modules"));
for (const name of readdirSync(join(repository, "node_modules"))) {
  const from = join(repository, "node_modules", name);
  // Links to the packages, which are the copy's own.
  if (name === "@drover")
    cpSync(from, join(copy, "node_modules", name), { recursive: true, verbatimSymlinks: true });
  else symlinkSync(from, join(copy, "node_modules", name));
}

let unseen = 0;
const wanted = process.argv.slice(2);
try {
  for (const { name, file, from, to, by } of FAULTS) {
    if (wanted.length > 0 && !wanted.some((each) => name.includes(each))) continue;
    const path = join(copy, file);
    const sound = readFileSync(path, "utf8");
    const faulty = sound.replace(from, to);
    if (faulty === sound) throw new Error(`${file} has no place for: ${name}`);
    writeFileSync(path, faulty);
    const only = by.only === undefined ? [] : ["-t", by.only];
    const { status, stdout, stderr } = spawnSync("npx", ["vitest", "run", by.test, "--bail", "1", ...only], {
      cwd: copy,
      encoding: "utf8",
      env: { ...process.env, ...by.env },
      maxBuffer: 2 ** 28,
      timeout: 600_000,
    });
    writeFileSync(path, sound);
    const seen = status !== 0 && by.says.exec(stdout + stderr);
    if (!seen) unseen++;
    console.log(`${seen ? "seen  " : "UNSEEN"}  ${name}${seen ? `: ${seen[0]}` : ""}`);
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
process.exit(unseen === 0 ? 0 : 1);

import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { describe, expect } from "vitest";
import type { FakeS3 } from "../../harness/fake-s3.js";
import { it } from "../../harness/s3-fixtures.js";

const run = promisify(execFile);
const hasRclone = await run("rclone", ["version"]).then(
  () => true,
  () => false,
);

/** Numbers from 0 to 1, the same for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Components of names: what sorts before and after a slash, what means something in reports, patterns and URLs. */
const COMPONENTS = [
  ...[
    "a",
    "b",
    "a.b",
    "a-b",
    "a0",
    "A",
    "ü",
    "日本",
    "😀",
    "\uffee",
    "sp ace",
    "per%cent",
    "+plus",
    "- dash",
  ],
  ...["*star", "= is", "! bang", '"quote', "tail.txt", "x.csv", "#h", "q?", "[z]", "{y}", "back\\slash"],
];

type Tree = Map<string, string>;

/** A tree and a damaged copy of it. */
function trees(seed: number): { source: Tree; copy: Tree } {
  const next = random(seed);
  const pick = () => COMPONENTS[Math.floor(next() * COMPONENTS.length)] as string;
  const directories = ["", ...Array.from({ length: 6 }, () => `${pick()}_d/`), `${pick()}_d/${pick()}_e/`];
  const source: Tree = new Map();
  const copy: Tree = new Map();
  for (let file = 0; file < 60; file++) {
    const directory = directories[Math.floor(next() * directories.length)] as string;
    const name = `${directory}${pick()}${next() < 0.5 ? "" : Math.floor(next() * 50)}`;
    const content = "c".repeat(Math.floor(next() * 20)) + file;
    const fate = next();
    if (fate < 0.85) source.set(name, content);
    else source.delete(name);
    if (fate < 0.5) copy.set(name, content);
    else if (fate < 0.6) copy.set(name, `${content.slice(0, -1)}!`);
    else if (fate < 0.7) copy.set(name, `${content}longer`);
    else if (fate < 0.85) copy.delete(name);
    else copy.set(name, content);
  }
  return { source, copy };
}

function plant(root: string, tree: Tree): void {
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  for (const [name, content] of tree) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), content);
  }
}

const sorted = (text: string) => text.split("\n").filter(Boolean).sort();

/** The reports of rclone, each sorted, since it checks many files at once. */
async function rclone(
  args: string[],
  env: NodeJS.ProcessEnv,
  into: string,
): Promise<Record<string, string[]>> {
  mkdirSync(into, { recursive: true });
  const flags = REPORTS.flatMap((name) => [`--${name}`, join(into, name)]);
  const config = join(into, "rclone.conf");
  writeFileSync(config, "");
  await run("rclone", ["check", ...args, ...flags, "--config", config], { env }).catch(() => {});
  return reports(into);
}

const REPORTS = ["combined", "missing-on-src", "missing-on-dst", "match", "differ", "error"];

function reports(into: string): Record<string, string[]> {
  return Object.fromEntries(REPORTS.map((name) => [name, sorted(readFileSync(join(into, name), "utf8"))]));
}

/** The exit code that fits a report. */
function codeOf({ combined = [] }: Record<string, string[]>): number {
  return combined.every((line) => line.startsWith("= ")) ? 0 : 1;
}

const flagsOf = (into: string) => REPORTS.flatMap((name) => [`--${name}`, join(into, name)]);

const MODES = [
  ...[[], ["--size-only"], ["--download"], ["--one-way"], ["--include", "*.csv*"], ["--exclude", "a_d/**"]],
  ["--min-size", "10B"],
];

/** A remote of rclone, by its environment. */
function remoteEnv({ endpoint }: FakeS3): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    RCLONE_CONFIG_T_TYPE: "s3",
    RCLONE_CONFIG_T_PROVIDER: "Other",
    RCLONE_CONFIG_T_LIST_VERSION: "2",
    RCLONE_CONFIG_T_LIST_URL_ENCODE: "true",
    RCLONE_CONFIG_T_ENDPOINT: endpoint,
    RCLONE_CONFIG_T_ACCESS_KEY_ID: "key",
    RCLONE_CONFIG_T_SECRET_ACCESS_KEY: "secret",
    RCLONE_CONFIG_T_REGION: "us-east-1",
  };
}

describe.skipIf(!hasRclone)("drover check, beside rclone", () => {
  it.for([1, 2, 3])(
    "reports the same of damaged directories (seed %s)",
    { timeout: 120_000 },
    async (seed, { box, work }) => {
      const { source, copy } = trees(seed);
      plant(work.at("a"), source);
      plant(work.at("b"), copy);
      for (const [at, mode] of MODES.entries()) {
        const [theirs, ours] = [work.at(`rclone${at}`), work.at(`drover${at}`)];
        // The limits of sizes are about the source here: --min-size is tried where both sides have the same.
        const [one, other] =
          mode[0] === "--min-size" ? [work.at("a"), work.at("a")] : [work.at("a"), work.at("b")];
        const expected = await rclone([one, other, ...mode], process.env, theirs);
        mkdirSync(ours);
        const { code, stderr } = await box.run(["check", one, other, ...mode, ...flagsOf(ours)]);
        expect({ mode, code, ...reports(ours) }).toEqual({ mode, code: codeOf(expected), ...expected });
        expect(stderr).toBe("");
        expect(expected.combined?.length).toBeGreaterThan(mode.length === 0 ? 20 : 0);
      }
    },
  );

  it.for([11, 12])(
    "reports the same of a directory and a prefix (seed %s)",
    { timeout: 120_000 },
    async (seed, { box, work, fake }) => {
      const { source, copy } = trees(seed);
      plant(work.at("a"), source);
      for (const [name, content] of copy) fake.put(`p/${name}`, content);
      const env = remoteEnv(fake);
      for (const [at, mode] of MODES.slice(0, 5).entries()) {
        const [theirs, ours] = [work.at(`rclone${at}`), work.at(`drover${at}`)];
        const expected = await rclone([work.at("a"), "t:bucket/p", ...mode], env, theirs);
        mkdirSync(ours);
        const args = ["check", work.at("a"), "s3://bucket/p", ...mode, ...flagsOf(ours)];
        const { code, stderr } = await box.run(args, { env: fake.env });
        expect({ mode, code, ...reports(ours) }).toEqual({ mode, code: codeOf(expected), ...expected });
        expect(stderr).toBe("");
        expect(expected.combined?.length).toBeGreaterThan(mode.length === 0 ? 20 : 0);
      }
    },
  );
});

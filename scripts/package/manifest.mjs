/** Writes package.json of the package in the directory that is named, in which the manual is (terminal.mjs). */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [directory] = process.argv.slice(2);
const { version, license, engines } = JSON.parse(readFileSync("packages/cli/package.json", "utf8"));

const manifest = {
  name: "drover",
  version,
  description: "Moves files: one job per file, each locked, verified, retried and published whole",
  license,
  type: "module",
  engines,
  os: ["!win32"],
  bin: { drover: "drover" },
  man: readdirSync(join(directory, "man"))
    .sort()
    .map((name) => `./man/${name}`),
  types: "./dist/library.d.ts",
  exports: {
    ".": { types: "./dist/library.d.ts", default: "./dist/library.js" },
    "./package.json": "./package.json",
  },
};
writeFileSync(join(directory, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);

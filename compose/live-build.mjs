/**
 * Builds drover into /built, and again whenever a file below /sources, the packages of the checkout, changes. A build that fails
 * is told of, and leaves what was built before. Files are looked at by the second: not every mount tells of changes.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const SOURCES = "/sources";
const TREE = "/src/packages";
const BUILT = "/built";
const EVERY_MS = 1_000;
const isSource = (path) => !/\/(node_modules|dist|bundle[^/]*)(\/|$)|\.tsbuildinfo$/.test(path);

/** Files below a directory, with what tells one version from another. */
function filesOf(directory) {
  const files = new Map();
  const look = (path) => {
    for (const each of readdirSync(path, { withFileTypes: true })) {
      const below = `${path}/${each.name}`;
      if (!isSource(below)) continue;
      if (each.isDirectory()) look(below);
      else if (each.isFile()) {
        const { mtimeMs, size } = statSync(below);
        files.set(below.slice(directory.length + 1), `${mtimeMs} ${size}`);
      }
    }
  };
  look(directory);
  return files;
}

function build(files) {
  for (const name of filesOf(TREE).keys()) if (!files.has(name)) rmSync(`${TREE}/${name}`);
  for (const name of files.keys())
    cpSync(`${SOURCES}/${name}`, `${TREE}/${name}`, { preserveTimestamps: true });
  execFileSync("scripts/build.sh", { cwd: "/src", stdio: "inherit" });
  cpSync(`${TREE}/cli/bundle`, `${BUILT}/new`, { recursive: true });
  if (existsSync(`${BUILT}/dist`)) renameSync(`${BUILT}/dist`, `${BUILT}/old`);
  renameSync(`${BUILT}/new`, `${BUILT}/dist`);
  for (const name of ["drover", "package.json"]) cpSync(`/package/${name}`, `${BUILT}/${name}`);
  writeFileSync(`${BUILT}/stamp`, new Date().toISOString());
}

let built = "";
for (;;) {
  const files = filesOf(SOURCES);
  const now = JSON.stringify([...files]);
  if (now !== built) {
    built = now;
    console.log("building");
    for (const name of ["new", "old"]) rmSync(`${BUILT}/${name}`, { recursive: true, force: true });
    try {
      build(files);
      console.log("built");
    } catch (error) {
      console.error(`not built: ${error.message}`);
    }
  }
  await sleep(EVERY_MS);
}

import module from "node:module";

/** The least version of Node; also in package.json (`engines`) and scripts/setup.sh. */
const [LEAST_MAJOR, LEAST_MINOR] = [22, 22];

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < LEAST_MAJOR || (major === LEAST_MAJOR && minor < LEAST_MINOR)) {
  process.stderr.write(
    `drover: needs Node ${LEAST_MAJOR}.${LEAST_MINOR} or newer, but ${process.execPath} is ${process.version}\n`,
  );
  process.exitCode = 2;
} else {
  // Caches compiled code between starts: compilation takes half the time of a short run.
  module.enableCompileCache();
  const { main } = await import("./program.js");
  process.exitCode = await main(process.argv.slice(2));
}

// Checks of the demo; prints one line each, and exits with 1 if a check fails.
//
//     node check.mjs counts NAME=NUMBER...  < output of "drover status RUN --json"
//     node check.mjs files READY DIRECTORY    checks every file of the origin byte for byte
//     node check.mjs run                    < output of "drover runs --json": prints the id of the latest run
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

const [what, ...rest] = process.argv.slice(2);

async function sha256(path) {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

function say(good, text) {
  console.log(`${good ? "ok" : "NOT AS EXPECTED"}: ${text}`);
  if (!good) process.exitCode = 1;
}

if (what === "run") {
  console.log(JSON.parse(readFileSync(0, "utf8"))[0].run);
} else if (what === "counts") {
  const counts = JSON.parse(readFileSync(0, "utf8"));
  counts.unsynced = counts.failed + counts.blocked + counts.locked + counts.cancelled;
  const wrong = rest.filter((pair) => String(counts[pair.split("=")[0]]) !== pair.split("=")[1]);
  const got = wrong.map((pair) => `${pair.split("=")[0]} is ${counts[pair.split("=")[0]]}`);
  say(wrong.length === 0, rest.join(", ") + (wrong.length === 0 ? "" : ` (${got.join(", ")})`));
} else if (what === "files") {
  const [ready, directory] = rest;
  const sums = readFileSync(ready, "utf8").trim().split("\n");
  let right = 0;
  let all = 0;
  for (const [name, sum] of sums.map((line) => line.split(" "))) {
    if (sum.startsWith("http://")) continue;
    all++;
    const path = join(directory, name);
    if (existsSync(path) && (await sha256(path)) === sum) right++;
    else console.log(`${name} is missing or has other bytes`);
  }
  say(right === all, `${right} of ${all} files from the web have the bytes that their host has`);
  const left = readdirSync(directory, { recursive: true }).filter((path) => path.includes(".drover-"));
  say(left.length === 0, `${left.length} half-written files lie around`);
} else {
  throw new Error(`unknown check: ${what}`);
}

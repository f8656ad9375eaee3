/** Drives the stack that run.sh has started: a run with a worker killed in its middle; and a bucket, with WITH_S3. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const FILES = 60;
const WAIT_MS = 180_000;
const token = /^API_TOKEN=(.+)$/m.exec(readFileSync("compose/env/api-token.env", "utf8"))?.[1];
const run = promisify(execFile); // not in sync: connections that are closed meanwhile would be used again
const compose = async (...command) => (await run("scripts/compose.sh", ["do", ...command])).stdout;
const inApi = async (script) => JSON.parse(await compose("exec", "-T", "api", "node", "-e", script));
const api = `http://${(await compose("port", "api", "8888")).trim()}`;

async function ask(path, body) {
  const answer = await fetch(`${api}${path}`, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  ok(answer.ok, `${path}: ${answer.status} ${answer.ok ? "" : await answer.text()}`);
  return await answer.json();
}

/** Asks until the answer is truthy. */
async function until(what, question) {
  const endsMs = Date.now() + WAIT_MS;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    ok(Date.now() < endsMs, `in vain: ${what}`);
    await sleep(250);
  }
}

/** SHA-256 of the files of a directory of the shared volume, by name. */
const digests = (directory) =>
  inApi(`const {createHash} = require("crypto"), {readdirSync, readFileSync} = require("fs");
    console.log(JSON.stringify(Object.fromEntries(readdirSync("${directory}", {recursive: true, withFileTypes: true})
      .filter((each) => each.isFile()).map((each) => [(each.parentPath + "/" + each.name).slice("${directory}/".length),
        createHash("sha256").update(readFileSync(each.parentPath + "/" + each.name)).digest("hex")]).sort())))`);

equal((await fetch(`${api}/api/v1/runs`)).status, 401, "without the token nothing is told");
await until("two workers", async () => (await ask("/api/v1/workers")).workers.length === 2);

await inApi(`const {mkdirSync, writeFileSync} = require("fs"), {randomBytes} = require("crypto");
  mkdirSync("/data/in", {recursive: true});
  for (let at = 0; at < ${FILES}; at++) writeFileSync("/data/in/" + at + ".bin", randomBytes(1_000_000));
  console.log("1")`);
const { id } = await ask("/api/v1/runs", { sources: ["/data/in/"], to: "/data/out", bwlimit: 2_000_000 });
await until("some files have arrived", async () => (await ask(`/api/v1/runs/${id}`)).copied >= 5);
const carries = (await ask("/api/v1/workers")).workers.find((each) => each.carrying.length > 0);
ok(carries, "a worker carries files");
const container = carries.id.slice(0, carries.id.lastIndexOf("-"));
await run("docker", ["kill", "--signal", "KILL", container]);
console.log(`killed worker ${carries.id} with ${carries.carrying.length} files on their way`);
const ended = await until("the run ends", async () => {
  const now = await ask(`/api/v1/runs/${id}`);
  return now.state !== "running" && now;
});
// What the killed worker had published and not settled is carried again, and found unchanged.
deepEqual(
  [ended.state, ended.files, ended.copied + ended.unchanged, ended.failed],
  ["done", FILES, FILES, 0],
);
deepEqual(await digests("/data/out"), await digests("/data/in"));
console.log(`${FILES} files are right`);

if (process.env.WITH_PROMETHEUS) {
  const prometheus = `http://${(await compose("port", "prometheus", "9090")).trim()}`;
  const query = async (text) => {
    const answer = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(text)}`);
    return (await answer.json()).data.result;
  };
  for (const job of ["drover-api", "drover-worker"])
    await until(`metrics of ${job}`, async () => (await query(`up{job="${job}"} == 1`)).length > 0);
  await until(
    "the number that fleets are scaled by",
    async () => (await query("max(drover_scaling_files)")).length === 1,
  );
  console.log("all tell their metrics");
}

if (process.env.WITH_S3) {
  await until(
    "the samples have arrived",
    async () => Object.keys(await digests("/data/incoming")).length >= 4,
  );
  await compose(
    ...["run", "--rm", "-T", "--no-deps", "--entrypoint", "node", "samples", "-e"],
    `const body = new FormData(); body.set("file", new Blob(["told by the storage"]), "told.txt");
    fetch(process.env.FILER + "/buckets/incoming/told.txt", {method: "POST", body}).then((it) => process.exit(it.ok ? 0 : 1))`,
  );
  await until(
    "what the storage tells of arrives",
    async () => "told.txt" in (await digests("/data/incoming")),
  );
  const { accepted } = await ask("/api/v1/events");
  ok(accepted >= 1, "the storage has told of it");
  console.log("the bucket's files are right");
}

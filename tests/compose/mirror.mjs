/** Drives the mirror of the stack that run.sh has started: by make, with its service killed in the middle of a sync. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const FILES = 60;
const WAIT_MS = 180_000;
const run = promisify(execFile);
const compose = async (...command) => (await run("scripts/compose.sh", ["do", ...command])).stdout;
const make = async (target) => {
  const { stdout } = await run("make", ["--no-print-directory", target]);
  console.log(`make ${target}:\n${stdout.replace(/^/gm, "  ")}`);
  return stdout;
};
const token = /^FILE_MANAGER_TOKEN=(.+)$/m.exec(readFileSync("compose/env/file-manager.env", "utf8"))?.[1];
const manager = `http://${(await compose("port", "file-manager", "8001")).trim()}`;

async function ask(path, status = 200) {
  const answer = await fetch(`${manager}${path}`, { headers: { authorization: `Bearer ${token}` } });
  equal(answer.status, status, path);
  return answer;
}
const content = async (path) => await (await ask(`/files/${path}`)).text();
const names = async () => (await (await ask("/files")).json()).files.map(({ path }) => path).sort();

async function until(what, question) {
  const endsMs = Date.now() + WAIT_MS;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    ok(Date.now() < endsMs, `in vain: ${what}`);
    await sleep(100);
  }
}

const status = async () =>
  JSON.parse((await run("./sync_cli.sh", ["status", "--json"], { maxBuffer: 1 << 24 })).stdout);

const keys = readFileSync("compose/env/s3.env", "utf8");
const keyOf = (name) => new RegExp(`^${name}=(.+)$`, "m").exec(keys)?.[1];
const s3 = async (service) =>
  new S3Client({
    endpoint: `http://${(await compose("port", service, "8333")).trim()}`,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: {
      accessKeyId: keyOf("AWS_ACCESS_KEY_ID"),
      secretAccessKey: keyOf("AWS_SECRET_ACCESS_KEY"),
    },
  });
const customer = await s3("s3-customer");
const target = await s3("s3-target");
const put = async (Key, Body) =>
  await customer.send(new PutObjectCommand({ Bucket: "customer-bucket", Key, Body }));
const kept = async (Key) => {
  const { Body } = await target.send(new GetObjectCommand({ Bucket: "target-bucket", Key }));
  return await Body.transformToString();
};

equal((await fetch(`${manager}/files`)).status, 401, "without its token the file manager tells nothing");
match(await make("initial-sync"), /^initial sync of default: success/m);
const samples = await names();
equal(samples.length, 4);
match(await content("readme.txt"), /customer-bucket/);
equal(await kept("readme.txt"), await content("readme.txt"));
console.log("the samples are in the file manager, and in the second bucket");

// The storage tells the API, and what it tells waits for the next sync.
await put("readme.txt", "changed");
await customer.send(new DeleteObjectCommand({ Bucket: "customer-bucket", Key: "orders/2026-01-11.csv" }));
// Others may wait, too: the storage tells again of what it could not tell before.
await until("two events wait", async () => (await status()).events_waiting >= 2);
await until("both are followed", async () => {
  match(await make("incremental-sync"), /success/);
  return (await content("readme.txt")) === "changed" && !(await names()).includes("orders/2026-01-11.csv");
});
equal(await kept("readme.txt"), "changed");
await ask("/files/orders/2026-01-11.csv", 404);
ok((await kept("orders/2026-01-11.csv")).length > 0, "the second bucket keeps what is gone");
console.log("what has changed is changed, what is gone is gone");

const many = Object.fromEntries(
  Array.from({ length: FILES }, (_, at) => [`many/${String(at).padStart(3, "0")}`, `${at}`.repeat(1_000)]),
);
await Promise.all(Object.entries(many).map(([key, text]) => put(key, text)));
await until("they wait", async () => (await status()).events_waiting >= FILES);
const container = (await compose("ps", "-q", "sync-service")).trim();
const killed = run("docker", ["exec", container, "drover", "mirror", "incremental-sync"]).then(
  () => "ended",
  () => "killed",
);
await until("the sync has begun", async () => (await names()).length > samples.length - 1);
await run("docker", ["kill", "--signal", "KILL", container]);
console.log(`${await killed} with ${(await names()).length} files in the file manager`);
await run("docker", ["start", container]);
await until("it is healthy again", async () => {
  const { stdout } = await run("docker", ["inspect", "-f", "{{.State.Health.Status}}", container]);
  return stdout.trim() === "healthy";
});
match(await make("incremental-sync"), /success/);
const expected = [...samples.filter((name) => name !== "orders/2026-01-11.csv"), ...Object.keys(many)].sort();
deepEqual(await names(), expected);
for (const [name, text] of Object.entries(many)) {
  equal(await content(name), text);
  equal(await kept(name), text);
}
const { records, pending, events_waiting: waiting, dead_letters: dead } = await status();
deepEqual({ records, pending, waiting, dead }, { records: expected.length, pending: 0, waiting: 0, dead: 0 });
console.log(`${expected.length} files are right, with the mirror killed in between`);

match(await make("test-workflow"), /all steps passed/);
match(await make("status"), /^mirror default$/m);
match((await run("make", ["--no-print-directory", "logs-sync"])).stdout, /daemon ready/);

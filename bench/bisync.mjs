// Compares a two-way sync of a directory and a prefix of S3 with rclone bisync at the same service: the first sync, then 100
// changes on each side, then nothing changed. And a prefix of S3 into a file manager with `rclone copy` into `rclone serve
// webdav`. Started by run.sh, with DROVER_TEST_S3_ENDPOINT, _KEY and _SECRET in the environment (see tests/harness/ceph.sh).
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  about,
  childEnvironment,
  count,
  droverCommand,
  emptyDir,
  endGroup,
  freePort,
  machine,
  median,
  megabytes,
  positive,
  progress,
  table,
  timed,
  versions,
} from "./common.mjs";

const dir = process.env.BENCH_DIR;
const files = positive("BENCH_FILES", 20_000);
const rounds = positive("ROUNDS", 3);
const changes = 100;
const endpoint = process.env.DROVER_TEST_S3_ENDPOINT;
const run = join(dir, "run");
const marker = `DROVER_BENCH=${process.env.BENCH_ID}`;
const env = {
  ...childEnvironment(marker),
  AWS_ACCESS_KEY_ID: process.env.DROVER_TEST_S3_KEY,
  AWS_SECRET_ACCESS_KEY: process.env.DROVER_TEST_S3_SECRET,
  AWS_REGION: "us-east-1",
  RCLONE_S3_PROVIDER: "Ceph",
  RCLONE_S3_ENV_AUTH: "true",
  RCLONE_S3_ENDPOINT: endpoint,
  XDG_RUNTIME_DIR: join(run, "rt"),
};
const bucket = "drover-bench";
let child;

async function measured(name, command) {
  progress(name);
  const result = await timed({
    command,
    name,
    run,
    env,
    timeoutMs: 1_800_000,
    started: (process) => {
      child = process;
    },
  });
  child = undefined;
  return result;
}

const rclone = (...words) => [
  "rclone",
  "--config",
  "/dev/null",
  "--transfers",
  "64",
  "--checkers",
  "64",
  ...words,
];
const remote = (prefix) => `:s3:${bucket}/${prefix}`;
const drover = (...words) => [
  ...droverCommand(),
  ...words,
  "--state-dir",
  join(run, "state"),
  "--s3-endpoint",
  endpoint,
];
const nameOf = (at) => join(`d${String(at % 100).padStart(2, "0")}`, `f${String(at).padStart(6, "0")}`);

/** @param sizeBytes of each file, about. */
function fill(local, sizeBytes = 1_000) {
  emptyDir(local);
  for (let at = 0; at < 100; at++) mkdirSync(join(local, `d${String(at).padStart(2, "0")}`));
  for (let at = 0; at < files; at++) writeFileSync(join(local, nameOf(at)), `${at} ${"x".repeat(sizeBytes)}`);
}

const tools = {
  rclone: {
    local: join(run, "rclone"),
    sync: (local, first) =>
      rclone(
        "bisync",
        local,
        remote("rclone"),
        "--workdir",
        join(run, "rclone-work"),
        ...(first ? ["--resync"] : []),
        "--force",
      ),
  },
  drover: {
    local: join(run, "drover"),
    sync: (local) =>
      drover(
        "bisync",
        local,
        `s3://${bucket}/drover`,
        "--durability",
        "rename",
        "--max-workers",
        "64",
        "--json",
        "--max-delete",
        "100%",
      ),
  },
};

let edit = 0;
/** Changes files on both sides: other files at the service than in the directory. */
async function change(local, prefix) {
  edit++;
  const elsewhere = join(run, "edits");
  emptyDir(elsewhere);
  for (let at = 0; at < changes; at++) {
    writeFileSync(join(local, nameOf(at)), `local edit ${edit} of ${at}`);
    const name = nameOf(files - 1 - at);
    mkdirSync(join(elsewhere, name, ".."), { recursive: true });
    writeFileSync(join(elsewhere, name), `remote edit ${edit} of ${at}`);
  }
  await sleep(1_100); // rclone compares whole seconds of S3
  await measured("rclone, to edit", rclone("copy", elsewhere, remote(prefix)));
  await sleep(100);
}

function check(local) {
  for (let at = 0; at < changes; at++) {
    const text = readFileSync(join(local, nameOf(files - 1 - at)), "utf8");
    if (text !== `remote edit ${edit} of ${at}`) throw new Error(`${local} did not get an edit: ${text}`);
  }
}

async function twoWays() {
  const rows = [];
  for (const [name, tool] of Object.entries(tools)) {
    fill(tool.local);
    const first = await measured(`${name}: first sync`, tool.sync(tool.local, true));
    rows.push([`first sync of ${count(files)}`, name, first]);
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [name, tool] of Object.entries(tools)) {
      await change(tool.local, name);
      rows.push([
        `${changes} changes on each side`,
        name,
        await measured(`${name}: changes`, tool.sync(tool.local)),
      ]);
      check(tool.local);
      rows.push(["nothing changed", name, await measured(`${name}: nothing changed`, tool.sync(tool.local))]);
    }
  }
  return rows;
}

async function startServer(command, port) {
  const server = spawn(command[0], command.slice(1), { env, stdio: "ignore", detached: true });
  for (let tries = 0; tries < 200; tries++) {
    if (
      await fetch(`http://127.0.0.1:${port}/`).then(
        () => true,
        () => false,
      )
    )
      return server;
    await sleep(50);
  }
  throw new Error(`${command[0]} does not answer`);
}

async function intoFileManagers() {
  const rows = [];
  fill(tools.rclone.local, 10_000);
  await measured("rclone, to fill", rclone("copy", tools.rclone.local, remote("source")));
  for (let round = 1; round <= rounds; round++) {
    for (const name of ["rclone", "drover"]) {
      const served = join(run, `served-${name}`);
      emptyDir(served);
      const port = await freePort();
      const serves =
        name === "rclone"
          ? ["rclone", "--config", "/dev/null", "serve", "webdav", served, "--addr", `127.0.0.1:${port}`]
          : [
              ...droverCommand(),
              "file-manager",
              "--root",
              served,
              "--port",
              String(port),
              "--durability",
              "none",
            ];
      const server = await startServer(serves, port);
      try {
        const command =
          name === "rclone"
            ? rclone("copy", remote("source"), ":webdav:", "--webdav-url", `http://127.0.0.1:${port}`)
            : drover(
                "sync",
                `s3://${bucket}/source/`,
                "--to",
                `filemanager+http://127.0.0.1:${port}/`,
                "--max-workers",
                "64",
                "--json",
              );
        rmSync(join(run, "state"), { recursive: true, force: true });
        rows.push([
          `${count(files)} objects into a file manager`,
          name,
          await measured(`${name}: into a file manager`, command),
        ]);
        const there = readdirSync(served, { recursive: true, withFileTypes: true }).filter((each) =>
          each.isFile(),
        );
        if (there.length < files) throw new Error(`${name}: ${there.length} of ${files} files arrived`);
      } finally {
        process.kill(-server.pid, "SIGTERM");
      }
    }
  }
  return rows;
}

mkdirSync(run, { recursive: true });
try {
  await measured("rclone mkdir", rclone("mkdir", `:s3:${bucket}`));
  const before = machine(dir);
  const found = await versions(env, {
    drover: [...droverCommand(), "--version"],
    rclone: ["rclone", "version"],
  });
  const rows = process.argv[2] === "file-manager" ? await intoFileManagers() : await twoWays();
  console.log(about({ machine: before, versions: found }));
  const times = new Map();
  for (const [part, name, { wall, cpu, rss }] of rows) {
    const key = `${part}|${name}`;
    times.set(key, [...(times.get(key) ?? []), { wall, cpu, rss }]);
  }
  const lines = [...times].map(([key, all]) => {
    const [part, name] = key.split("|");
    const wall = median(all.map((each) => each.wall));
    const cpu = median(all.map((each) => each.cpu));
    const rss = Math.max(...all.map((each) => each.rss));
    return [part, name, wall.toFixed(2), cpu.toFixed(2), megabytes(rss)];
  });
  console.log(table(["what", "tool", "seconds", "CPU seconds", "peak memory"], lines).join("\n"));
} finally {
  if (child) endGroup(child.pid, "SIGKILL");
}

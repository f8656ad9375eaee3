// Shared by the benchmarks: files and their origin, one measured command, checks, tables. No state.
import { spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import { dirname, join, resolve as resolvePath } from "node:path";
import { fileURLToPath } from "node:url";
import { childrenOf, cpuOf } from "./system.mjs";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Size of a small file in bytes. */
export const fileSize = 10_000;

/** Today's version of a peer, where bench/peers.sh could build it; else undefined. */
export function newestOf(name) {
  const path = join(root, "bench/.work/peers/bin", name);
  return existsSync(path) ? path : undefined;
}

// --- Settings ---------------------------------------------------------------------------------------------------

/** A positive integer from the environment. */
export function positive(name, fallback) {
  const text = process.env[name] || String(fallback);
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name}: not a positive whole number: ${text}`);
  return value;
}

export function words(text) {
  return text.split(/\s+/).filter(Boolean);
}

/** The drover command to measure, as words. */
export function droverCommand() {
  const command = words(process.env.DROVER || join(root, "drover"));
  if (command[0].includes("/")) command[0] = resolvePath(command[0]); // Commands run in other directories.
  return command;
}

/**
 * The environment of started processes. The user's own settings must not affect the measurement, and no proxy
 * may interfere. The marker in their environment identifies processes that were started here.
 */
export function childEnvironment(marker) {
  const kept = { ...process.env };
  for (const name of Object.keys(kept)) {
    if (
      /^(DROVER|RCLONE|BENCH)(_|$)|^(https?|all|ftp|no)_proxy$|^(AWS_CA_BUNDLE|REDIS_URL|NODE_OPTIONS)$/i.test(
        name,
      )
    ) {
      delete kept[name];
    }
  }
  const [name, value] = marker.split("=");
  kept[name] = value;
  return kept;
}

// --- Files and their origin -------------------------------------------------------------------------------------

export function emptyDir(path) {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** Makes `www/small` with `fileCount` files if needed. @returns SHA-256 by name. */
export function needSmall(www, fileCount) {
  const small = join(www, "small");
  const listed = join(www, `small-${fileCount}.json`);
  if (existsSync(listed)) return JSON.parse(readFileSync(listed, "utf8"));
  say(`generating ${count(fileCount)} files of 10 KB`);
  for (const other of existsSync(www) ? readdirSync(www) : []) {
    if (/^small-\d+\.json$/.test(other)) rmSync(join(www, other)); // The files that it lists are replaced.
  }
  emptyDir(small);
  const bytes = Buffer.allocUnsafe(fileSize);
  const files = {};
  for (let i = 0; i < fileCount; i++) {
    const name = `file-${String(i).padStart(5, "0")}.bin`;
    randomFillSync(bytes);
    writeFileSync(join(small, name), bytes);
    files[name] = createHash("sha256").update(bytes).digest("hex");
  }
  writeFileSync(listed, JSON.stringify(files));
  return files;
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/**
 * Starts nginx for the files below `www`.
 *
 * @param home directory of nginx's own files.
 * @param hosts addresses it listens on, with one port.
 * @param started called with the process before nginx answers.
 * @returns the process and the origin of the first host.
 */
export async function startNginx({ home, www, env, started, hosts = ["127.0.0.1"] }) {
  emptyDir(home);
  const port = await freePort();
  const conf = join(home, "nginx.conf");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  writeFileSync(
    conf,
    `${process.getuid() === 0 ? "user root;\n" : ""}daemon off;
worker_processes auto;
pid ${home}/nginx.pid;
error_log ${home}/error.log warn;
events { worker_connections 1024; }
http {
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 65;
  keepalive_requests 1000;
  etag on;
${temporary.map((name) => `  ${name}_temp_path ${home}/${name};`).join("\n")}
  server {
${hosts.map((host) => `    listen ${host}:${port};`).join("\n")}
    root ${www};
    location /limited/ {
      alias ${www}/;
      limit_rate 20m;
    }
  }
}
`,
  );
  const log = openSync(join(home, "stderr.log"), "w");
  const nginx = spawn("nginx", ["-c", conf, "-p", `${home}/`, "-e", join(home, "error.log")], {
    env,
    detached: true,
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  nginx.on("error", () => {});
  started(nginx);
  const origin = `http://${hosts[0]}:${port}`;
  for (let i = 0; i < 200; i++) {
    if (nginx.exitCode !== null || nginx.pid === undefined) break;
    try {
      await (await fetch(`${origin}/`)).arrayBuffer();
      return origin;
    } catch {
      await sleep(25);
    }
  }
  const why = ["stderr.log", "error.log"].map((name) => tail(join(home, name))).join("\n");
  throw new Error(`nginx does not start: ${why.trim()}`);
}

/** CPU seconds of a process and of its live children. */
export function cpuOfTree(pid) {
  return sum([pid, ...childrenOf(pid)].map((each) => cpuOf(each) ?? 0));
}

// --- One command ------------------------------------------------------------------------------------------------

/**
 * Runs a command to its end. CPU and memory of the command itself come from wait4, through time(1).
 *
 * @param run directory that the command runs in; its output is in `stdout` and `stderr` there.
 * @param started called with the process at once.
 * @returns wall and CPU seconds, peak memory in bytes.
 * @throws if it does not exit with 0.
 */
export async function timed({ command, name, run, env, timeoutMs, started }) {
  const timeFile = join(run, "time");
  const stdout = join(run, "stdout");
  const stderr = join(run, "stderr");
  rmSync(timeFile, { force: true });
  const files = [openSync(stdout, "w"), openSync(stderr, "w")];
  const begin = process.hrtime.bigint();
  const code = await new Promise((resolve, reject) => {
    const child = spawn("/usr/bin/time", ["-q", "-f", "%U %S %M", "-o", timeFile, ...command], {
      env,
      cwd: run,
      detached: true,
      stdio: ["ignore", ...files],
    });
    started(child);
    const timer = setTimeout(() => endGroup(child.pid, "SIGKILL"), timeoutMs);
    child.on("error", reject);
    child.on("exit", (status, sig) => {
      clearTimeout(timer);
      resolve(status ?? sig);
    });
  });
  const wall = Number(process.hrtime.bigint() - begin) / 1e9;
  for (const fd of files) closeSync(fd);
  if (code !== 0) {
    const said = tail(stderr) || tail(stdout);
    throw new Error(`${name} ended with ${code}${code === "SIGKILL" ? " (too slow)" : ""}: ${said}`);
  }
  const [user, system, rssKb] = readFileSync(timeFile, "utf8")
    .trim()
    .split("\n")
    .at(-1)
    .split(" ")
    .map(Number);
  return { wall, cpu: user + system, rss: rssKb * 1024 };
}

export function endGroup(pid, sig) {
  try {
    process.kill(-pid, sig);
  } catch {
    // It is gone already.
  }
}

// --- Checks -----------------------------------------------------------------------------------------------------

export function walk(path, found = new Map()) {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const full = join(path, entry.name);
    if (entry.isDirectory()) walk(full, found);
    else found.set(entry.name, full);
  }
  return found;
}

/** Checks that exactly these files exist with the right length, and samples their content. */
export function checkSmall(name, path, files) {
  const found = walk(path);
  const names = Object.keys(files);
  const missing = names.filter((file) => !found.has(file));
  if (missing.length > 0 || found.size !== names.length) {
    throw new Error(`${name}: ${found.size} files instead of ${names.length}, ${missing.length} missing`);
  }
  const sampled = Math.max(1, Math.floor(names.length / 250));
  let i = 0;
  for (const [file, full] of found) {
    const short = statSync(full).size !== fileSize;
    const wrong =
      i++ % sampled === 0 && createHash("sha256").update(readFileSync(full)).digest("hex") !== files[file];
    if (short || wrong) throw new Error(`${name}: ${file} is not what the origin has`);
  }
}

/** Checks that all outcomes that Drover printed (`--json`) are the expected one. */
export function checkOutcomes(name, stdout, expected, total) {
  const outcomes = {};
  for (const item of JSON.parse(readFileSync(stdout, "utf8"))) {
    outcomes[item.outcome] = (outcomes[item.outcome] ?? 0) + 1;
  }
  if (outcomes[expected] !== total) {
    throw new Error(`${name}: expected ${total} ${expected}, got ${JSON.stringify(outcomes)}`);
  }
}

// --- The report -------------------------------------------------------------------------------------------------

export function table(head, rows) {
  const widths = head.map((_, c) => Math.max(...[head, ...rows].map((row) => row[c].length)));
  const line = (row) =>
    `  ${row.map((text, c) => (c === 0 ? text.padEnd(widths[c]) : text.padStart(widths[c]))).join("   ")}`.trimEnd();
  return [line(head), line(widths.map((w, c) => (c === 0 ? "" : "-".repeat(w)))), ...rows.map(line)];
}

/** Describes machine and system. @param dir where the data is. */
export function machine(dir) {
  const TMPFS_MAGIC = 0x01021994;
  const os = /^PRETTY_NAME="?([^"\n]+)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "Linux";
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memory: totalmem(),
    os,
    kernel: release(),
    node: process.version,
    tmpfs: statfsSync(dir).type === TMPFS_MAGIC,
    load: loadavg(),
  };
}

/** The Redis server of the measurement. */
export function redisServer() {
  const path = (process.env.PATH ?? "").split(":");
  return path.some((p) => existsSync(join(p, "valkey-server"))) ? "valkey-server" : "redis-server";
}

/** Versions by name. @param commands by name, each printing its version. */
export async function versions(env, commands) {
  const found = {};
  for (const [name, command] of Object.entries(commands)) {
    const text = await new Promise((resolve) => {
      let said = "";
      const asked = spawn(command[0], command.slice(1), { env, stdio: ["ignore", "pipe", "pipe"] });
      for (const stream of [asked.stdout, asked.stderr]) stream.on("data", (chunk) => (said += chunk));
      asked.on("error", () => resolve(""));
      asked.on("close", () => resolve(said));
    });
    found[name] = /(\d+\.\d+(\.\d+)?\S*)/.exec(text)?.[1].replace(/,$/, "") ?? "?";
  }
  return found;
}

/** Formats the description of machine and versions. */
export function about({ machine: m, versions: v }) {
  return [
    `${m.cores} × ${m.cpu}, ${Math.round(m.memory / 1e9)} GB, ${m.os}, Linux ${m.kernel}, Node ${m.node}`,
    `${Object.entries(v)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ")}; ${m.date.slice(0, 10)}`,
    `origin, destination, state and Redis' data ${m.tmpfs ? "on tmpfs" : "NOT on tmpfs: the disk is measured too"}; all on this machine`,
    `load before the start ${m.load.map((l) => l.toFixed(1)).join(" ")}`,
  ].join("\n");
}

export const sum = (values) => values.reduce((a, b) => a + b, 0);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const count = (value) => Math.round(value).toLocaleString("en-US");
export const megabytes = (bytes) => (bytes === undefined ? "" : `${Math.round(bytes / 1e6)} MB`);
export const percent = (value) => (value === undefined ? "" : `${Math.round(value * 100)} %`);

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

export function tail(path) {
  try {
    return readFileSync(path, "utf8").trim().slice(-600);
  } catch {
    return "";
  }
}

export function say(text) {
  process.stderr.write(`bench: ${text}\n`);
}

/** Prints a line that the next one overwrites, on a terminal. */
export function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text && `bench: ${text}`}`);
  else if (text) say(text);
}

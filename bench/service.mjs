// Requests per second of the HTTP service, with Drover's own Redis and workers beside it on the same machine. Started by
// run.sh.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import autocannon from "autocannon";
import {
  count,
  droverCommand,
  freePort,
  machine,
  median,
  positive,
  root,
  say,
  sleep,
  table,
} from "./common.mjs";
import { cpuOf } from "./system.mjs";

const rounds = positive("ROUNDS", 3);
const seconds = positive("BENCH_SECONDS", 10);
const filesOfMany = positive("BENCH_FILES", 10_000);
/** Clients that ask at the same time. */
const CLIENTS = 16;
/** Posts of many files, one after the other. */
const MANY_POSTS = 5;

const work = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), "drover-bench-service-"));
const [program, ...words] = droverCommand();
const servers = [];
let made = 0;

/** Starts `drover serve`; all of them share one state directory, and so one Redis. */
async function serve(requestsPerSecond) {
  const port = await freePort();
  const args = ["serve", "--port", String(port), "--root", work, "--download-dir", join(work, "downloads")];
  const server = spawn(program, [...words, ...args], {
    cwd: work,
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      XDG_STATE_HOME: join(work, "state"),
      ENABLE_PERIODIC_SYNC: "false",
      LOG_LEVEL: "WARNING",
      API_RATE_LIMIT: String(requestsPerSecond),
    },
  });
  servers.push(server);
  server.stdout.resume();
  const url = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 200; tries++) {
    if (server.exitCode !== null) throw new Error(`drover serve has ended: ${server.exitCode}`);
    const answer = await fetch(`${url}/readyz`).catch(() => undefined);
    if (answer?.ok) return url;
    await sleep(100);
  }
  throw new Error("drover serve is not ready");
}

/** A run of files that no other run has. */
function bodyOf(files) {
  const nth = made++;
  const rows = Array.from({ length: files }, (_, at) => ({
    source: join(work, "file"),
    name: `${nth}/${at}`,
  }));
  return JSON.stringify({ files: rows, to: join(work, "out") });
}

/**
 * @param serving process of the server.
 * @returns requests per second, percentiles of their times in milliseconds, and CPU of the server for each in microseconds.
 */
async function load(what, serving, options) {
  say(what);
  const before = cpuOf(serving.pid);
  const result = await autocannon({ connections: CLIENTS, duration: seconds, timeout: 60, ...options });
  const failed = result.errors + result.non2xx;
  if (failed > 0)
    throw new Error(`${what}: ${failed} requests failed: ${JSON.stringify(result.statusCodeStats)}`);
  const { requests, duration, latency } = result;
  const cpuUs = ((cpuOf(serving.pid) - before) * 1e6) / requests.total;
  return { rate: requests.total / duration, median: latency.p50, p99: latency.p99, cpuUs };
}

function posting(url, files) {
  const request = {
    method: "POST",
    path: "/api/v1/runs",
    headers: { "content-type": "application/json" },
    setupRequest: (each) => ({ ...each, body: bodyOf(files) }),
  };
  return { url, requests: [request] };
}

/**
 * Cancels what has not ended, so that the next measurement has the machine to itself: how fast files are copied is measured
 * elsewhere.
 */
async function calm(url) {
  for (;;) {
    const { runs } = await (await fetch(`${url}/api/v1/runs?limit=1000&state=running`)).json();
    if (runs.length === 0) return;
    await Promise.all(runs.map(({ id }) => fetch(`${url}/api/v1/runs/${id}/cancel`, { method: "POST" })));
  }
}

async function measure() {
  mkdirSync(join(work, "downloads"));
  writeFileSync(join(work, "file"), "0123456789");
  const [unlimited, limited] = [await serve(0), await serve(1_000_000)];
  const started = await fetch(`${unlimited}/api/v1/runs`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: bodyOf(1),
  });
  const { id } = await started.json();
  const path = `/api/v1/runs/${id}`;
  const found = new Map();
  const keep = (name, result) => found.set(name, [...(found.get(name) ?? []), result]);
  const [freely, limitedly] = servers;
  await load("warming up", freely, { url: unlimited + path, duration: 2 });
  await load("warming up", limitedly, { url: limited + path, duration: 2 });
  for (let round = 0; round < rounds; round++) {
    keep("GET of a run, no limit", await load("GET, no limit", freely, { url: unlimited + path }));
    keep("GET of a run, with a limit", await load("GET, with a limit", limitedly, { url: limited + path }));
  }
  // After those: a server that still expands runs answers more slowly.
  for (let round = 0; round < rounds; round++) {
    keep("POST of one file", await load("POST of one file", freely, posting(unlimited, 1)));
    await calm(unlimited);
    const many = { ...posting(unlimited, filesOfMany), connections: 1, amount: MANY_POSTS };
    keep(`POST of ${count(filesOfMany)} files, one client`, await load("POST of many", freely, many));
    await calm(unlimited);
  }
  const rows = [...found].map(([name, results]) => [
    name,
    median(results.map(({ rate }) => rate)).toFixed(1),
    `${median(results.map((each) => each.median))} ms`,
    `${median(results.map(({ p99 }) => p99))} ms`,
    name.startsWith("GET") ? `${Math.round(median(results.map(({ cpuUs }) => cpuUs)))} µs` : "",
  ]);
  const { cores, cpu, load: loads, date } = machine(root);
  console.log(
    `\n${cores} × ${cpu}, Node ${process.version}, ${date.slice(0, 10)}, load ${loads[0].toFixed(1)} at the end; ${CLIENTS} clients, ${seconds} s each, medians of ${rounds} rounds\n`,
  );
  console.log(table(["what", "requests/s", "median", "p99", "CPU of the server"], rows).join("\n"));
}

function end() {
  for (const server of servers) server.kill("SIGTERM");
}
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, () => {
    end();
    rmSync(work, { recursive: true, force: true });
    process.exit(1);
  });

try {
  await measure();
} finally {
  end();
  await Promise.all(servers.map((server) => server.exitCode ?? once(server, "exit")));
  rmSync(work, { recursive: true, force: true });
}

// Readings of the system: processes, their CPU time and memory, and Redis's counters.
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";

// Linux reports CPU times in /proc in units of 1/100 s whatever the kernel's own tick is.
const TICKS = 100;

/** CPU seconds of a process, all its threads, and the children it has waited for; undefined if it is gone. */
export function cpuOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14])) / TICKS;
  } catch {
    return undefined;
  }
}

/** Peak resident memory of a living process in bytes. */
export function peakRssOf(pid) {
  try {
    const found = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
    return found ? Number(found[1]) * 1024 : undefined;
  } catch {
    return undefined;
  }
}

/** Busy CPU seconds of the whole machine, and those stolen by the hypervisor. */
export function machineCpu() {
  const line = readFileSync("/proc/stat", "latin1")
    .split("\n", 1)[0]
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const [user, nice, system, , , irq, softirq, steal] = line;
  return { busy: (user + nice + system + irq + softirq) / TICKS, steal: steal / TICKS };
}

export function childrenOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1")
      .trim()
      .split(" ")
      .filter(Boolean)
      .map(Number);
  } catch {
    return [];
  }
}

export function isAlive(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return false;
  }
}

function read(path) {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

/**
 * Processes that a drover command has left behind: its Redis, shared with the next command, and the
 * supervisor. They are found by a variable that only processes started here have in their environment. Redis
 * overwrites its environment with its title, so it is found by its directory or socket, which belong to the
 * benchmark.
 */
export function leftBehind(marker, dir) {
  const found = [];
  const uid = process.getuid();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      if (statSync(`/proc/${pid}`).uid !== uid || !isAlive(pid)) continue;
      const name = read(`/proc/${pid}/comm`).trim();
      const isRedis = /^(redis|valkey)/.test(name);
      const command = read(`/proc/${pid}/cmdline`);
      const mine =
        read(`/proc/${pid}/environ`).split("\0").includes(marker) ||
        (isRedis &&
          (command.includes(`${dir}/`) || `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${dir}/`))) ||
        (name.startsWith("node") && command.includes(`${dir}/run/`));
      if (mine) found.push({ pid, name, isRedis, command: command.replaceAll("\0", " ").trim() });
    } catch {
      // Gone meanwhile, or not ours to read.
    }
  }
  return found;
}

/** Ends such processes in order: first the supervisors, which may end Redis themselves, then Redis. */
export async function end(processes) {
  const redis = processes.filter((p) => p.isRedis);
  const others = processes.filter((p) => !p.isRedis);
  signal(others, "SIGTERM");
  await waitGone(others, 3000);
  await waitGone(redis, others.length > 0 ? 1000 : 0);
  signal(redis, "SIGTERM");
  await waitGone([...others, ...redis], 10_000);
  signal([...others, ...redis], "SIGKILL");
  await waitGone(processes, 2000);
}

function signal(processes, name) {
  for (const { pid } of processes) {
    if (!isAlive(pid)) continue;
    try {
      process.kill(pid, name);
    } catch {
      // It is gone already.
    }
  }
}

async function waitGone(processes, ms) {
  const deadline = Date.now() + ms;
  while (processes.some((p) => isAlive(p.pid)) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function socketsBelow(dir, depth = 4) {
  const found = [];
  try {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      if (entry.isSocket()) found.push(path);
      else if (entry.isDirectory() && depth > 0) found.push(...socketsBelow(path, depth - 1));
    }
  } catch {
    // It does not exist.
  }
  return found;
}

/** Redis's counters through its unix socket; undefined if it does not answer. */
export async function redisCounters(redis, dirs) {
  const named = /unixsocket:(\S+)/.exec(redis.command)?.[1];
  const candidates = [...(named ? [named] : []), ...dirs.flatMap((dir) => socketsBelow(dir))];
  for (const path of candidates) {
    const text = await info(path).catch(() => undefined);
    if (text === undefined || Number(/^process_id:(\d+)/m.exec(text)?.[1]) !== redis.pid) continue;
    return countersOf(text);
  }
  return undefined;
}

/** Parses the counters of INFO. */
export function countersOf(text) {
  const number = (name) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(text)?.[1] ?? 0);
  const calls = {};
  for (const [, name, count] of text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) calls[name] = Number(count);
  return { calls, reads: number("total_reads_processed"), writes: number("total_writes_processed") };
}

function info(path) {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = "";
    let length;
    socket.setTimeout(2000, () => socket.destroy(new Error("timeout")));
    socket.setEncoding("latin1");
    socket.on("connect", () => socket.write("*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n"));
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed")));
    socket.on("data", (chunk) => {
      text += chunk;
      if (length === undefined) {
        const end = text.indexOf("\r\n");
        if (end < 0) return;
        if (text[0] !== "$") {
          socket.destroy(new Error(text.slice(0, end)));
          return;
        }
        length = Number(text.slice(1, end));
        text = text.slice(end + 2);
      }
      if (text.length >= length) {
        resolve(text.slice(0, length));
        socket.destroy();
      }
    });
  });
}

/** Differences of two readings; the first is missing if Redis was not running yet. */
export function redisDelta(before, after) {
  if (!after) return undefined;
  let commands = 0;
  let scripts = 0;
  const calls = {};
  for (const [name, count] of Object.entries(after.calls)) {
    const n = count - (before?.calls[name] ?? 0);
    if (n <= 0 || name === "info") continue;
    calls[name] = n;
    commands += n;
    if (/^(eval|evalsha|fcall|eval_ro|evalsha_ro|fcall_ro)$/.test(name)) scripts += n;
  }
  return { commands, scripts, reads: after.reads - (before?.reads ?? 0), calls };
}

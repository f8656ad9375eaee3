// Compares Drover with similar tools: same files, same origin, same machine, whole commands timed. Started by
// run.sh, which has checked the prerequisites. See its --help.
import { createHash, randomFillSync } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { basename, join } from "node:path";
import {
  about,
  checkOutcomes as checkSaid,
  checkSmall,
  childEnvironment,
  droverCommand as commandOf,
  count,
  cpuOfTree,
  emptyDir,
  endGroup,
  machine,
  needSmall as makeSmall,
  median,
  megabytes,
  startNginx as nginxFor,
  percent,
  positive,
  progress,
  redisServer,
  root,
  say,
  sleep,
  sum,
  table,
  timed,
  versions as versionsOf,
  walk,
  words,
} from "./common.mjs";
import {
  cpuOf,
  end,
  isAlive,
  leftBehind,
  machineCpu,
  peakRssOf,
  redisCounters,
  redisDelta,
} from "./system.mjs";

const dir = process.env.BENCH_DIR;
const rounds = positive("ROUNDS", 5);
const fileCount = positive("BENCH_FILES", 10_000);
const bigSize = positive("BENCH_BIG_MB", 1024) * 1024 * 1024;
const parts = process.argv.length > 2 ? process.argv.slice(2) : ["small", "big", "limited", "unchanged"];
const commandTimeout = 180_000;
const quiet = 100; // Pause in ms between commands.

const deadline = Date.now() + 15 * 60_000; // ms; no further round starts after this.
const droverCommand = commandOf();
const droverOptions = words(process.env.DROVER_OPTS ?? "--durability rename --max-workers 64 --json");
const droverBigOptions = words(process.env.DROVER_BIG_OPTS ?? "--durability rename --json");

const www = join(dir, "www");
const run = join(dir, "run");
const out = join(run, "out");
const marker = `DROVER_BENCH=${process.env.BENCH_ID}`;
const env = childEnvironment(marker);
// Socket paths must stay under 108 bytes.
if (dir.length < 50) env.XDG_RUNTIME_DIR = join(run, "rt");
else delete env.XDG_RUNTIME_DIR;

let child; // The measured command while it runs.
let nginx;
let origin;

// --- Set-up -----------------------------------------------------------------------------------------------------

const needSmall = () => makeSmall(www, fileCount);

function needBig() {
  const listed = join(www, `big-${bigSize}.json`);
  if (existsSync(listed)) return JSON.parse(readFileSync(listed, "utf8")).sha256;
  say(`generating one file of ${bigSize / 1024 / 1024} MiB`);
  mkdirSync(www, { recursive: true, mode: 0o700 });
  const fd = openSync(join(www, "big.bin"), "w");
  const hash = createHash("sha256");
  const bytes = Buffer.allocUnsafe(1024 * 1024);
  for (let done = 0; done < bigSize; done += bytes.length) {
    randomFillSync(bytes);
    hash.update(bytes);
    writeSync(fd, bytes);
  }
  closeSync(fd);
  const sha256 = hash.digest("hex");
  writeFileSync(listed, JSON.stringify({ sha256 }));
  return sha256;
}

async function startNginx() {
  const { DROVER_BENCH: _, ...plain } = env;
  const started = (process) => {
    nginx = process;
  };
  origin = await nginxFor({ home: join(dir, "nginx"), www, env: plain, started });
}

const originCpu = () => cpuOfTree(nginx.pid);

// --- One command, measured --------------------------------------------------------------------------------------

const background = () => leftBehind(marker, dir).filter((p) => p.pid !== nginx?.pid);

async function stopBackground() {
  await end(background());
}

async function readBackground() {
  const reading = new Map();
  for (const p of background()) {
    reading.set(p.pid, {
      ...p,
      cpu: cpuOf(p.pid) ?? 0,
      rss: peakRssOf(p.pid),
      counters: p.isRedis ? await redisCounters(p, [join(run, "rt"), join(run, "state")]) : undefined,
    });
  }
  return reading;
}

/** Runs a command. @returns its time, CPU and memory. */
async function measure({ command, name, keepsRedis }) {
  await sleep(quiet);
  const before = keepsRedis ? await readBackground() : new Map();
  const originBefore = originCpu();
  const machineBefore = machineCpu();
  const load = loadavg()[0];
  const { wall, cpu, rss } = await timed({
    command,
    name,
    run,
    env,
    timeoutMs: commandTimeout,
    started: (process) => {
      child = process;
    },
  });
  const machineAfter = machineCpu();
  const originAfter = originCpu();
  child = undefined;
  const result = {
    name,
    wall,
    cpu: { command: cpu, nginx: originAfter - originBefore },
    rss,
  };
  if (keepsRedis) {
    const after = await readBackground();
    let other = 0;
    for (const [pid, p] of after) {
      const cpu = p.cpu - (before.get(pid)?.cpu ?? 0);
      if (p.isRedis) {
        result.cpu.redis = (result.cpu.redis ?? 0) + cpu;
        result.redisRss = p.rss;
        result.redis = redisDelta(before.get(pid)?.counters, p.counters);
      } else other += cpu;
    }
    if ([...after.values()].some((p) => !p.isRedis)) result.cpu.background = other;
  }
  const ours = sum(Object.values(result.cpu));
  const all = machineAfter.busy - machineBefore.busy;
  const capacity = wall * availableParallelism();
  result.capacity = capacity;
  result.noise = Math.max(0, all - ours) / capacity;
  result.steal = (machineAfter.steal - machineBefore.steal) / capacity;
  result.load = load;
  return result;
}

// --- Checks after each command, outside the measured time -----------------------------------------------------------

async function checkBig(name, path, sha256) {
  const found = [...walk(path).values()];
  if (found.length !== 1) throw new Error(`${name}: ${found.length} files instead of one`);
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(found[0], { highWaterMark: 4 * 1024 * 1024 }))
    hash.update(chunk);
  if (hash.digest("hex") !== sha256) throw new Error(`${name}: the file is not what the origin has`);
}

function times(path) {
  const seen = new Map();
  for (const [file, full] of walk(path)) seen.set(file, statSync(full, { bigint: true }).mtimeNs);
  return seen;
}

function checkUntouched(name, path, before) {
  const after = times(path);
  const touched = [...before].filter(([file, mtime]) => after.get(file) !== mtime).length;
  if (touched > 0 || after.size !== before.size) {
    throw new Error(`${name}: touched ${touched} files and left ${after.size} of ${before.size}`);
  }
}

function checkOutcomes(name, expected, total) {
  if (droverOptions.includes("--json")) checkSaid(name, join(run, "stdout"), expected, total);
}

// --- The three comparisons --------------------------------------------------------------------------------------

const state = join(run, "state");
const sync = (sources, to, options) => [
  ...droverCommand,
  "sync",
  ...sources,
  "--artifact-root",
  to,
  "--state-dir",
  state,
  ...options,
];
const urlList = join(run, "urls.txt");
const nameList = join(run, "names.txt");
const rclone = (to) =>
  words("rclone --config /dev/null copy --transfers 64 --no-traverse").concat(
    ["--files-from", nameList, "--http-url", `${origin}/small/`, ":http:", to], // No configuration file: only options.
  );
const aria2 = (to, ...more) =>
  words("aria2c --no-conf=true -q -j 16").concat(more, ["-i", urlList, "-d", to]);

function writeLists(files) {
  const names = Object.keys(files);
  writeFileSync(urlList, names.map((name) => `${origin}/small/${name}\n`).join(""));
  writeFileSync(nameList, names.map((name) => `${name}\n`).join(""));
}

/**
 * Starts Redis, as the last drover command leaves it, by syncing a file that is not among the measured ones.
 */
async function warmUp() {
  const to = join(run, "warm");
  emptyDir(to);
  writeFileSync(join(run, "warm.txt"), "x");
  await measure({
    name: "drover, to start Redis",
    command: sync([join(run, "warm.txt")], to, droverOptions),
    keepsRedis: true,
  });
  rmSync(to, { recursive: true, force: true });
}

function contestants({ drover, peers }) {
  if (!haveDrover()) return peers;
  const cold = {
    ...drover,
    name: "drover",
    note: "Redis not running yet",
    keepsRedis: true,
    async prepare() {
      await stopBackground();
      if (drover.freshState) emptyDir(state);
      await drover.prepare?.();
    },
    finish: stopBackground,
  };
  const warm = {
    ...cold,
    name: "drover, warm",
    note: "Redis still up from the command before",
    async prepare() {
      await cold.prepare();
      await warmUp();
    },
  };
  return [cold, warm, ...peers];
}

async function small() {
  const files = needSmall();
  writeLists(files);
  const into = {
    async prepare() {
      emptyDir(out);
    },
    check: (name) => checkSmall(name, out, files),
  };
  // By default, aria2c preallocates every file; the faster variant is used here.
  const variants = [
    { ...into, name: "aria2c", note: "defaults", command: aria2(out) },
    {
      ...into,
      name: "aria2c",
      note: "--file-allocation=none",
      command: aria2(out, "--file-allocation=none"),
    },
  ];
  return await compare({
    id: "small",
    title: `${count(fileCount)} files of 10 KB`,
    unit: { amount: fileCount, rate: "files/s", per: "file", scale: 1e6, cost: "µs" },
    tools: contestants({
      drover: {
        ...into,
        freshState: true,
        command: sync(["--from-file", urlList], out, droverOptions),
        check(name) {
          checkOutcomes(name, "copied", fileCount);
          into.check(name);
        },
      },
      peers: [
        {
          ...into,
          name: "rclone",
          note: "checks size and time only; no hash, queue or lock",
          command: rclone(out),
        },
        await fastest(variants),
      ],
    }),
  });
}

async function big() {
  const sha256 = needBig();
  const url = `${origin}/big.bin`;
  const target = join(out, "big.bin");
  const into = {
    async prepare() {
      emptyDir(out);
    },
    check: (name) => checkBig(name, out, sha256),
  };
  return await compare({
    id: "big",
    title: `one file of ${bigSize / 1024 / 1024} MiB, SHA-256 checked by Drover`,
    unit: { amount: bigSize / 1e6, rate: "MB/s", per: "run", scale: 1, whole: true, cost: "s" },
    tools: contestants({
      drover: {
        ...into,
        freshState: true,
        command: sync([url, "--checksum", `${url}=${sha256}`], out, droverBigOptions),
      },
      peers: [
        { ...into, name: "curl", note: "checks nothing", command: ["curl", "-q", "-s", "-o", target, url] },
        {
          ...into,
          name: "curl+sha256sum",
          note: "one after the other, as a script would",
          command: ["sh", "-c", 'curl -q -s -o "$1" "$2" && sha256sum "$1"', "sh", target, url],
        },
      ],
    }),
  });
}

/** The same file where a server limits each connection, as many do: what is missing is more of them. */
async function limited() {
  const sha256 = needBig();
  const url = `${origin}/limited/big.bin`;
  const into = {
    async prepare() {
      emptyDir(out);
    },
    check: (name) => checkBig(name, out, sha256),
  };
  return await compare({
    id: "limited",
    title: `one file of ${bigSize / 1024 / 1024} MiB, each connection at 20 MB/s`,
    unit: { amount: bigSize / 1e6, rate: "MB/s", per: "run", scale: 1, whole: true, cost: "s" },
    tools: contestants({
      drover: {
        ...into,
        freshState: true,
        command: sync([url, "--checksum", `${url}=${sha256}`], out, droverBigOptions),
      },
      peers: [
        {
          ...into,
          name: "aria2c -x16",
          note: "16 connections from the start; checks nothing",
          command: [
            ...words("aria2c --no-conf=true -q -x 16 -s 16 --file-allocation=none"),
            "-d",
            out,
            "-o",
            "big.bin",
            url,
          ],
        },
      ],
    }),
  });
}

/** Pause in ms after which an unused Redis has rewritten its data, as a user finds it the next day. */
const tidied = 2_000;

async function unchanged() {
  const files = needSmall();
  writeLists(files);
  // Here every tool has its own destination, filled before the first round and kept afterwards.
  const own = (id) => join(run, `again-${id}`);
  const seen = new Map();
  const fill = async (id, name, command) => {
    emptyDir(own(id));
    await measure({ name, command });
    checkSmall(name, own(id), files);
    seen.set(id, times(own(id)));
  };
  const kept = (id) => ({ check: (name) => checkUntouched(name, own(id), seen.get(id)) });
  const droverAgain = sync(["--from-file", urlList], own("drover"), droverOptions);
  const conditional = ["-R", "--conditional-get=true", "--allow-overwrite=true"];

  say("unchanged: filling the destinations");
  if (haveDrover()) {
    await stopBackground();
    emptyDir(state);
    await fill("drover", "drover", droverAgain);
    await sleep(tidied);
    await stopBackground();
  }
  await fill("rclone", "rclone", rclone(own("rclone")));
  // nginx answers 304 only to exactly its own date: hence -R, which gives the files the origin's date.
  await fill("aria2c", "aria2c", aria2(own("aria2c"), "-R"));
  const result = await compare({
    id: "unchanged",
    title: `the same ${count(fileCount)} a second time, unchanged`,
    unit: { amount: fileCount, rate: "files/s", per: "file", scale: 1e6, cost: "µs" },
    tools: contestants({
      drover: {
        command: droverAgain,
        check(name) {
          checkOutcomes(name, "unchanged", fileCount);
          checkUntouched(name, own("drover"), seen.get("drover"));
        },
      },
      peers: [
        {
          ...kept("rclone"),
          name: "rclone",
          note: "a HEAD each; compares size and time",
          command: rclone(own("rclone")),
        },
        await fastest([
          {
            ...kept("aria2c"),
            name: "aria2c",
            label: "--conditional-get",
            note: "--conditional-get, a GET each with If-Modified-Since; looks at no content and no ETag",
            command: aria2(own("aria2c"), ...conditional),
          },
          {
            ...kept("aria2c"),
            name: "aria2c",
            label: "-c",
            note: "-c, a GET each; looks at the size only",
            command: aria2(own("aria2c"), "-R", "-c"),
          },
        ]),
      ],
    }),
  });
  for (const id of ["drover", "rclone", "aria2c"]) rmSync(own(id), { recursive: true, force: true });
  return result;
}

/** The fastest of several ways to call a tool, by the better of two runs each. */
async function fastest(variants) {
  const best = variants.map(() => Number.POSITIVE_INFINITY);
  for (let i = 0; i < 2; i++) {
    for (const [v, variant] of variants.entries()) {
      const { wall } = await once(variant);
      best[v] = Math.min(best[v], wall);
    }
  }
  const chosen = best.indexOf(Math.min(...best));
  const tried = variants.map((v, i) => `${v.label ?? v.note} ${best[i].toFixed(2)} s`).join("; ");
  say(`${variants[0].name}: fastest of ${tried}`);
  return { ...variants[chosen], tried };
}

async function once(tool) {
  await tool.prepare?.();
  const result = await measure(tool);
  await tool.check?.(tool.name);
  await tool.finish?.();
  return result;
}

async function compare({ id, title, unit, tools }) {
  // One uncounted round: programs and fresh memory are slow the first time, which would penalise the first
  // tool.
  progress(`${id}: round 0 (not counted)`);
  for (const tool of tools) await once(tool);
  const runs = tools.map(() => []);
  let done = 0;
  while (done < rounds && (done === 0 || Date.now() < deadline)) {
    progress(`${id}: round ${done + 1} of ${rounds}`);
    for (const [i, tool] of tools.entries()) runs[i].push(await once(tool));
    done++;
  }
  progress("");
  if (done < rounds) say(`${id}: out of time after ${done} of ${rounds} rounds`);
  rmSync(out, { recursive: true, force: true });
  return {
    id,
    title,
    unit,
    rounds: done,
    tools: tools.map((tool, i) => ({
      name: tool.name,
      note: tool.note,
      tried: tool.tried,
      command: shown(tool.command),
      ...summary(runs[i], unit),
      runs: runs[i],
    })),
    ratios: ratios(tools, runs),
  };
}

const shown = (command) =>
  command
    .map((word) => (word === "" || /[\s"$]/.test(word) ? `'${word}'` : word))
    .join(" ")
    .replaceAll(`${root}/`, "./")
    .replaceAll(`${run}/`, "")
    .replaceAll(origin, "http://origin");

function summary(runs, unit) {
  const walls = runs.map((r) => r.wall);
  const per = (pick) => {
    const values = runs.map(pick).filter((v) => v !== undefined);
    return values.length > 0 ? median(values) : undefined;
  };
  const share = unit.whole ? 1 : unit.amount;
  return {
    seconds: { median: median(walls), min: Math.min(...walls), max: Math.max(...walls) },
    rate: unit.amount / median(walls),
    cpu: {
      command: per((r) => (r.cpu.command / share) * unit.scale),
      redis: per((r) => r.cpu.redis && (r.cpu.redis / share) * unit.scale),
      background: per((r) => r.cpu.background && (r.cpu.background / share) * unit.scale),
      nginx: per((r) => (r.cpu.nginx / share) * unit.scale),
      all: per((r) => (sum(Object.values(r.cpu).map((v) => v ?? 0)) / share) * unit.scale),
    },
    rss: { command: per((r) => r.rss), redis: per((r) => r.redisRss) },
    redis: {
      scripts: per((r) => r.redis && r.redis.scripts / share),
      commands: per((r) => r.redis && r.redis.commands / share),
      reads: per((r) => r.redis && r.redis.reads / share),
    },
    noise: per((r) => r.noise),
    steal: per((r) => r.steal),
  };
}

/** Ratio of each variant of Drover to each other tool, within a round, since noise varies over time. */
function ratios(tools, runs) {
  const found = [];
  for (const [d, drover] of tools.entries()) {
    if (!drover.name.startsWith("drover")) continue;
    for (const [p, peer] of tools.entries()) {
      if (peer.name.startsWith("drover")) continue;
      const each = runs[d].map((r, i) => runs[p][i].wall / r.wall);
      found.push({
        drover: drover.name,
        peer: peer.name,
        median: median(each),
        min: Math.min(...each),
        max: Math.max(...each),
      });
    }
  }
  return found;
}

// --- The report -------------------------------------------------------------------------------------------------

function report(result) {
  const { unit, tools } = result;
  const peers = [...new Set(result.ratios.map((r) => r.peer))];
  const lines = ["", `${result.title} (${result.rounds} rounds, interleaved)`, ""];
  lines.push(
    ...table(
      ["", "median", "min – max", unit.rate, ...peers.map((peer) => `rate ÷ ${peer}'s`)],
      tools.map((t) => [
        t.name,
        `${t.seconds.median.toFixed(2)} s`,
        `${t.seconds.min.toFixed(2)} – ${t.seconds.max.toFixed(2)}`,
        count(t.rate),
        ...peers.map((peer) => {
          const r = result.ratios.find((x) => x.drover === t.name && x.peer === peer);
          return r ? `${r.median.toFixed(2)} (${r.min.toFixed(2)} – ${r.max.toFixed(2)})` : "";
        }),
      ]),
    ),
  );
  const digits = unit.whole ? 2 : 0;
  const cell = (value) => (value === undefined ? "" : value.toFixed(digits));
  const someRedis = tools.some((t) => t.redis.commands !== undefined);
  const someBackground = tools.some((t) => t.cpu.background !== undefined);
  lines.push("", `CPU ${unit.cost} per ${unit.per}, by process; peak memory; Redis per ${unit.per}`, "");
  lines.push(
    ...table(
      [
        "",
        "command",
        ...(someRedis ? ["redis"] : []),
        ...(someBackground ? ["supervisor"] : []),
        "nginx",
        "all",
        "memory",
        ...(someRedis ? ["redis memory", "scripts", "commands", "socket reads"] : []),
        "other load",
      ],
      tools.map((t) => [
        t.name,
        cell(t.cpu.command),
        ...(someRedis ? [cell(t.cpu.redis)] : []),
        ...(someBackground ? [cell(t.cpu.background)] : []),
        cell(t.cpu.nginx),
        cell(t.cpu.all),
        megabytes(t.rss.command),
        ...(someRedis
          ? [
              megabytes(t.rss.redis),
              ...["scripts", "commands", "reads"].map((k) => t.redis[k]?.toFixed(unit.whole ? 0 : 2) ?? ""),
            ]
          : []),
        percent(t.noise),
      ]),
    ),
  );
  lines.push("");
  const cold = tools.find((t) => t.name === "drover");
  const calls = Object.entries(cold?.runs.at(-1).redis?.calls ?? {}).sort((a, b) => b[1] - a[1]);
  if (calls.length > 0) {
    const share = unit.whole ? 1 : unit.amount;
    const most = calls.slice(0, 12).map(([name, n]) => `${name} ${(n / share).toFixed(unit.whole ? 0 : 2)}`);
    lines.push(`  Redis commands per ${unit.per}, those in scripts included: ${most.join(", ")}`, "");
  }
  for (const t of tools) {
    lines.push(`  ${t.name}: ${t.note}${t.tried ? ` (fastest of: ${t.tried})` : ""}`, `    ${t.command}`);
  }
  return lines.join("\n");
}

function headline(results) {
  const said = [];
  for (const result of results) {
    const cold = result.tools.find((t) => t.name === "drover");
    if (!cold) continue;
    const against = (name) =>
      result.ratios
        .filter((r) => r.drover === name)
        .map((r) => `${r.median.toFixed(2)} of ${r.peer}'s`)
        .join(", ");
    said.push(
      `  ${result.title}: ${count(cold.rate)} ${result.unit.rate}, ${against("drover")}`,
      `    (warm: ${against("drover, warm")})`,
    );
  }
  if (said.length === 0) return "";
  return `
Headline: Drover's rate for the whole command, start of its Redis included, median of the rounds
(warm: its Redis still up from the command before)
${said.join("\n")}
`;
}

function versions() {
  const server = redisServer();
  return versionsOf(env, {
    nginx: ["nginx", "-v"],
    rclone: ["rclone", "--config", "/dev/null", "version"],
    aria2c: ["aria2c", "-v"],
    curl: ["curl", "-q", "-V"],
    [server.replace("-server", "")]: [server, "--version"],
    ...(haveDrover() ? { drover: [...droverCommand, "--version"] } : {}),
  });
}

function haveDrover() {
  if (process.env.DROVER) return process.env.DROVER !== "none";
  return existsSync(join(root, "packages/cli/dist/main.js"));
}

// --- Start and end ----------------------------------------------------------------------------------------------

let stopping;
function stop() {
  stopping ??= (async () => {
    if (child?.pid) endGroup(child.pid, "SIGKILL");
    await stopBackground();
    if (nginx?.pid && isAlive(nginx.pid)) {
      await end([{ pid: nginx.pid, isRedis: false }]);
    }
    rmSync(run, { recursive: true, force: true });
  })();
  return stopping;
}
for (const [name, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
]) {
  process.on(name, () => void stop().then(() => process.exit(code)));
}

async function main() {
  emptyDir(run);
  mkdirSync(join(run, "rt"), { mode: 0o700 });
  mkdirSync(www, { recursive: true, mode: 0o700 });
  if (!haveDrover()) say("drover is not measured: the other tools alone");
  if (parts.includes("big") || parts.includes("limited")) needBig();
  if (parts.includes("small") || parts.includes("unchanged")) needSmall();
  await startNginx();

  const on = { machine: machine(dir), versions: await versions() };
  console.log(about(on));
  const results = [];
  const last = join(root, "bench/.work/last.json");
  for (const [id, part] of Object.entries({ small, big, limited, unchanged })) {
    if (!parts.includes(id)) continue;
    results.push(await part());
    console.log(report(results.at(-1)));
    writeFileSync(last, `${JSON.stringify({ ...on, results }, undefined, 2)}\n`);
  }
  const runs = results.flatMap((r) => r.tools.flatMap((t) => t.runs));
  const noise = sum(runs.map((r) => (r.noise + r.steal) * r.capacity)) / sum(runs.map((r) => r.capacity));
  console.log(headline(results));
  const advice = noise > 0.05 ? ": compare only the ratios, or run it again on a quiet machine" : "";
  console.log(`Other processes and the hypervisor took ${percent(noise)} of the machine meanwhile${advice}.`);
  console.log(`Written to ${last.replace(`${root}/`, "")}`);
}

let status = 0;
try {
  // "stop" ends what a killed driver has left behind.
  if (parts[0] !== "stop") await main();
} catch (error) {
  if (!stopping) {
    say(`${basename(process.argv[1])}: ${error instanceof Error ? error.message : error}`);
    status = 1;
  }
}
await stop();
process.exit(status);

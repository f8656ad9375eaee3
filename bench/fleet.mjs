// Performance of a fleet: workers on one Redis, whole commands timed, every result checked. Targets are
// printed beside the results. Started by run.sh, which has checked the prerequisites. See its --help.
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { basename, join } from "node:path";
import {
  about,
  checkOutcomes,
  checkSmall,
  childEnvironment,
  count,
  cpuOfTree,
  droverCommand,
  emptyDir,
  endGroup,
  fileSize,
  freePort,
  machine,
  median,
  megabytes,
  needSmall,
  newestOf,
  percent,
  positive,
  progress,
  redisServer,
  root,
  say,
  sleep,
  startNginx,
  sum,
  table,
  timed,
  versions,
  words,
} from "./common.mjs";
import { Fleet, PLAIN_REDIS_OPTIONS, rateOf, startSlowOrigin, until } from "./fleet-setup.mjs";
import { end, leftBehind, machineCpu } from "./system.mjs";

const dir = process.env.BENCH_DIR;
const rounds = positive("ROUNDS", 3);
const fileCount = positive("BENCH_FILES", 10_000);
const many = positive("BENCH_MANY", 100_000);
const healthy = Math.min(1_000, fileCount);
const enqueueOnly = process.env.BENCH_ENQUEUE ? positive("BENCH_ENQUEUE") : 0;
const delayMs = 20;
const commandTimeout = 900_000;
const quiet = 200; // Pause in ms before a measurement.
/** Time in ms after which no further round of a scenario starts. */
const longest = 10 * 60_000;

const www = join(dir, "www");
const run = join(dir, "run");
const out = join(run, "out");
const drover = droverCommand();
const marker = `DROVER_BENCH=${process.env.BENCH_ID}`;
const env = childEnvironment(marker);
const HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];

let child; // The measured command while it runs.
let nginx;
let slow;
let fleet; // The running fleet.
let origin;

// --- Lists and destinations -------------------------------------------------------------------------------------

/** Writes a list; each line is a source, or a source and its destination. */
function writeList(name, lines) {
  const path = join(run, name);
  const fd = [];
  for (let at = 0; at < lines.length; at += 100_000) fd.push(lines.slice(at, at + 100_000).join("\n"));
  writeFileSync(path, `${fd.join("\n")}\n`);
  return path;
}

/** Makes many files from few: `many/0` and so on are all the same directory. */
function manyFiles(names, total) {
  const home = join(www, "many");
  mkdirSync(home, { recursive: true });
  for (let copy = 0; copy * names.length < total; copy++) {
    const link = join(home, String(copy));
    if (!existsSync(link)) symlinkSync("../small", link);
  }
  return Array.from(
    { length: total },
    (_, at) => `many/${Math.floor(at / names.length)}/${names[at % names.length]}`,
  );
}

function checkMany(name, to, files, total) {
  const names = Object.keys(files);
  for (let copy = 0; copy * names.length < total; copy++) {
    const some = names.slice(0, total - copy * names.length);
    checkSmall(name, join(to, "many", String(copy)), pick(files, some));
  }
}

const pick = (files, names) => Object.fromEntries(names.map((name) => [name, files[name]]));

let destinations = 0;
/** A new destination. */
function fresh() {
  const to = join(out, String(++destinations));
  emptyDir(to);
  return to;
}

/** Checks that the counts of a run add up and are as expected. */
async function checkCounts(name, id, expected) {
  const { stdout } = await command(
    [...drover, "status", id, "--redis", fleet.url, "--json"],
    `${name}: status`,
  );
  const status = JSON.parse(stdout);
  const said = Object.fromEntries(Object.keys(expected).map((key) => [key, status[key]]));
  const whole =
    status.copied + status.unchanged + status.failed + status.blocked + status.locked + status.cancelled;
  if (JSON.stringify(said) !== JSON.stringify(expected) || whole !== status.settled) {
    throw new Error(
      `${name}: expected ${JSON.stringify(expected)}, got ${JSON.stringify({ ...status, failures: undefined })}`,
    );
  }
}

// --- One measurement --------------------------------------------------------------------------------------------

/** Runs a command to its end, see {@link timed}. */
async function command(words, name) {
  const taken = await timed({
    command: words,
    name,
    run,
    env,
    timeoutMs: commandTimeout,
    started: (process) => {
      child = process;
    },
  });
  child = undefined;
  return { ...taken, stdout: readFileSync(join(run, "stdout"), "utf8") };
}

const originCpu = () => sum([nginx, slow?.child].map((each) => (each ? cpuOfTree(each.pid) : 0)));

/**
 * Measures all processes during some work.
 * @param work returns its wall seconds, and CPU and memory of its command.
 */
async function measured(work) {
  await sleep(quiet);
  const load = loadavg()[0];
  const [before, counters] = [fleet?.reading(), await fleet?.counters()];
  const [originBefore, machineBefore] = [originCpu(), machineCpu()];
  const started = performance.now();
  const { wall, cpu: commandCpu = 0, rss: commandRss } = await work();
  const seconds = (performance.now() - started) / 1000; // Includes more than the timed section if workers are started.
  const [originAfter, machineAfter] = [originCpu(), machineCpu()];
  const [after, countersAfter] = [fleet?.reading(), await fleet?.counters()];
  const result = {
    wall,
    load,
    cpu: { command: commandCpu, origin: originAfter - originBefore },
    rss: { command: commandRss },
  };
  if (fleet) {
    for (const role of ["workers", "redis"]) result.cpu[role] = after.cpu[role] - before.cpu[role];
    Object.assign(result.rss, after.rss);
    const scripts = (of) => (of.calls.evalsha ?? 0) + (of.calls.eval ?? 0);
    result.scripts = scripts(countersAfter) - scripts(counters);
    result.reads = countersAfter.reads - counters.reads;
  }
  const capacity = seconds * availableParallelism();
  const all = machineAfter.busy - machineBefore.busy;
  result.noise = Math.max(0, all - sum(Object.values(result.cpu))) / capacity;
  result.steal = (machineAfter.steal - machineBefore.steal) / capacity;
  return result;
}

/** Runs a fleet for some work. */
async function withFleet(work, options = {}) {
  fleet = await Fleet.start({ dir: join(run, "fleet"), env, drover, ...options });
  try {
    return await work(fleet);
  } finally {
    await fleet.stop();
    fleet = undefined;
  }
}

/** Starts workers and lets them carry files first, since programs are slow at first. */
async function warmWorkers(workers, concurrency, list, total) {
  await fleet.start(workers, concurrency, out);
  const to = fresh();
  await command(fleet.sync(list, to, "--json"), "warming up");
  checkOutcomes("warming up", join(run, "stdout"), "copied", total);
  rmSync(to, { recursive: true });
}

/** `drover sync` of a list through the running fleet, measured and checked. */
async function measuredSync(name, list, files) {
  const to = fresh();
  const result = await measured(() => command(fleet.sync(list, to, "--json"), name));
  checkOutcomes(name, join(run, "stdout"), "copied", Object.keys(files).length);
  checkSmall(name, to, files);
  rmSync(to, { recursive: true });
  return result;
}

/** Submits a list without following it. @returns the run. */
async function submit(name, list, to) {
  return (await command(fleet.sync(list, to, "--detach"), name)).stdout.trim();
}

/** Runs every contestant once per round, in turn, since noise varies over time. */
async function compare({ id, title, amount, contestants }) {
  const deadline = Date.now() + longest;
  const runs = contestants.map(() => []);
  let done = 0;
  while (done < rounds && (done === 0 || Date.now() < deadline)) {
    for (const [at, contestant] of contestants.entries()) {
      progress(`${id}: round ${done + 1} of ${rounds}: ${contestant.name}`);
      runs[at].push(await contestant.measure(contestant.name));
    }
    done++;
  }
  progress("");
  if (done < rounds) say(`${id}: out of time after ${done} of ${rounds} rounds`);
  const tools = contestants.map(({ name, note, files = amount }, at) => ({
    name,
    note,
    files,
    runs: runs[at],
  }));
  return { id, title, rounds: done, tools, aims: [] };
}

/** Ratio of two rates within a round. */
function ratio(result, name, other) {
  const runsOf = (wanted) => result.tools.find((tool) => tool.name === wanted);
  const [a, b] = [runsOf(name), runsOf(other)];
  const each = a.runs.map((r, at) => a.files / r.wall / (b.files / b.runs[at].wall));
  return { median: median(each), min: Math.min(...each), max: Math.max(...each) };
}

/** A target and its result. @param is `least` or `most`. */
function aim(what, is, wanted, seen, shown = (value) => value.toFixed(2)) {
  const met = is === "least" ? seen >= wanted : seen <= wanted;
  return { what, wanted: `${is === "least" ? "≥" : "≤"} ${shown(wanted)}`, seen: shown(seen), met };
}

// --- delay: files whose origin takes 20 ms ----------------------------------------------------------------------

async function delay() {
  const files = needSmall(www, fileCount);
  const names = Object.keys(files);
  slow = await startSlowOrigin(join(www, "small"), delayMs, env);
  const most = await rateOf(slow.url, `/${names[0]}`, fileSize);
  say(`delay: the origin can give ${count(most)} answers/s, ${delayMs} ms each`);
  const list = writeList(
    "slow.txt",
    names.map((name) => `${slow.url}/${name}`),
  );
  const some = writeList(
    "slow-some.txt",
    names.slice(0, healthy).map((name) => `${slow.url}/${name}`),
  );
  const nameList = writeList("names.txt", names);
  const newest = newestOf("rclone");
  const rclone = (name, note, options, program = "rclone") => ({
    name,
    note,
    measure: async () => {
      const to = fresh();
      const copy = words(`--config /dev/null copy --transfers 64 --checkers 64 --no-traverse ${options}`);
      const where = ["--files-from", nameList, "--http-url", `${slow.url}/`, ":http:", to];
      const result = await measured(() => command([program, ...copy, ...where], name));
      checkSmall(name, to, files);
      rmSync(to, { recursive: true });
      return result;
    },
  });
  const workers = (number, concurrency) => ({
    name: `drover, ${number} × ${concurrency}`,
    note: `drover sync --redis; ${number} drover worker --concurrency ${concurrency}, warmed up`,
    measure: (name) =>
      withFleet(async () => {
        await warmWorkers(number, concurrency, some, healthy);
        return measuredSync(name, list, files);
      }),
  });
  const result = await compare({
    id: "delay",
    title: `${count(fileCount)} files of 10 KB from an origin that takes ${delayMs} ms`,
    amount: fileCount,
    contestants: [
      rclone("rclone", "--transfers 64 --checkers 64: a HEAD and a GET each", ""),
      rclone(
        "rclone, no HEAD",
        "--transfers 64 --http-no-head: a GET each, size and date unknown",
        "--http-no-head",
      ),
      ...(newest
        ? [rclone("newest rclone, no HEAD", "as above, today's version", "--http-no-head", newest)]
        : []),
      workers(1, 64),
      workers(1, 8),
      workers(4, 8),
    ],
  });
  await end([{ pid: slow.child.pid, isRedis: false }]);
  slow = undefined;
  const highest = Math.max(...result.tools.flatMap((tool) => tool.runs.map((r) => fileCount / r.wall)));
  const against = (name, other) => ratio(result, name, other).median;
  result.originRate = most;
  result.aims = [
    aim("rate of one worker with 64 ÷ rclone's", "least", 1, against("drover, 1 × 64", "rclone")),
    aim("the same ÷ rclone's without HEAD", "least", 1, against("drover, 1 × 64", "rclone, no HEAD")),
    ...(newest
      ? [
          aim(
            "the same ÷ newest rclone's without HEAD",
            "least",
            1,
            against("drover, 1 × 64", "newest rclone, no HEAD"),
          ),
        ]
      : []),
    aim("rate of 4 workers with 8 ÷ one's", "least", 3.5, against("drover, 4 × 8", "drover, 1 × 8")),
    aim("what the origin can give ÷ the highest rate", "least", 5, most / highest),
  ];
  return result;
}

// --- cores: what a second process gives -------------------------------------------------------------------------

async function cores() {
  const files = needSmall(www, fileCount);
  const names = Object.keys(files);
  const list = writeList(
    "small.txt",
    names.map((name) => `${origin}/small/${name}`),
  );
  const some = writeList(
    "some.txt",
    names.slice(0, healthy).map((name) => `${origin}/small/${name}`),
  );
  const workers = (number, concurrency) => ({
    name: `${number} × ${concurrency}`,
    note: `${number} drover worker --concurrency ${concurrency}, warmed up`,
    measure: (name) =>
      withFleet(async () => {
        await warmWorkers(number, concurrency, some, healthy);
        return measuredSync(name, list, files);
      }),
  });
  const result = await compare({
    id: "cores",
    title: `${count(fileCount)} files of 10 KB from nginx, one worker process and two`,
    amount: fileCount,
    contestants: [workers(1, 64), workers(2, 32)],
  });
  const { median: gain } = ratio(result, "2 × 32", "1 × 64");
  result.aims = [aim("rate of two processes ÷ one's", "least", 1, gain)];
  return result;
}

// --- blocked-host: a host that is down beside healthy ones ------------------------------------------------------

/** Files of the blocked host must wait all the time: none of them is settled, and the breaker stays open. */
async function blockedHost() {
  const files = needSmall(www, fileCount);
  const names = Object.keys(files).slice(0, healthy);
  const wanted = pick(files, names);
  const { port } = new URL(origin);
  // In groups of ten per host: the backlog is bounded by its chunks, and each batch makes one chunk per host.
  const good = names.map(
    (name, at) => `http://${HOSTS[Math.floor(at / 10) % HOSTS.length]}:${port}/small/${name}`,
  );
  const nobody = await freePort();
  const bad = Array.from({ length: many }, (_, at) => `http://127.0.0.1:${nobody}/down/file-${at}.bin`);
  const each = Math.ceil((many / healthy) * 10);
  const mixed = [];
  for (let at = 0; at * 10 < healthy; at++)
    mixed.push(...bad.slice(at * each, (at + 1) * each), ...good.slice(at * 10, (at + 1) * 10));
  const lists = {
    good: writeList("good.txt", good),
    bad: writeList("bad.txt", bad),
    mixed: writeList("mixed.txt", mixed),
  };
  const warm = () => warmWorkers(2, 16, lists.good, healthy);

  /** From ready workers and a full backlog to the last healthy file. */
  const fromBacklog = (list, rest) => (name) =>
    withFleet(async () => {
      const to = fresh();
      const id = await submit(name, list, to);
      const result = await measured(async () => {
        await fleet.start(2, 16, out);
        const started = performance.now();
        await until("the healthy files", async () => (await fleet.ledger.counts(id)).copied >= healthy);
        return { wall: (performance.now() - started) / 1000 };
      });
      await checkCounts(name, id, { files: healthy + rest, settled: healthy, copied: healthy });
      checkSmall(name, to, wanted);
      rmSync(to, { recursive: true });
      return result;
    });
  const result = await compare({
    id: "blocked-host",
    title: `${count(healthy)} files of healthy hosts beside ${count(many)} of one that is down; two workers with 16`,
    amount: healthy,
    contestants: [
      {
        name: "alone",
        note: "drover sync of the healthy files",
        measure: (name) =>
          withFleet(async () => {
            await warm();
            return measuredSync(name, lists.good, wanted);
          }),
      },
      {
        name: "beside another run",
        note: "the same, the other run submitted just before",
        measure: (name) =>
          withFleet(async () => {
            await warm();
            const blocked = await submit(name, lists.bad, fresh());
            const result = await measuredSync(name, lists.good, wanted);
            await checkCounts(name, blocked, { files: many, settled: 0, copied: 0 });
            return result;
          }),
      },
      {
        name: "alone, queued",
        note: "the healthy files submitted before the workers start; from there to the last of them",
        measure: fromBacklog(lists.good, 0),
      },
      {
        name: "in one run, queued",
        note: "the same, in one list with those of the host that is down, evenly mixed",
        measure: fromBacklog(lists.mixed, many),
      },
    ],
  });
  const longer = (name, other) => 1 / ratio(result, name, other).median;
  result.aims = [
    aim("time beside another run ÷ alone", "most", 1.2, longer("beside another run", "alone")),
    aim("time in one run ÷ alone", "most", 1.2, longer("in one run, queued", "alone, queued")),
  ];
  return result;
}

// --- hundred-thousand: what a file costs ------------------------------------------------------------------------

/** Submits files without workers, and measures the producer and Redis's memory. */
async function enqueued(list, to, total) {
  const { redis, keys } = fleet;
  const before = await fleet.dataBytes();
  let [most, sealedMs, busy] = [0, undefined, true];
  const started = performance.now();
  const watching = (async () => {
    for (; busy; await sleep(20)) {
      most = Math.max(most, await fleet.dataBytes());
      const id = await fleet.lastRun();
      if (id === undefined) continue;
      if ((await redis.hget(keys.run(id), "sealed")) === "1") sealedMs ??= performance.now() - started;
    }
  })();
  let id;
  const result = await measured(async () => {
    // No worker carries files, so the producer would wait at the default of 200,000.
    const all = ["--detach", "--backlog-high-water", String(total + 10_000)];
    const taken = await command(fleet.sync(list, to, ...all), "sync --detach");
    id = taken.stdout.trim();
    return taken;
  });
  busy = false;
  await watching;
  const { files } = await fleet.ledger.counts(id);
  if (files !== total) throw new Error(`enqueue: ${files} files instead of ${total}`);
  return {
    ...result,
    id,
    files,
    sealed: sealedMs / 1000,
    bytes: { withClaims: (most - before) / files, after: ((await fleet.dataBytes()) - before) / files },
  };
}

/** Lets workers carry what is queued, from their readiness to the end of the run. */
async function carried(id, workers, concurrency) {
  return measured(async () => {
    await fleet.start(workers, concurrency, out);
    const started = performance.now();
    await fleet.over(id);
    return { wall: (performance.now() - started) / 1000 };
  });
}

/** Commands of clients per file, while files are queued and while they are carried. */
async function commandsSent(list, total) {
  return withFleet(async () => {
    const to = fresh();
    const rate = (sent) => Object.fromEntries(Object.entries(sent).map(([name, n]) => [name, n / total]));
    let end = await fleet.watch();
    const id = await submit("sync --detach", list, to);
    const queueing = rate(await end());
    end = await fleet.watch();
    await fleet.start(2, 16, out);
    await fleet.over(id);
    const carrying = rate(await end());
    rmSync(to, { recursive: true });
    return { queueing, carrying };
  });
}

/** Bytes per job in BullMQ: a window of jobs waits while the origin holds one worker up. */
async function jobBytes(options) {
  slow = await startSlowOrigin(join(www, "small"), 0, env);
  const lines = Array.from({ length: 2_000 }, (_, at) => {
    const name = `many/0/file-${String(at).padStart(5, "0")}.bin`;
    return `${slow.url}/held/${name}\t${name}`;
  });
  const list = writeList("held.txt", lines);
  const result = await withFleet(async () => {
    const { redis, keys } = fleet;
    await submit("sync --detach", list, fresh());
    await fleet.start(1, 1, out);
    const queue = `${keys.queuePrefix()}:${keys.fleetQueue()}`;
    let jobs = 0;
    await until("the window", async () => {
      const before = jobs;
      jobs = await redis.zcard(`${queue}:prioritized`);
      await sleep(500);
      return jobs > 0 && jobs === before;
    });
    let bytes = 0;
    let found = 0;
    for (const key of await redis.keys(`${queue}:*`)) {
      if (key === `${queue}:events`) continue; // Its size does not depend on the window.
      bytes += await redis.memory("USAGE", key, "SAMPLES", 0);
      if (/:r[^:]*$/.test(key) && (await redis.type(key)) === "hash") found++;
    }
    fleet.workers[0].kill("SIGKILL"); // It would wait for its file.
    return { jobs: found, bytes: bytes / found };
  }, options);
  await end([{ pid: slow.child.pid, isRedis: false }]);
  slow = undefined;
  return result;
}

async function hundredThousand() {
  const files = needSmall(www, fileCount);
  const names = Object.keys(files);
  const paths = manyFiles(names, many);
  const line = (path) => `${origin}/${path}\t${path}`;
  const list = writeList("many.txt", paths.map(line));
  const result = {
    id: "hundred-thousand",
    title: `${count(many)} files of 10 KB, queued, then carried by two workers with 16`,
    rounds: 1,
  };
  await withFleet(async () => {
    const to = fresh();
    progress(`${result.id}: queueing`);
    result.queueing = await enqueued(list, to, many);
    progress(`${result.id}: carrying`);
    result.carrying = await carried(result.queueing.id, 2, 16);
    await checkCounts(result.id, result.queueing.id, {
      files: many,
      settled: many,
      copied: many,
      state: "done",
    });
    checkMany(result.id, to, files, many);
    rmSync(to, { recursive: true });
  });
  progress(`${result.id}: counting commands`);
  const counted = Math.min(many, 10_000);
  result.sent = await commandsSent(writeList("counted.txt", paths.slice(0, counted).map(line)), counted);
  progress(`${result.id}: jobs in BullMQ`);
  result.job = await jobBytes();
  result.plainJob = await jobBytes({ options: PLAIN_REDIS_OPTIONS });
  if (enqueueOnly > 0) {
    progress(`${result.id}: queueing ${count(enqueueOnly)}`);
    const longList = writeList(
      "million.txt",
      Array.from({ length: enqueueOnly }, (_, at) => line(`many/${at % 10}/file-${at}.bin`)),
    );
    result.million = await withFleet(() => enqueued(longList, fresh(), enqueueOnly));
    rmSync(longList);
  }
  progress("");
  const { queueing, carrying, sent, job, million } = result;
  const whole = (value) => count(value);
  const mb = (value) => megabytes(value);
  result.aims = [
    aim("producer's peak memory", "most", 150e6, queueing.rss.command, mb),
    ...(million
      ? [
          aim(
            `the same with ${count(million.files)}`,
            "most",
            Math.max(150e6, queueing.rss.command),
            million.rss.command,
            mb,
          ),
        ]
      : []),
    aim("Redis bytes per file in the backlog, with claims", "most", 250, queueing.bytes.withClaims, whole),
    aim("the same, claims dropped", "most", 250, queueing.bytes.after, whole),
    aim("Redis bytes per job in BullMQ", "most", 600, job.bytes, whole),
    aim(
      "commands per file, queueing and carrying",
      "most",
      3.1,
      sum(Object.values(sent.queueing)) + sum(Object.values(sent.carrying)),
    ),
  ];
  result.facts = [
    ["queueing until sealed", `${queueing.sealed.toFixed(2)} s`, `${count(many / queueing.sealed)}/s`],
    ["the whole command", `${queueing.wall.toFixed(2)} s`, ""],
    ["carrying", `${carrying.wall.toFixed(2)} s`, `${count(many / carrying.wall)}/s`],
    [
      "CPU per file, queueing",
      `${micros(queueing.cpu.command, many)} command`,
      `${micros(queueing.cpu.redis, many)} Redis`,
    ],
    [
      "CPU per file, carrying",
      `${micros(carrying.cpu.workers, many)} workers`,
      `${micros(carrying.cpu.redis, many)} Redis`,
    ],
    [
      "scripts per file, carrying",
      (carrying.scripts / many).toFixed(2),
      `${(carrying.reads / many).toFixed(2)} reads of sockets`,
    ],
    ["peak memory", `${megabytes(carrying.rss.worker)} worker`, `${megabytes(carrying.rss.redis)} Redis`],
    ["bytes per job, Redis' defaults", count(result.plainJob.bytes), ""],
    ...(million
      ? [
          [
            `queueing ${count(million.files)}`,
            `${million.sealed.toFixed(2)} s`,
            `${count(million.files / million.sealed)}/s`,
          ],
        ]
      : []),
  ];
  return result;
}

const micros = (seconds, files) => `${Math.round((seconds / files) * 1e6)} µs`;

// --- The report -------------------------------------------------------------------------------------------------

function report(result) {
  const lines = ["", `${result.title} (${result.rounds} ${result.rounds === 1 ? "round" : "rounds"})`, ""];
  if (result.tools) lines.push(...compared(result));
  if (result.facts) lines.push(...table(["", "", "more"], result.facts), "", ...sentLines(result.sent));
  lines.push("", ...aims(result.aims));
  return lines.join("\n");
}

function compared({ tools }) {
  const per = (tool, pick) => {
    const values = tool.runs.map(pick).filter((value) => value !== undefined);
    return values.length > 0 ? median(values) : undefined;
  };
  const cost = (tool, pick) => {
    const value = per(tool, pick);
    return value === undefined ? "" : String(Math.round((value / tool.files) * 1e6));
  };
  const rows = tools.map((tool) => {
    const walls = tool.runs.map((r) => r.wall);
    return [
      tool.name,
      `${median(walls).toFixed(2)} s`,
      `${Math.min(...walls).toFixed(2)} – ${Math.max(...walls).toFixed(2)}`,
      count(tool.files / median(walls)),
      cost(tool, (r) => r.cpu.command),
      cost(tool, (r) => r.cpu.workers),
      cost(tool, (r) => r.cpu.redis),
      cost(tool, (r) => r.cpu.origin),
      per(tool, (r) => r.scripts && r.scripts / tool.files)?.toFixed(2) ?? "",
      megabytes(per(tool, (r) => r.rss.command)),
      megabytes(per(tool, (r) => r.rss.worker)),
      percent(per(tool, (r) => r.noise + r.steal)),
    ];
  });
  const head = [
    "",
    "median",
    "min – max",
    "files/s",
    "command µs",
    "workers µs",
    "redis µs",
    "origin µs",
    "scripts",
    "memory",
    "worker's",
    "other load",
  ];
  return [
    ...table(head, rows),
    "",
    "  µs: CPU time per file; scripts: calls per file; other load: share of the machine",
    ...tools.map((tool) => `  ${tool.name}: ${tool.note}`),
  ];
}

function sentLines({ queueing, carrying }) {
  const shown = (sent) => {
    const parts = Object.entries(sent).sort((a, b) => b[1] - a[1]);
    const named = parts.filter(([, n]) => n >= 0.005).map(([name, n]) => `${name} ${n.toFixed(2)}`);
    return `${sum(Object.values(sent)).toFixed(2)} (${named.join(", ")})`;
  };
  return [`  Commands that clients send per file: queueing ${shown(queueing)}; carrying ${shown(carrying)}`];
}

const aims = (list) =>
  table(
    ["", "wanted", "seen", ""],
    list.map(({ what, wanted, seen, met }) => [what, wanted, seen, met ? "met" : "MISSED"]),
  );

// --- Start and end ----------------------------------------------------------------------------------------------

let stopping;
function stop() {
  stopping ??= (async () => {
    if (child?.pid) endGroup(child.pid, "SIGKILL");
    fleet?.redis.disconnect();
    await end(leftBehind(marker, dir));
    if (nginx?.pid) await end([{ pid: nginx.pid, isRedis: false }]);
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

const SCENARIOS = { delay, "hundred-thousand": hundredThousand, cores, "blocked-host": blockedHost };

async function main() {
  const chosen = process.argv.slice(2);
  emptyDir(run);
  emptyDir(out);
  mkdirSync(www, { recursive: true, mode: 0o700 });
  needSmall(www, fileCount);
  const { DROVER_BENCH: _, ...plain } = env;
  origin = await startNginx({
    home: join(dir, "nginx"),
    www,
    env: plain,
    hosts: HOSTS,
    started: (process) => {
      nginx = process;
    },
  });
  const server = redisServer();
  const on = {
    machine: machine(dir),
    versions: await versions(env, {
      nginx: ["nginx", "-v"],
      rclone: ["rclone", "--config", "/dev/null", "version"],
      ...(newestOf("rclone") ? { "newest rclone": [newestOf("rclone"), "version"] } : {}),
      [server.replace("-server", "")]: [server, "--version"],
      drover: [...drover, "--version"],
    }),
  };
  console.log(about(on));
  const last = join(root, "bench/.work/fleet.json");
  const results = [];
  for (const [id, scenario] of Object.entries(SCENARIOS)) {
    if (chosen.length > 0 && !chosen.includes(id)) continue;
    results.push(await scenario());
    console.log(report(results.at(-1)));
    writeFileSync(last, `${JSON.stringify({ ...on, results }, undefined, 2)}\n`);
  }
  console.log(`\nWritten to ${last.replace(`${root}/`, "")}`);
}

let status = 0;
try {
  await main();
} catch (error) {
  if (!stopping) {
    say(`${basename(process.argv[1])}: ${error instanceof Error ? error.message : error}`);
    status = 1;
  }
}
await stop();
process.exit(status);

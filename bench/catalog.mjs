// Cost of the catalog: bytes of Redis memory per file, and compared files per second. Started by run.sh,
// which has checked the prerequisites. See its --help.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Catalog } from "@drover/shared/protocol/catalog";
import { statStamp } from "@drover/shared/protocol/catalog-entry";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import { openEmbedded } from "@drover/shared/redis/embedded/embedded";
import { localVersion } from "@drover/shared/storage/local/source";
import { s3Version } from "@drover/shared/storage/s3/source";
import {
  about,
  childEnvironment,
  count,
  droverCommand,
  emptyDir,
  machine,
  megabytes,
  positive,
  redisServer,
  say,
  sleep,
  table,
  timed,
  versions,
} from "./common.mjs";

const dir = process.env.BENCH_DIR;
const run = join(dir, "run");
const env = childEnvironment(`DROVER_BENCH=${process.env.BENCH_ID}`);
const sizes = [...new Set([10_000, 100_000, positive("BENCH_ENTRIES", 1_000_000)])];
/** Entries per call, as in the producer. */
const BATCH = 500;

const nameOf = (at) =>
  `archive/2026/11/${String(at % 1000).padStart(4, "0")}/measurement-station-${String(at).padStart(12, "0")}.parque`;

/** Entries of a sync from files to files, and from objects to files. */
const kinds = {
  "file to file": (at) => {
    const stat = {
      size: 10_000n + BigInt(at % 5000),
      mtimeNs: 1_790_000_000_000_000_000n + BigInt(at) * 7_654_321n,
    };
    const known = { ...stat, ctimeNs: stat.mtimeNs, ino: BigInt(at) + 9_000_000n, dev: 66_306n };
    return {
      source: digest(`s${at}`).toString("base64url").slice(0, 12),
      version: localVersion(known),
      sha256: digest(`c${at}`).toString("hex"),
      stamp: statStamp({ ...stat, ino: BigInt(at) + 12_000_000n }),
      sizeBytes: Number(stat.size),
      mode: 0o644,
    };
  },
  "object to file": (at) => {
    const seconds = 1_790_000_000 + at;
    const sizeBytes = 10_000 + (at % 5000);
    return {
      source: digest(`s${at}`).toString("base64url").slice(0, 12),
      version: s3Version(`"${digest(`e${at}`).toString("hex").slice(0, 32)}"`, sizeBytes, seconds * 1000),
      sha256: digest(`c${at}`).toString("hex"),
      stamp: statStamp({
        size: BigInt(sizeBytes),
        mtimeNs: BigInt(seconds) * 1_000_000_000n,
        ino: BigInt(at) + 12_000_000n,
      }),
      sizeBytes,
    };
  },
};

function digest(text) {
  return createHash("sha256").update(text).digest();
}

/** Redis as Drover starts it, and with its default configuration. */
const servers = {
  "Drover's own": async () => {
    const embedded = await openEmbedded({ stateDir: join(run, "state"), idleMs: 1000 });
    return { address: { socketPath: embedded.socketPath }, close: async () => embedded.close() };
  },
  "redis.conf's defaults": async () => {
    const socketPath = join(run, "d.sock");
    const server = spawn(
      redisServer(),
      ["--port", "0", "--unixsocket", socketPath, "--save", "", "--dir", run],
      {
        stdio: "ignore",
      },
    );
    while (!existsSync(socketPath)) {
      if (server.exitCode !== null) throw new Error(`${redisServer()} does not start`);
      await sleep(20);
    }
    return {
      address: { socketPath },
      close: async () => {
        const ended = once(server, "exit");
        server.kill("SIGTERM");
        await ended;
      },
    };
  },
};

/** Memory of Redis after it has freed what was dropped before. */
async function used(redis) {
  for (;;) {
    const memory = await redis.info("memory");
    if (/^lazyfree_pending_objects:0/m.test(memory)) return Number(/^used_memory:(\d+)/m.exec(memory)[1]);
    await sleep(20);
  }
}

async function measure(redis, entryOf, files) {
  const catalog = new Catalog(redis, new Keys("{bench}"));
  const before = await used(redis);
  for (let from = 0; from < files; from += 1000) {
    const page = Array.from({ length: Math.min(1000, files - from) }, (_, at) => ({
      name: nameOf(from + at),
      entry: entryOf(from + at),
    }));
    await catalog.addMissing("0123456789abcdef", page);
  }
  const bytes = ((await used(redis)) - before) / files;
  const asked = Math.min(files, 200_000);
  const begin = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  for (let from = 0; from < asked; from += BATCH) {
    const names = Array.from({ length: Math.min(BATCH, asked - from) }, (_, at) => nameOf(from + at));
    const found = await catalog.lookUp("0123456789abcdef", names);
    if (found.some((each) => each?.sizeBytes === undefined)) throw new Error("an entry is missing");
  }
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  const { user, system } = process.cpuUsage(cpu);
  await catalog.drop("0123456789abcdef");
  return { bytes, perSecond: asked / seconds, cpuMicros: (user + system) / asked };
}

/**
 * Writes an export of `files` files, of which one in a hundred is changed, one is moved and one is missing.
 *
 * @param generation 0 for the old export, 1 for the new one.
 * @param order maps a line to the index of its file.
 */
function writeExport(path, files, generation, order) {
  const fd = openSync(path, "w");
  writeSync(fd, "path,size,sha256,mode\n");
  for (let from = 0; from < files; from += 1000) {
    const lines = [];
    for (let line = from; line < Math.min(from + 1000, files); line++) {
      const at = order(line);
      if (at % 100 === 3 && generation === 1) continue;
      const name = at % 100 === 2 && generation === 1 ? `moved-${nameOf(at)}` : nameOf(at);
      const content = at % 100 === 1 ? `${at}-${generation}` : `${at}`;
      lines.push(
        [`${String(at).padStart(9, "0")}/${name}`, at + 1, digest(content).toString("hex"), "0644"].join(","),
      );
    }
    if (lines.length > 0) writeSync(fd, `${lines.join("\n")}\n`);
  }
  closeSync(fd);
}

async function tellApart(files, what, order) {
  const [old, now] = ["old.csv", "new.csv"].map((name) => join(run, name));
  writeExport(old, files, 0, order);
  writeExport(now, files, 1, order);
  const script = '"$@" > diff.json; test $? = 1';
  const { wall, cpu, rss } = await timed({
    command: ["sh", "-c", script, "sh", ...droverCommand(), "catalog", "diff", "--json", old, now],
    name: "drover catalog diff",
    run,
    env: { ...env, TMPDIR: run },
    timeoutMs: 600_000,
    started() {},
  });
  const { changes, ...counts } = JSON.parse(readFileSync(join(run, "diff.json"), "utf8"));
  const each = Math.floor(files / 100);
  const expected = { added: 0, removed: each, changed: each, renamed: each, permissions: 0 };
  if (JSON.stringify(counts) !== JSON.stringify(expected) || changes.length !== each * 3)
    throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(counts)}`);
  return [what, count(files), `${wall.toFixed(1)} s`, `${cpu.toFixed(1)} s`, megabytes(rss)];
}

emptyDir(run);
const rows = [];
const diffs = [];
try {
  for (const [server, start] of Object.entries(servers)) {
    const { address, close } = await start();
    const redis = await connect(address);
    try {
      for (const [kind, entryOf] of Object.entries(kinds)) {
        for (const files of sizes) {
          say(`${count(files)} entries, ${kind}, ${server}`);
          const { bytes, perSecond, cpuMicros } = await measure(redis, entryOf, files);
          const cells = [`${bytes.toFixed(0)} B`, count(perSecond), `${cpuMicros.toFixed(1)} µs`];
          rows.push([server, kind, count(files), ...cells]);
        }
      }
    } finally {
      redis.disconnect();
      await close();
    }
  }
  say("two exports");
  const files = sizes.at(-1);
  diffs.push(await tellApart(files, "sorted", (line) => line));
  diffs.push(await tellApart(files, "not sorted", (line) => (line * 7_919 + 13) % files));
} finally {
  rmSync(run, { recursive: true, force: true });
}
const server = redisServer();
const said = { machine: machine(dir), versions: await versions(env, { [server]: [server, "--version"] }) };
process.stdout.write(
  `
The catalog: names of ${nameOf(0).length} characters, looked up ${BATCH} at a time

${table(["Redis", "entries of", "files", "memory each", "lookups/s", "CPU each"], rows).join("\n")}

Two exports told apart, three files of a hundred being different

${table(["exports", "files in each", "time", "CPU", "memory"], diffs).join("\n")}

${about(said)}
`,
);

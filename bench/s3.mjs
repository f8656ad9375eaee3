// Compares Drover with rclone and the AWS CLI at a real S3 service, whole commands timed, interleaved by
// round. Started by run.sh, with DROVER_TEST_S3_ENDPOINT, _KEY and _SECRET in the environment (see
// tests/harness/ceph.sh).
import { createHash, randomFillSync } from "node:crypto";
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import {
  about,
  checkOutcomes,
  checkSmall,
  childEnvironment,
  count,
  droverCommand,
  emptyDir,
  endGroup,
  fileSize,
  machine,
  median,
  megabytes,
  needSmall,
  newestOf,
  positive,
  progress,
  redisServer,
  root,
  table,
  timed,
  versions,
} from "./common.mjs";
import { end, leftBehind } from "./system.mjs";

const dir = process.env.BENCH_DIR;
const mostRounds = positive("ROUNDS", 3);
const fileCount = positive("BENCH_FILES", 10_000);
const bigBytes = positive("BENCH_BIG_MB", 1024) * 1024 * 1024;
const endpoint = process.env.DROVER_TEST_S3_ENDPOINT;
const www = join(dir, "www");
const run = join(dir, "run");
const out = join(run, "out");
const outOf = { rclone: join(run, "out-rclone"), aws: join(run, "out-aws") };
const state = join(run, "state");
const bucket = "drover-bench";
const marker = `DROVER_BENCH=${process.env.BENCH_ID}`;
const env = {
  ...childEnvironment(marker),
  AWS_ACCESS_KEY_ID: process.env.DROVER_TEST_S3_KEY,
  AWS_SECRET_ACCESS_KEY: process.env.DROVER_TEST_S3_SECRET,
  AWS_DEFAULT_REGION: "us-east-1",
  AWS_REGION: "us-east-1",
  RCLONE_S3_PROVIDER: "Ceph",
  RCLONE_S3_ENV_AUTH: "true",
  RCLONE_S3_ENDPOINT: endpoint,
  XDG_RUNTIME_DIR: join(run, "rt"),
};
let child;

/** Runs a command without using its measurement. */
const plain = (name, command) => measured(name, command);

async function measured(name, command) {
  const result = await timed({
    command,
    name,
    run,
    env,
    timeoutMs: 300_000,
    started: (process) => {
      child = process;
    },
  });
  child = undefined;
  return result;
}

const rcloneBy = (program, words) => [
  program,
  ...["--config", "/dev/null", "--transfers", "64", "--checkers", "64"],
  ...words,
];
const rclone = (...words) => rcloneBy("rclone", words);
/** Tools of today, as far as they can be had here: made of their command. */
const ifNewest = (name, tool) => (newestOf(name) ? [tool(newestOf(name))] : []);
/** Today's rclone, as a tool that does what Debian's does. */
const newestRclone = (words, more = {}) =>
  ifNewest("rclone", (program) => ({ name: "newest rclone", command: rcloneBy(program, words), ...more }));
const juicefs = (program, from, to) => [program, "sync", "--threads", "64", "--no-https", from, to];
const juicefsAt = (prefix) => {
  const { DROVER_TEST_S3_KEY: key, DROVER_TEST_S3_SECRET: secret } = process.env;
  return `minio://${key}:${secret}@${new URL(endpoint).host}/${bucket}/${prefix}/`;
};
const s5cmd = (program, ...words) => [program, "--endpoint-url", endpoint, "--numworkers", "64", ...words];
const aws = (...words) => ["aws", "--endpoint-url", endpoint, ...words];
const remote = (prefix) => `:s3:${bucket}/${prefix}`;
const s3 = (prefix) => `s3://${bucket}/${prefix}`;
const drover = (source, to, ...options) =>
  [
    [...droverCommand(), "sync", source, "--artifact-root", to, "--script-name", "", "--state-dir", state],
    ["--s3-endpoint", endpoint, "--durability", "rename", "--max-workers", "64", "--json", ...options],
  ].flat();
const purge = (prefix) => plain("rclone purge", rclone("purge", remote(prefix))).catch(() => {}); // There is nothing yet.

const local = join(www, "small");
const files = needSmall(www, fileCount);
const bigFile = join(www, "s3-big", "big.bin");

function needBig() {
  emptyDir(join(www, "s3-big"));
  const fd = openSync(bigFile, "w");
  const hash = createHash("sha256");
  const bytes = Buffer.allocUnsafe(1 << 20);
  for (let done = 0; done < bigBytes; done += bytes.length) {
    randomFillSync(bytes);
    hash.update(bytes);
    writeSync(fd, bytes);
  }
  closeSync(fd);
  return hash.digest("hex");
}

const sha256 = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Downloads what was uploaded with an independent tool and checks it. */
async function checkUploaded(name, prefix) {
  emptyDir(out);
  await plain("rclone, to check", rclone("copy", remote(prefix), out));
  checkSmall(name, out, files);
}

const said = (name, outcome) => checkOutcomes(name, join(run, "stdout"), outcome, fileCount);

/** The scenarios: for each its commands, with their preparation and the check of their result. */
const parts = {
  down: {
    title: `${count(fileCount)} objects of 10 KB down`,
    setUp: () => plain("rclone, to fill", rclone("copy", local, remote("small"))),
    tools: [
      {
        name: "rclone",
        prepare: () => emptyDir(out),
        command: rclone("copy", remote("small"), out),
        check: (name) => checkSmall(name, out, files),
      },
      ...newestRclone(["copy", remote("small"), out], {
        prepare: () => emptyDir(out),
        check: (name) => checkSmall(name, out, files),
      }),
      ...ifNewest("s5cmd", (program) => ({
        name: "newest s5cmd",
        prepare: () => emptyDir(out),
        command: s5cmd(program, "cp", `${s3("small")}/*`, `${out}/`),
        check: (name) => checkSmall(name, out, files),
      })),
      ...ifNewest("juicefs", (program) => ({
        name: "newest juicefs sync",
        prepare: () => emptyDir(out),
        command: juicefs(program, juicefsAt("small"), `${out}/`),
        check: (name) => checkSmall(name, out, files),
      })),
      {
        name: "drover",
        prepare: fresh,
        command: drover(`${s3("small")}/`, out),
        check(name) {
          said(name, "copied");
          checkSmall(name, out, files);
        },
      },
    ],
    wanted: [
      ["drover", "rclone", 1],
      ["drover", "newest rclone", 1],
    ],
  },
  again: {
    title: "the same again, nothing changed",
    async setUp() {
      await parts.down.setUp();
      await fresh();
      await plain("drover, the first time", drover(`${s3("small")}/`, out));
      // Each tool has its own directory: rclone sets times, which would make Drover check the files again.
      for (const other of [outOf.rclone, outOf.aws]) {
        rmSync(other, { recursive: true, force: true });
        cpSync(out, other, { recursive: true, preserveTimestamps: true });
      }
      await plain("rclone, the first time", rclone("copy", remote("small"), outOf.rclone));
    },
    tools: [
      { name: "rclone", command: rclone("copy", remote("small"), outOf.rclone) },
      ...newestRclone(["copy", remote("small"), outOf.rclone]),
      ...ifNewest("s5cmd", (program) => ({
        name: "newest s5cmd sync",
        command: s5cmd(program, "sync", `${s3("small")}/*`, `${outOf.aws}/`),
      })),
      { name: "rclone, size only", command: rclone("copy", "--size-only", remote("small"), outOf.rclone) },
      { name: "aws s3 sync", command: aws("s3", "sync", "--only-show-errors", s3("small"), outOf.aws) },
      {
        name: "drover",
        command: drover(`${s3("small")}/`, out),
        check: (name) => said(name, "unchanged"),
      },
      { name: "drover, nothing to do", command: drover(join(run, "empty"), out) },
    ],
    wanted: [
      ["drover", "rclone", 5],
      ["drover", "newest rclone", 5],
      ["drover", "aws s3 sync", 1],
      ["drover", "rclone, size only", 1, "drover, nothing to do"],
    ],
  },
  up: {
    title: `${count(fileCount)} files of 10 KB up`,
    tools: [
      {
        name: "rclone",
        prepare: () => purge("up"),
        command: rclone("copy", local, remote("up")),
      },
      ...newestRclone(["copy", local, remote("up")], { prepare: () => purge("up") }),
      ...ifNewest("s5cmd", (program) => ({
        name: "newest s5cmd",
        prepare: () => purge("up"),
        command: s5cmd(program, "cp", `${local}/`, `${s3("up")}/`),
      })),
      {
        name: "drover",
        async prepare() {
          await fresh();
          await purge("up");
        },
        command: drover(local, s3("up")),
        async check(name) {
          said(name, "copied");
          await checkUploaded(name, "up");
        },
      },
    ],
    wanted: [
      ["drover", "rclone", 1],
      ["drover", "newest rclone", 1],
    ],
  },
  big: {
    title: `one object of ${bigBytes >> 20} MiB`,
    rounds: 1, // Ceph frees space hours later: more data would fill it
    async setUp() {
      this.sha256 = needBig();
      await plain("rclone, to fill", rclone("copy", bigFile, remote("big")));
    },
    tools: [
      {
        name: "rclone, up",
        prepare: () => purge("big-up"),
        command: rclone("copy", bigFile, remote("big-up")),
      },
      {
        name: "drover, up",
        async prepare() {
          await fresh();
          await purge("big-up");
        },
        command: drover(bigFile, s3("big-up")),
        async check(name) {
          emptyDir(out);
          await plain("rclone, to check", rclone("copy", remote("big-up"), out));
          if (sha256(join(out, "big.bin")) !== parts.big.sha256)
            throw new Error(`${name}: not what was sent`);
        },
      },
      {
        name: "rclone, down",
        prepare: () => emptyDir(out),
        command: rclone("copy", remote("big"), out),
      },
      ...newestRclone(["copy", remote("big"), out], { prepare: () => emptyDir(out) }),
      {
        name: "drover, down",
        prepare: fresh,
        command: drover(`${s3("big")}/big.bin`, out),
        check(name) {
          if (sha256(join(out, "big.bin")) !== parts.big.sha256)
            throw new Error(`${name}: not what is there`);
        },
      },
    ],
    wanted: [
      ["drover, up", "rclone, up", 1],
      ["drover, down", "rclone, down", 1],
      ["drover, down", "newest rclone", 1],
    ],
  },
};

/** Removes Redis, state and destination. */
async function fresh() {
  await end(leftBehind(marker, dir));
  emptyDir(state);
  emptyDir(out);
}

async function measure(id) {
  const part = parts[id];
  const rounds = Math.min(mostRounds, part.rounds ?? mostRounds);
  await part.setUp?.();
  const seen = new Map(part.tools.map(({ name }) => [name, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const tool of part.tools) {
      progress(`s3 ${id}: round ${round} of ${rounds}: ${tool.name}`);
      await tool.prepare?.();
      const result = await measured(tool.name, tool.command);
      await tool.check?.(tool.name);
      seen.get(tool.name).push(result);
    }
  }
  const wall = (name) => median(seen.get(name).map((each) => each.wall));
  const rows = [...seen].map(([name, results]) => {
    const walls = results.map((each) => each.wall);
    return [
      name,
      `${wall(name).toFixed(2)} s`,
      `${Math.min(...walls).toFixed(2)} – ${Math.max(...walls).toFixed(2)}`,
      `${median(results.map((each) => each.cpu)).toFixed(2)} s`,
      megabytes(Math.max(...results.map((each) => each.rss))),
    ];
  });
  const ratios = part.wanted.map(([ours, theirs, wanted, idle]) => {
    if (!seen.has(theirs)) return [`rate of ${ours} ÷ ${theirs}`, "", "not to be had here", ""];
    const ratio = wall(theirs) / (wall(ours) - (idle ? wall(idle) : 0));
    const what = `rate of ${ours}${idle ? ", start-up apart," : ""} ÷ ${theirs}`;
    return [what, `≥ ${wanted.toFixed(2)}`, ratio.toFixed(2), ratio >= wanted ? "met" : "MISSED"];
  });
  process.stdout.write(
    [
      `\n${part.title} (${rounds} rounds)\n`,
      ...table(["", "median", "min – max", "command's CPU", "memory"], rows),
      "",
      ...table(["", "wanted", "seen", ""], ratios),
      "",
    ].join("\n"),
  );
}

for (const sig of ["SIGINT", "SIGTERM"]) {
  process.on(sig, () => {
    if (child) endGroup(child.pid, "SIGKILL");
    void end(leftBehind(marker, dir)).then(() => process.exit(130));
  });
}
emptyDir(run);
mkdirSync(join(run, "rt"), { mode: 0o700 });
mkdirSync(join(run, "empty"));
writeFileSync(join(run, "README"), `${basename(root)}: ${fileSize} bytes a file\n`);
process.stdout.write(
  `${about({
    machine: machine(dir),
    versions: await versions(env, {
      rclone: ["rclone", "version"],
      aws: ["aws", "--version"],
      redis: [redisServer(), "--version"],
      ceph: ["radosgw", "--version"],
      ...(newestOf("rclone") ? { "newest rclone": [newestOf("rclone"), "version"] } : {}),
    }),
  })}\n`,
);
for (const name of ["rclone", "s5cmd", "juicefs"])
  if (!newestOf(name)) process.stdout.write(`newest ${name}: not to be had here, so it has no row\n`);
try {
  await plain("rclone mkdir", rclone("mkdir", `:s3:${bucket}`));
  for (const id of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(parts)) await measure(id);
} finally {
  await end(leftBehind(marker, dir));
  if (readdirSync(dir).includes("run")) rmSync(run, { recursive: true, force: true });
}

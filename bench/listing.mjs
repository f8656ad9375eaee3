// Speed of listing a prefix: sequentially, and as Drover lists. The endpoint computes its keys and delays
// each page, as S3 does. Each listing is a separate process. Started by run.sh.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { count, machine, median, newestOf, percent, positive, root, say, table } from "./common.mjs";

/** Other tools, as far as they are here: today's versions where they could be built. */
const PEERS = [
  ...rclonesOf(newestOf("rclone") ?? "rclone"),
  ...(newestOf("s5cmd")
    ? [
        {
          name: "s5cmd ls",
          command: (url) => [
            newestOf("s5cmd"),
            "--no-sign-request",
            "--endpoint-url",
            url,
            "ls",
            "s3://bucket/data/*",
          ],
        },
      ]
    : []),
];
const SHAPES = ["flat", "deep", "dates", "hashes"];
const keys = positive("BENCH_KEYS", 1_000_000);
const delayMs = positive("BENCH_PAGE_MS", 30);
const rounds = positive("ROUNDS", 1);
const me = fileURLToPath(import.meta.url);
/** Node's flags for a `drover` that submits S3 objects to a fleet. */
const FLAGS = ["--max-semi-space-size=4", "--heap-growing-percent=30"];

if (process.argv[2] === "list") await list(process.argv[3], process.argv[4]);
else await measure();

async function list(endpoint, how) {
  const { listerOf } = await import(join(root, "packages/shared/dist/storage/s3/listing/page-requests.js"));
  const { listObjects } = await import(join(root, "packages/shared/dist/storage/s3/listing/listing.js"));
  const { objectsOf } = await import(join(root, "packages/shared/dist/storage/s3/listing/page.js"));
  const { HttpClient } = await import(join(root, "packages/shared/dist/storage/http/client.js"));
  const { S3Client } = await import(join(root, "packages/shared/dist/storage/s3/service/client.js"));
  const http = new HttpClient({ timeoutMs: 60_000, connections: 20 });
  const spec = { endpoint, region: "us-east-1", pathStyle: true, anonymous: true, requesterPays: false };
  const lister = listerOf(new S3Client(http, spec, async () => undefined), 3, 60_000, console.warn);
  const { signal } = new AbortController();
  const started = performance.now();
  let files = 0;
  if (how === "sequential") {
    let token;
    do {
      const next = token === undefined ? {} : { token };
      const page = await lister({ bucket: "bucket", prefix: "data/", ...next }, signal);
      files += objectsOf(page, page.objects.keys.length).length;
      token = page.next;
    } while (token !== undefined);
  } else {
    for await (const page of listObjects(lister, "bucket", "data/", "", signal)) files += page.length;
  }
  const seconds = (performance.now() - started) / 1000;
  await http.close();
  console.log(JSON.stringify({ files, seconds, peakMiB: process.resourceUsage().maxRSS / 1024 }));
}

/** rclone's two ways: one listing, or one for each directory. None where there is no rclone. */
function rclonesOf(program) {
  const told = spawnSync(program, ["version"], { encoding: "utf8" });
  if (told.status !== 0) return [];
  const [, version = ""] = /^rclone v?(\S+)/.exec(told.stdout) ?? [];
  const command = (url, ...how) => [
    ...[program, "--config", "/dev/null", "lsf", "-R", "--files-only", ...how],
    ...["--s3-provider", "Other", "--s3-list-version", "2", "--s3-endpoint", url, ":s3:bucket/data/"],
  ];
  return [
    { name: `rclone ${version} --fast-list`, command: (url) => command(url, "--fast-list") },
    { name: `rclone ${version} --checkers 64`, command: (url) => command(url, "--checkers", "64") },
  ];
}

/** Lists with another tool. @returns seconds. */
async function listWith({ name, command }, url) {
  const [program, ...args] = command(url);
  const started = performance.now();
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  let lines = 0;
  child.stdout.on("data", (chunk) => {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++;
  });
  const [code] = await once(child, "close");
  if (code !== 0 || lines !== keys) throw new Error(`${name}: exit code ${code}, ${lines} of ${keys} keys`);
  return (performance.now() - started) / 1000;
}

/** Number of requested pages. */
async function pagesOf(url) {
  const answer = await fetch(`${url}/stats`, { headers: { connection: "close" } });
  return (await answer.json()).pages;
}

async function measure() {
  const rows = [];
  for (const shape of SHAPES) {
    const args = [join(root, "bench/listing-endpoint.mjs"), shape, String(keys), String(delayMs)];
    const endpoint = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const url = String((await once(endpoint.stdout, "data"))[0]).trim();
    const found = { sequential: [], drover: [] };
    const peers = PEERS.map(() => []);
    try {
      for (let round = 0; round < rounds; round++) {
        for (const [at, peer] of PEERS.entries()) {
          say(`${shape}, ${peer.name}`);
          peers[at].push(await listWith(peer, url));
        }
        for (const how of ["sequential", "drover"]) {
          say(`${shape}, ${how}`);
          const before = await pagesOf(url);
          const child = spawnSync(process.execPath, [...FLAGS, me, "list", url, how], {
            encoding: "utf8",
            env: { ...process.env, MALLOC_ARENA_MAX: "1" },
          });
          if (child.status !== 0) throw new Error(`${shape}, ${how}: ${child.stderr}`);
          const result = JSON.parse(child.stdout);
          if (result.files !== keys) throw new Error(`${shape}, ${how}: ${result.files} of ${keys} keys`);
          found[how].push({ ...result, pages: (await pagesOf(url)) - before });
        }
      }
    } finally {
      endpoint.kill();
    }
    const of = (how, what) => median(found[how].map((each) => each[what]));
    rows.push([
      shape,
      `${of("sequential", "seconds").toFixed(1)} s`,
      ...peers.map((seconds) => `${median(seconds).toFixed(1)} s`),
      `${of("drover", "seconds").toFixed(1)} s`,
      (of("sequential", "seconds") / of("drover", "seconds")).toFixed(1),
      percent(of("drover", "pages") / of("sequential", "pages") - 1),
      `${Math.round(of("drover", "peakMiB"))} MiB`,
    ]);
  }
  const { cores, cpu, load, date } = machine(root);
  console.log(`\n${count(keys)} keys, ${delayMs} ms per page of 1,000`);
  console.log(
    `${cores} × ${cpu}, Node ${process.version}, ${date.slice(0, 10)}, load ${load[0].toFixed(1)} at the end\n`,
  );
  console.log(
    table(
      [
        "keys",
        "one by one",
        ...PEERS.map(({ name }) => name),
        "Drover",
        "times faster",
        "more requests",
        "peak memory",
      ],
      rows,
    ).join("\n"),
  );
}

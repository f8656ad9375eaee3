// Measures a mirror's state: bytes of Redis per record and per acknowledged id, the export, and an incremental sync of 100
// events in a state of RECORDS (default 1,000,000). Nothing is listed or copied but those 100 files.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMirror } from "@drover/mirror/context";
import { exportState } from "@drover/mirror/export/state-file";
import { whileHolding } from "@drover/mirror/state/holding";
import { incrementalSync } from "@drover/mirror/sync/sync";
import { openEngine } from "@drover/shared/engine";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";

const records = Number(process.env.RECORDS ?? 1_000_000);
const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), "drover-bench-"));
const server = createServer((_, answer) => {
  answer.writeHead(200, {
    etag: '"changed-1"',
    "content-length": 1,
    "last-modified": new Date(1e12).toUTCString(),
  });
  answer.end("x");
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
Object.assign(process.env, {
  AWS_ACCESS_KEY_ID: "a",
  AWS_SECRET_ACCESS_KEY: "b",
  DROVER_EMBEDDED_IDLE_MS: "1000",
});
const engine = await openEngine({ stateDir: join(directory, "state") });
const memory = async () => Number(/used_memory:(\d+)/.exec(await engine.redis.info("memory"))[1]);
const rssMiB = () => Math.round(process.memoryUsage().rss / 2 ** 20);
const context = await openMirror({
  engine,
  config: {
    ...{
      name: "bench",
      bucket: "bucket",
      prefix: "",
      root: join(directory, "out"),
      intervalMs: 1e3,
      reconcileMs: 1e9,
    },
    ...{
      reportUrls: [],
      reportSecret: undefined,
      dataDir: join(directory, "data"),
      database: join(directory, "data/sync.db"),
    },
    ...{ backup: undefined, backupEndpoint: undefined, most: { percent: 100 } },
    request: {
      ...{ directory, stateDir: join(directory, "state"), carriedBy: "process" },
      s3: { endpoint: `http://127.0.0.1:${server.address().port}` },
    },
  },
  ...{ startPool: startLocalPool, keepRuns: 100, tell: console.error, warn: console.error },
});
// As long as the catalog's benchmark has them: 60 characters.
const nameOf = (at) =>
  `projects/team-${String(at % 100).padStart(3, "0")}/reports/2026/quarter/file-${String(at).padStart(12, "0")}.csv`;
async function timed(what, use) {
  const from = performance.now();
  const cpu = process.cpuUsage();
  const value = await use();
  console.log(
    `${what}: ${((performance.now() - from) / 1000).toFixed(1)} s, ${((({ user, system }) => user + system)(process.cpuUsage(cpu)) / 1e6).toFixed(1)} s of CPU, ${rssMiB()} MiB resident`,
  );
  return value;
}
const { signal } = new AbortController();
await whileHolding(engine, "bench", { stop: signal, wait: false }, async (holding) => {
  const empty = await memory();
  await timed(`${records} records into the state`, async () => {
    for (let at = 0; at < records; at += 1_000) {
      const entries = new Map();
      for (let each = at; each < Math.min(at + 1_000, records); each++)
        entries.set(nameOf(each), {
          ...{ isGone: false, sizeBytes: 10_240, mtimeMs: 1_700_000_000_000, sha256: "", listing: 1 },
          version: `s"${randomBytes(16).toString("hex")}";10240;1700000000`,
        });
      await context.state.change(holding.fence, { entries, touches: false });
    }
  });
  console.log(
    `${(((await memory()) - empty) / records).toFixed(0)} B of Redis per record with a name of ${nameOf(0).length} characters`,
  );
  const before = await memory();
  const ids = Number(process.env.IDS ?? 1_000_000);
  await timed(`${ids} ids of events`, async () => {
    for (let at = 0; at < ids; at += 1_000)
      await context.state.change(holding.fence, {
        ids: Array.from({ length: 1_000 }, (_, each) => `bench\n${at + each}`),
      });
  });
  console.log(`${(((await memory()) - before) / ids).toFixed(1)} B of Redis per id`);
  await timed("full export, and the database", () => exportState(context, holding));
  await context.stream.add(
    Array.from({ length: 100 }, (_, at) =>
      JSON.stringify({
        specversion: "1.0",
        id: `b${at}`,
        source: "b",
        type: "drover.mirror.create",
        data: { key: nameOf(at * 997) },
      }),
    ),
  );
  const report = await timed("incremental sync of 100 events", () => incrementalSync(context, holding));
  console.log(
    JSON.stringify({
      changes: report.changes,
      operations: report.operations,
      status: report.status,
      error: report.error,
    }),
  );
});
engine.close();
server.close();
rmSync(directory, { recursive: true, force: true });

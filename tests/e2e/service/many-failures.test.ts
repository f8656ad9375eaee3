import { Keys } from "@drover/shared/protocol/keys";
import { Ledger } from "@drover/shared/protocol/ledger";
import { recordRun } from "@drover/shared/protocol/record-run";
import { countedFailures } from "@drover/shared/protocol/run-failures";
import { connect } from "@drover/shared/redis/connect";
import { expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../../harness/service.js";
import { specOf } from "../../integration/helpers/fleet.js";

const FAILURES = 300_000;
const AT_ONCE = 5_000;
/** Heap of the service in MiB: less than what the failures take. */
const HEAP_MIB = 96;
const keys = new Keys();

it("a run of very many failures is told of in bounded memory, page by page and as a report", async ({
  serve,
  fleet,
  work,
}) => {
  const redis = await connect(fleet.redis.address);
  const ledger = new Ledger(redis, keys, "");
  const spec = specOf({ fleet: true, root: work.out, sources: ["http://host/"] });
  const id = await recordRun(ledger, spec, { headers: {}, sources: [] });
  const message = "not found ".repeat(30);
  for (let from = 0; from < FAILURES; from += AT_ONCE) {
    const stored: string[] = [];
    for (let at = from; at < from + AT_ONCE; at++) {
      const error = { class: at % 2 === 0 ? "not-found" : "forbidden", message };
      stored.push(
        `${at}`,
        JSON.stringify({ job: { s: `http://host/${at}`, d: `${at}` }, error, attempts: 1 }),
      );
    }
    await redis.hset(keys.failed(id), ...stored);
  }
  await redis.hset(keys.run(id), "files", FAILURES);
  const [all, blocked] = [Buffer.alloc(FAILURES / 8, 0xff), Buffer.alloc(FAILURES / 8)];
  blocked[FAILURES / 8 - 1] = 1;
  all[FAILURES / 8 - 1] = 0xfe;
  await redis.mset(
    ...[keys.done(id), Buffer.alloc(FAILURES / 8, 0xff)],
    ...[keys.outcome(id, "failed"), all, keys.outcome(id, "blocked"), blocked],
  );
  await ledger.seal(id);
  expect(await ledger.finish(id)).toBe("done");
  redis.disconnect();

  const service = await serve(fleet.own, {
    ENABLE_PERIODIC_SYNC: "false",
    API_RATE_LIMIT: "0",
    NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}`,
  });
  const files = `/api/v1/runs/${id}/files?limit=1000`;
  const sources = (body: { files: { source: string }[] }) => body.files.map(({ source }) => source);
  const range = (from: number) => Array.from({ length: 1_000 }, (_, at) => `http://host/${from + at}`);
  const { body: first } = await service.ask(files);
  expect(sources(first)).toEqual(range(0));
  const { body: second } = await service.ask(`${files}&cursor=${first.next}`);
  expect(sources(second)).toEqual(range(1_000));
  const { body: end } = await service.ask(`${files}&cursor=f${FAILURES - 1_000}`);
  expect([sources(end), end.next]).toEqual([range(FAILURES - 1_000), null]);
  const { body: blockedOnes } = await service.ask(`/api/v1/runs/${id}/files?outcome=blocked`);
  expect(blockedOnes).toMatchObject({
    files: [{ source: `http://host/${FAILURES - 1}`, outcome: "blocked" }],
    next: null,
  });

  const { text } = await service.ask(`/api/v1/runs/${id}/report`);
  expect(text.trimEnd().split("\n").length).toBe(FAILURES);

  const whole = (await service.ask("/api/v1/failures?limit=1")).body;
  expect(whole).toMatchObject({ total: 200_000, truncated: true });
  // What is behind the newest 200,000, which are counted, can be had all the same.
  const [startedMs, run] = (whole.next as string).split(".");
  const last = (await service.ask(`/api/v1/failures?cursor=${startedMs}.${run}.${FAILURES - 2}`)).body;
  expect(last).toMatchObject({ next: null, failures: [{ outcome: "failed" }, { outcome: "blocked" }] });
}, 400_000);

it("what fails is counted as it is recorded: nobody needs to read it to tell how much it is", async ({
  serve,
  fleet,
  work,
  origin,
}) => {
  const open = ["--allow-address", "127.0.0.1"];
  await fleet.worker(...open);
  const service = await serve([...fleet.own, ...open, "--root", work.at("")], {
    ENABLE_PERIODIC_SYNC: "false",
  });
  work.write({ "1/same": "one", "2/same": "other" }); // both would be written to one name
  const missing = origin.route("/missing", does.status(404));
  const bad = "https://example.com/a%00b"; // its name is none: it fails before it is queued
  const sources = [missing, bad, work.at("1"), work.at("2")];
  const run = await service.runToEnd({ sources, to: work.out });
  const redis = await connect(fleet.redis.address);
  const counted = await countedFailures(redis, keys, run.id);
  redis.disconnect();
  const { groups } = (await service.ask(`/api/v1/runs/${run.id}/failures`)).body;
  const plain = ({ host, ...group }: { class: string; host: string; files: number }) =>
    `${group.class} ${host || "local"} ${group.files}`;
  expect(counted?.map(plain).sort()).toEqual(groups.map(plain).sort());
  expect(counted).toContainEqual({ class: "not-found", host: origin.host, files: 1 });
  expect(counted).toContainEqual({ class: "collision", host: "", files: 1 });
});

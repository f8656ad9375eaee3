import { globSync } from "node:fs";
import { join } from "node:path";
import { Keys } from "@drover/shared/protocol/keys";
import { connect } from "@drover/shared/redis/connect";
import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { Sandbox } from "../../harness/drover.js";
import { it } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";
import { latestRun } from "../../harness/runs.js";

const FILES = 200;
const keys = new Keys();

const KEYS: Record<string, (id: string, redis: Redis) => string[] | Promise<string[]>> = {
  runs: () => [keys.runs()],
  done: (id) => [keys.done(id)],
  "in flight": (id) => [keys.inFlight(id)],
  secrets: (id) => [keys.secrets(id)],
  flights: (_, redis) => redis.keys(keys.flight("*")),
  leases: (_, redis) => redis.keys(keys.lease("*")),
  "wait of the queue": (id) => [`${keys.queuePrefix()}:${id}-0:wait`],
  "active of the queue": (id) => [`${keys.queuePrefix()}:${id}-0:active`],
  "meta of the queue": (id) => [`${keys.queuePrefix()}:${id}-0:meta`],
};

describe("a run of one process ends, with all its files, when somebody deletes in its middle", () => {
  it.for(Object.entries(KEYS))("%s", { timeout: 60_000 }, async ([name, of], { origin, work }) => {
    const box = new Sandbox(); // with a Redis of its own
    const at = encodeURIComponent(name);
    origin.route(`/${at}/*`, does.after(50, does.file("x")));
    const urls = Array.from({ length: FILES }, (_, nth) => origin.url(`/${at}/${nth}`));
    const list = work.write({ "list.txt": urls.join("\n") });
    const run = box.start(["sync", "--from-file", list, ...work.into, "--max-workers", "4"]);
    const redis = await until("Redis", async () => {
      const [socketPath] = globSync(join(box.runtime, "**/r.sock"));
      return socketPath !== undefined && (await connect({ socketPath }).catch(() => undefined));
    });
    const id = await until("some files", async () => {
      for (const id of await redis.zrange(keys.runs(), "0", "-1"))
        if ((await redis.hget(keys.run(id), "state")) === "running")
          return (await redis.bitcount(keys.done(id))) >= 20 && id;
      return undefined;
    });
    expect(await redis.del(await of(id, redis))).toBeGreaterThan(0);
    const { code, stderr } = await run.result;
    redis.disconnect();
    expect([code, stderr.replace(/^warning: .*\n/gm, "")]).toEqual([0, ""]);
    if (name !== "runs") {
      const { copied, unchanged } = await latestRun(box);
      expect(copied + unchanged).toBe(FILES);
    }
    await box.dispose();
  });
});

it("a run of one process says that it is gone when somebody deletes all of Redis", async ({
  origin,
  work,
}) => {
  const box = new Sandbox(); // with a Redis of its own
  origin.route("/*", does.after(50, does.file("x")));
  const urls = Array.from({ length: FILES }, (_, nth) => origin.url(`/${nth}`));
  const list = work.write({ "list.txt": urls.join("\n") });
  const run = box.start(["sync", "--from-file", list, ...work.into, "--max-workers", "4"]);
  await origin.waitFor(20);
  const [socketPath = ""] = globSync(join(box.runtime, "**/r.sock"));
  const redis = await connect({ socketPath });
  await redis.flushdb();
  redis.disconnect();
  const { code, stderr } = await run.result;
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/drover: Redis forgot a part of run \S+: start the command again/),
  ]);
  await box.dispose();
});

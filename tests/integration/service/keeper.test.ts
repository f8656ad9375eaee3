import { planRun } from "@drover/producer/runs/plan/plan";
import type { DurableWrites } from "@drover/service/durable-writes";
import { RunKeeper } from "@drover/service/runs/keeper";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Ledger } from "@drover/shared/protocol/ledger";
import { pino } from "pino";
import { expect } from "vitest";
import { Gate, until } from "../../harness/gate.js";
import { it } from "../../harness/redis.js";

it("a run is not taken up again before it is made durable, which leaves it at its end", async ({
  redis,
  keys,
  server,
}) => {
  const ledger = new Ledger(redis, keys, PROCESS_NAME);
  const engine = { redis, keys, ledger, address: server.address, close() {} };
  const gate = new Gate();
  const told: string[] = [];
  let writes = 0;
  const write = async () => {
    if (++writes === 2) {
      await gate.pass();
      told.push("durable");
    }
    return true;
  };
  const durable = { write, close() {} } as unknown as DurableWrites;
  const keeper = new RunKeeper({
    engine,
    durable,
    stateDir: "/nowhere",
    keepRuns: 10,
    log: pino({ enabled: false }),
  });
  const planned = await planRun({
    directory: "/",
    stateDir: "/nowhere",
    carriedBy: "fleet",
    selection: { sources: ["/nowhere/at/all"] },
    destination: { root: "/tmp" },
  });
  const { id } = await keeper.submit(planned, () => {});
  await gate.reached;
  await until("the end", async () => await ledger.finishFleet(id));
  const resumed = keeper.resume(id, { retry: true }, () => {}).then(() => told.push("resumed"));
  for (let round = 0; round < 200; round++) await redis.ping(); // a resumption takes about ten
  gate.open();
  await resumed;
  expect(told).toEqual(["durable", "resumed"]);
  await keeper.stop();
});

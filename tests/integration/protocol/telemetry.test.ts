import { PROCESS_NAME } from "@drover/shared/process-name";
import { addJobs } from "@drover/shared/queue/bullmq";
import { type Labels, listen, readGauges } from "@drover/shared/telemetry";
import { Queue } from "bullmq";
import { describe, expect, onTestFinished } from "vitest";
import { until } from "../../harness/gate.js";
import { it as base } from "../../harness/redis.js";
import { FAR_PROCESS, Member, request, settling } from "../helpers/fleet.js";

/** Sums of counters and histograms, and numbers of spans that ended, by name and labels. */
class Totals {
  readonly #sums = new Map<string, number>();

  add(name: string, by: number, labels: Labels): void {
    const key = [name, ...Object.values(labels)].join(" ");
    this.#sums.set(key, this.of(key) + by);
  }

  of(key: string): number {
    return this.#sums.get(key) ?? 0;
  }
}

const it = base.extend<{ fleet: Member; run: string; totals: Totals }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  totals: async ({}, use) => {
    const totals = new Totals();
    const stop = listen({
      count: (name, by, labels) => totals.add(name, by, labels),
      observe: (name, value, labels) => totals.add(name, value, labels),
      startSpan: (name, attributes) => ({
        end: (error) => totals.add(`${name} ${error === undefined ? "ok" : "failed"}`, 1, attributes),
      }),
    });
    await use(totals);
    stop();
  },
});

describe("telemetry of the protocol", () => {
  it("counts batches and their files", async ({ fleet, run, totals }) => {
    await fleet.files(run, { a: "http://host/a", b: "http://host/b" });
    await fleet.file(run, "c");
    expect(totals.of("backlog.batches")).toBe(2);
    expect(totals.of("backlog.batch_files")).toBe(3);
  });

  it("counts answers, ended files and ended runs", async ({ fleet, run, totals }) => {
    const file = await fleet.file(run);
    await fleet.ledger.seal(run);
    const admitted = await fleet.admit(file);
    await fleet.admission.admit(request(file, "other:1"));
    await fleet.admission.settle(settling(file, admitted));
    await fleet.admission.admit(request(file));
    await fleet.admission.settle(settling(file, admitted));
    await fleet.ledger.finish(run);
    const answers = ["admitted", "busy", "done"].map((answer) => totals.of(`admission.answers ${answer}`));
    expect(answers).toEqual([1, 1, 1]);
    expect(totals.of("files.settled copied")).toBe(1);
    expect(totals.of("runs.ended")).toBe(1);
  });

  it("counts a fleet's run once, although several may end it", async ({ fleet, totals }) => {
    const run = await fleet.newRun({ fleet: true });
    await fleet.ledger.seal(run);
    await fleet.ledger.leave(run);
    await fleet.ledger.finishFleet(run);
    await fleet.ledger.finishFleet(run);
    expect(totals.of("runs.ended")).toBe(1);
  });

  it("counts lost leases by what was to be done with them", async ({ fleet, run, redis, keys, totals }) => {
    const file = await fleet.file(run);
    const { fence } = await fleet.admit(file);
    const successor = new Member(redis, keys, FAR_PROCESS);
    await successor.admit(file, "d:2", { deadFence: fence });
    const stale = settling(file, { fence, epoch: "0" });
    await fleet.admission.renew([{ lease: file.lease, fence, staged: "" }]);
    await fleet.admission.settle(stale);
    await fleet.admission.release({ ...stale, fence, staged: "", fencedOff: false });
    const lost = ["renew", "settle", "release"].map((operation) => totals.of(`leases.lost ${operation}`));
    expect(lost).toEqual([1, 1, 1]);
  });

  it("counts breakers that open", async ({ fleet, run, totals }) => {
    await fleet.tell(run, "host", "fail");
    expect(totals.of("breakers.opened")).toBe(0);
    await fleet.tell(run, "host", "fail", { openBreaker: true });
    expect(totals.of("breakers.opened")).toBe(1);
  });

  it("measures each call of a script, and how many requests share it", async ({ fleet, run, totals }) => {
    const names = Array.from({ length: 10 }, (_, at) => [`f${at}`, `http://host/${at}`]);
    const files = await fleet.files(run, Object.fromEntries(names));
    await Promise.all(files.map((file) => fleet.admit(file)));
    expect(totals.of("redis.script ok admit")).toBe(1);
    expect(totals.of("redis.requests_per_call admit")).toBe(10);
  });

  it("measures a call that fails as failed", async ({ fleet, run, redis, keys, totals }) => {
    const file = await fleet.file(run);
    await redis.del(keys.lease(file.lease));
    await redis.set(keys.lease(file.lease), "no hash");
    await expect(fleet.admit(file)).rejects.toThrow(/WRONGTYPE/);
    expect(totals.of("redis.script failed admit")).toBe(1);
  });

  it("counts jobs that are added", async ({ redis, keys, totals }) => {
    const queue = new Queue("jobs", { connection: redis, prefix: keys.queuePrefix() });
    await queue.waitUntilReady();
    onTestFinished(() => queue.close());
    const jobs = Array.from({ length: 150 }, (_, at) => ({
      id: `run-${at}`,
      data: { i: at, s: "/a", d: "a" },
    }));
    await addJobs(redis, queue, jobs, "published");
    expect(totals.of("queue.jobs_added")).toBe(150);
  });

  it("counts when Redis goes away and when it is back", async ({ server, redis, keys, totals }) => {
    const away = () =>
      readGauges().reduce(
        (sum, { name, value }) => (name === "redis.connections_away" ? sum + value : sum),
        0,
      );
    await server.kill();
    await until("the connection to be away", async () => totals.of("redis.connection away") > 0);
    expect(away()).toBe(1);
    const waiting = redis.set(keys.run("r"), PROCESS_NAME);
    await server.start();
    await waiting;
    expect(totals.of("redis.connection away")).toBe(1);
    expect(totals.of("redis.connection back")).toBe(1);
    expect(away()).toBe(0);
  });
});

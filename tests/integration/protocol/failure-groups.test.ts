import type { OutcomeName } from "@drover/shared/outcome";
import { countedFailures } from "@drover/shared/protocol/run-failures";
import { expect } from "vitest";
import { it as base } from "../../harness/redis.js";
import { Member, queued, settling } from "../helpers/fleet.js";

const CLEARED: OutcomeName[] = ["failed", "blocked", "locked", "cancelled"];

const it = base.extend<{ fleet: Member; run: string }>({
  fleet: async ({ redis, keys }, use) => use(new Member(redis, keys)),
  run: async ({ fleet }, use) => use(await fleet.newRun()),
});

/** A failure as the ledger stores it. */
function failure(name: string, errorClass: string, host?: string): string {
  const error = { class: errorClass, message: "no" };
  return JSON.stringify({ job: { s: `http://${host}/${name}`, d: name }, error, attempts: 1, host });
}

it("failures are counted by class and host as they are recorded, and not any more when they are retried", async ({
  fleet,
  run,
  redis,
  keys,
}) => {
  const counted = async () => {
    const found = await countedFailures(redis, keys, run);
    return found?.sort((one, other) => (one.class < other.class ? -1 : 1));
  };
  expect(await counted()).toEqual([]);
  const files = await fleet.files(run, { a: "http://h/a", b: "http://h/b", c: "http://h/c" });
  const end = async (index: number, text: string, outcome: OutcomeName = "failed") => {
    const file = files[index] as (typeof files)[number];
    await fleet.admission.settle(settling(file, undefined, { index, outcome, failure: text }));
  };
  await end(0, failure("a", "timeout", "h:80"));
  await end(0, failure("a", "timeout", "h:80")); // the same once more ends nothing
  await end(1, failure("b", "timeout", "h:80"), "blocked");
  await end(2, failure("c", "not-found", "h:80"));
  expect(await counted()).toEqual([
    { class: "not-found", host: "h:80", files: 1 },
    { class: "timeout", host: "h:80", files: 2 },
  ]);

  const retried = files.slice(0, 1).map(({ flight }) => ({ index: 0, flight, job: "{}" }));
  await fleet.backlog.requeue(run, "1.1.f|h:80", retried, CLEARED);
  await fleet.backlog.requeue(run, "1.1.f|h:80", retried, CLEARED);
  expect(await counted()).toContainEqual({ class: "timeout", host: "h:80", files: 1 });
  await end(0, failure("a", "forbidden", "h:80"));
  expect((await counted())?.map(({ files }) => files)).toEqual([1, 1, 1]);
});

it("failures that a batch brings along are counted too, and collisions by the host of what came later", async ({
  fleet,
  run,
  redis,
  keys,
}) => {
  const batch = [
    queued(run, "http://one/a", "a"),
    queued(run, "http://two/a", "a"),
    queued(run, "/b", "b", { kind: "failed", failure: failure("b", "name", "") }),
  ];
  await fleet.backlog.enqueue(run, 1, "", batch);
  await fleet.backlog.enqueue(run, 1, "", batch); // sent again
  expect(await countedFailures(redis, keys, run)).toEqual([
    { class: "collision", host: "two:80", files: 1 },
    { class: "name", host: "", files: 1 },
  ]);
});

it("failures that were recorded without being counted are told apart, and others after them", async ({
  fleet,
  run,
  redis,
  keys,
}) => {
  const files = await fleet.files(run, { a: "http://h/a", b: "http://h/b" });
  const half = failure("\ud800", "timeout", "h:80");
  for (const [index, text] of [failure("a", "timeout", undefined), half].entries()) {
    const file = files[index] as (typeof files)[number];
    await fleet.admission.settle(settling(file, undefined, { index, outcome: "failed", failure: text }));
    expect(await countedFailures(redis, keys, run)).toBeUndefined();
  }
  expect(await redis.hlen(keys.failed(run))).toBe(2);
  const retried = files.map(({ flight }, index) => ({ index, flight, job: "{}" }));
  await fleet.backlog.requeue(run, "1.1.f|h:80", retried, CLEARED);
  expect(await countedFailures(redis, keys, run)).toEqual([]);
});

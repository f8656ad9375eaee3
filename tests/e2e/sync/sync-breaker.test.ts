import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { type Behaviour, FaultOrigin, refusedUrl } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";
import { until } from "../../harness/gate.js";

const once = ["--retries", "1"];
const noWait = ["--breaker-wait", "0"];

function urls(origin: FaultOrigin, count: number, prefix = ""): string[] {
  return Array.from({ length: count }, (_, i) => origin.url(`/${prefix}${i}`));
}

describe("a host that fails five times in a row", () => {
  it.for<[string, Behaviour]>([
    ["with 503", does.status(503)],
    ["with 429", does.status(429)],
    ["with resets", does.reset],
  ])("is left alone, %s", async ([, fault], { box, origin, work }) => {
    origin.route("/*", fault);
    const options = [...work.into, ...once, ...noWait, "--max-workers", "1"];
    const { items, code } = await box.sync([...urls(origin, 20), ...options]);
    expect(items).toHaveLength(20);
    expect(items.filter((item) => item.status === "failed")).toHaveLength(5);
    const blocked = items.filter((item) => item.status === "blocked");
    expect(blocked).toHaveLength(15);
    for (const item of blocked) expect(item.error?.class).toBe("breaker");
    expect(origin.requests).toHaveLength(5);
    expect(code).toBe(3);
  });

  it("is soon left alone even with many workers", async ({ box, origin, work }) => {
    origin.route("/*", does.status(500));
    const { items } = await box.sync([...urls(origin, 60), ...work.into, ...once, ...noWait]);
    expect(items).toHaveLength(60);
    expect(origin.requests.length).toBeLessThanOrEqual(5 + 8);
    expect(items.filter((item) => item.status === "blocked").length).toBeGreaterThanOrEqual(60 - 13);
  });

  it("is left alone if nothing listens there", async ({ box, work }) => {
    const base = await refusedUrl("/");
    const sources = Array.from({ length: 10 }, (_, i) => `${base}${i}`);
    const options = [...work.into, ...once, ...noWait, "--max-workers", "1"];
    const { items } = await box.sync([...sources, ...options]);
    expect(items.filter((item) => item.error?.class === "connect")).toHaveLength(5);
    expect(items.filter((item) => item.status === "blocked")).toHaveLength(5);
  });

  it("does not delay other hosts", async ({ box, origin, work }) => {
    origin.route("/*", does.status(503));
    const good = await FaultOrigin.start();
    good.route("/*", does.file("good"));
    work.write({ "local.txt": "local" });
    const sources = [...urls(origin, 20, "bad"), ...urls(good, 20, "good"), work.at("local.txt")];
    const { items, code } = await box.sync([...sources, ...work.into, ...once, ...noWait]);
    await good.stop();
    expect(code).toBe(1);
    expect(items.filter((item) => item.status === "ok")).toHaveLength(21);
  });

  it("is reported to people", async ({ box, origin, work }) => {
    origin.route("/*", does.status(503));
    const options = [...work.into, ...once, ...noWait, "--max-workers", "1"];
    const { stdout, code } = await box.run(["sync", ...urls(origin, 7), ...options]);
    expect(stdout.match(/^✗ \d \(.*\)$/gm)).toHaveLength(7);
    expect(stdout.match(/^✗ \d \(.*breaker.*\)$/gim)).toHaveLength(2);
    expect(stdout).toMatch(/^0\/7 successful$/m);
    expect(code).toBe(3);
  });
});

it("a host that answers does not open its breaker, whatever it answers", async ({ box, origin, work }) => {
  origin.route("/*", does.status(404));
  const { items } = await box.sync([...urls(origin, 20), ...work.into, ...noWait, "--max-workers", "1"]);
  expect(items.filter((item) => item.error?.class === "not-found")).toHaveLength(20);
  expect(origin.requests).toHaveLength(20);
});

it("a success in between resets the count", async ({ box, origin, work }) => {
  origin.route("/*", (exchange) => (exchange.nth % 5 === 0 ? does.file("x") : does.status(503))(exchange));
  const options = [...work.into, ...once, ...noWait, "--max-workers", "1"];
  const { items } = await box.sync([...urls(origin, 25), ...options]);
  expect(items.filter((item) => item.status === "blocked")).toEqual([]);
  expect(origin.requests).toHaveLength(25);
});

describe("an open breaker", () => {
  it("stays open for the next run, which sends no request", async ({ box, origin, work }) => {
    origin.route("/*", does.status(503));
    await box.sync([origin.url("/a"), ...work.into, "--backoff-factor", "1"]);
    expect(origin.requests).toHaveLength(5);
    const { items, code, durationMs } = await box.sync([...urls(origin, 3), ...work.into, ...noWait]);
    expect(items.map((item) => item.status)).toEqual(["blocked", "blocked", "blocked"]);
    expect(code).toBe(3);
    expect(origin.requests).toHaveLength(5);
    expect(durationMs).toBeLessThan(10_000);
  });

  it("closes when its time is over and the host works", async ({ box, origin, work }) => {
    origin.route("/*", ...does.times(5, does.status(503)), does.file("back"));
    const ttl = ["--circuit-ttl", "2", "--max-workers", "1"];
    const first = await box.sync([...urls(origin, 6), ...work.into, ...once, ...noWait, ...ttl]);
    expect(first.items.at(-1)?.status).toBe("blocked");
    const outcome = await until("the breaker to close", async () => {
      const { items } = await box.sync([origin.url("/7"), ...work.into, ...once, ...noWait, ...ttl]);
      return items[0]?.status === "blocked" ? undefined : items[0]?.outcome;
    });
    expect(outcome).toBe("copied");
    expect(origin.requests).toHaveLength(6);
  });

  it("opens again when the probe fails", async ({ box, origin, work }) => {
    origin.route("/*", does.status(503));
    const ttl = ["--circuit-ttl", "2", "--max-workers", "1"];
    await box.sync([...urls(origin, 6), ...work.into, ...once, ...noWait, ...ttl]);
    expect(origin.requests).toHaveLength(5);
    await until("a probe", async () => {
      await box.sync([...urls(origin, 6), ...work.into, ...once, ...noWait, ...ttl]);
      return origin.requests.length > 5;
    });
    // A few probes, but not the requests of six files.
    expect(origin.requests.length).toBeLessThan(11);
  });

  it("is waited for, and then the rest is carried", async ({ box, origin, work }) => {
    origin.route("/*", ...does.times(5, does.status(503)), does.file("back"));
    const options = [
      ...work.into,
      ...once,
      "--max-workers",
      "1",
      "--circuit-ttl",
      "2",
      "--breaker-wait",
      "30",
    ];
    const { items, code, stderr } = await box.sync([...urls(origin, 12), ...options]);
    expect(code).toBe(1);
    expect(items.filter((item) => item.status === "failed")).toHaveLength(5);
    expect(items.filter((item) => item.outcome === "copied")).toHaveLength(7);
    // The reason for waiting is shown, and only once.
    expect(stderr.match(/circuit breaker open for 127\.0\.0\.1:\d+ .*503.*: its files wait/g)).toHaveLength(
      1,
    );
    const [fifth, sixth] = origin.requests.slice(4);
    expect((sixth?.at ?? 0) - (fifth?.at ?? 0)).toBeGreaterThan(1500);
  });

  it("is waited for no longer than requested", async ({ box, origin, work }) => {
    origin.route("/*", does.status(503));
    const options = [...work.into, ...once, "--max-workers", "1", "--breaker-wait", "2"];
    const { items, durationMs } = await box.sync([...urls(origin, 8), ...options]);
    expect(items.filter((item) => item.status === "blocked")).toHaveLength(3);
    expect(durationMs).toBeLessThan(15_000);
  });

  it("applies to one host and port", async ({ box, origin, work }) => {
    origin.route("/*", does.status(503));
    await box.sync([...urls(origin, 6), ...work.into, ...once, ...noWait]);
    const other = await FaultOrigin.start();
    const { items } = await box.sync([other.route("/x", does.file("x")), ...work.into, ...noWait]);
    await other.stop();
    expect(items[0]?.outcome).toBe("copied");
  });
});

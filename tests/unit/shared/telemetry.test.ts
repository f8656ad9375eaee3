import {
  count,
  gauge,
  type Labels,
  listen,
  observe,
  readGauges,
  span,
  type TelemetrySink,
} from "@drover/shared/telemetry";
import { describe, expect, onTestFinished, test, vi } from "vitest";

/** Listens until the test ends. @returns every call, in order. */
function recorded(): unknown[][] {
  const calls: unknown[][] = [];
  const sink: TelemetrySink = {
    count: (...call) => calls.push(["count", ...call]),
    observe: (...call) => calls.push(["observe", ...call]),
    startSpan(name, attributes) {
      calls.push(["start", name, attributes]);
      return { end: (error) => calls.push(["end", name, error]) };
    },
  };
  onTestFinished(listen(sink));
  return calls;
}

describe("a listener", () => {
  test("receives counts with their labels", () => {
    const calls = recorded();
    count("queue.jobs_added", 3);
    count("runs.ended");
    count("leases.lost", 2, { operation: "renew" });
    count("leases.lost", 1, () => ({ operation: "settle" }));
    expect(calls).toEqual([
      ["count", "queue.jobs_added", 3, {}],
      ["count", "runs.ended", 1, {}],
      ["count", "leases.lost", 2, { operation: "renew" }],
      ["count", "leases.lost", 1, { operation: "settle" }],
    ]);
  });

  test("receives the values of histograms", () => {
    const calls = recorded();
    observe("backlog.batch_files", 500);
    observe("redis.requests_per_call", 16, () => ({ operation: "admit" }));
    expect(calls).toEqual([
      ["observe", "backlog.batch_files", 500, {}],
      ["observe", "redis.requests_per_call", 16, { operation: "admit" }],
    ]);
  });

  test("receives the beginning of a span, and its end with the error", () => {
    const calls = recorded();
    const error = new Error("away");
    span("redis.script", { operation: "admit" }).end();
    span("redis.script", () => ({ operation: "settle" })).end(error);
    expect(calls).toEqual([
      ["start", "redis.script", { operation: "admit" }],
      ["end", "redis.script", undefined],
      ["start", "redis.script", { operation: "settle" }],
      ["end", "redis.script", error],
    ]);
  });

  test("is alone, until it stops listening", () => {
    const sink: TelemetrySink = { count: vi.fn(), observe: vi.fn(), startSpan: vi.fn() };
    const stop = listen(sink);
    onTestFinished(stop);
    expect(() => listen(sink)).toThrow(/already/);
    stop();
    count("runs.ended");
    expect(sink.count).not.toHaveBeenCalled();
    listen(sink)();
  });

  test("is not ended by one that stopped before it", () => {
    const stopFirst = listen({ count: vi.fn(), observe: vi.fn(), startSpan: vi.fn() });
    stopFirst();
    const calls = recorded();
    stopFirst();
    count("runs.ended");
    expect(calls).toHaveLength(1);
  });
});

describe("without a listener", () => {
  test("labels are not built", () => {
    const labels = vi.fn(() => ({ operation: "settle" as const }));
    count("leases.lost", 1, labels);
    observe("redis.requests_per_call", 1, labels);
    span("redis.script", labels).end();
    expect(labels).not.toHaveBeenCalled();
  });

  test("all spans are the same object, and may be ended", () => {
    const first = span("redis.script", { operation: "admit" });
    expect(span("redis.script", { operation: "settle" })).toBe(first);
    first.end(new Error("no matter"));
  });

  test("nothing is kept for a later listener", () => {
    count("runs.ended");
    const begun = span("redis.script", { operation: "admit" });
    const calls = recorded();
    begun.end();
    expect(calls).toEqual([]);
  });

  test("a million calls allocate nothing", () => {
    const labels = { operation: "settle" } as const;
    const calls = () => {
      for (let nth = 0; nth < 1_000_000; nth++) {
        count("leases.lost", 1, labels);
        observe("redis.requests_per_call", 1, labels);
        span("redis.script", labels).end();
      }
    };
    calls(); // compiled from here on
    const before = process.memoryUsage().heapUsed;
    calls();
    // One object for each call would be 48 MB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(2 << 20);
  });
});

describe("a gauge", () => {
  const readings = (labels: Labels) =>
    readGauges().filter((each) => JSON.stringify(each.labels) === JSON.stringify(labels));

  test("is read when somebody asks, and not before", () => {
    let value = 1;
    const read = vi.fn(() => value);
    const labels = { test: "read" };
    onTestFinished(gauge("redis.connections_away", read, labels));
    expect(read).not.toHaveBeenCalled();
    value = 7;
    expect(readings(labels)).toEqual([{ name: "redis.connections_away", labels, value: 7 }]);
  });

  test("is gone after it was taken out", () => {
    const labels = { test: "gone" };
    gauge("redis.connections_away", () => 1, labels)();
    expect(readings(labels)).toEqual([]);
  });

  test("may be registered by several", () => {
    const labels = { test: "several" };
    for (const value of [1, 2]) onTestFinished(gauge("redis.connections_away", () => value, labels));
    expect(readings(labels).map((each) => each.value)).toEqual([1, 2]);
  });
});

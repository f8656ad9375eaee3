import { LEASE_MS } from "@drover/shared/protocol/admission";
import { flightHash } from "@drover/shared/protocol/flights";
import { describe, expect, vi } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, toBuffer } from "../../harness/content.js";
import { refusedUrl } from "../../harness/fault-origin.js";
import { Gate, until } from "../../harness/gate.js";
import { it } from "../helpers/file-worker.js";
import { RULES } from "../helpers/fleet.js";
import { OLD, settledError, withOld } from "../helpers/http.js";

describe("a limit", () => {
  it("of size applies to the announced length, before anything is read", async ({ make, origin, space }) => {
    const fileWorker = await make({ maxFileSizeBytes: 1_000 });
    const gate = new Gate();
    const url = origin.route("/file", does.pausedAt(pattern(1_001), 10, gate));
    expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "too-large", attempts: 1 });
    gate.open();
    const fits = origin.route("/fits", does.file(pattern(1_000)));
    expect((await fileWorker.through("fits", fits)).outcome).toBe("copied");
    expect(space.files()).toEqual(["fits"]);
  });

  it("of size applies to a body without a length while it arrives", async ({ make, origin, space }) => {
    for (const maxFileSizeBytes of [1_000, 4 << 20]) {
      const fileWorker = await make({ maxFileSizeBytes });
      const url = origin.route("/endless", does.endless);
      expect(await settledError(fileWorker, "file", url)).toMatchObject({ class: "too-large", attempts: 1 });
      expect(space.files()).toEqual([]);
    }
  });

  it("of rate applies to all bodies together", async ({ make, origin, space }) => {
    const fileWorker = await make({ bytesPerSecond: 2 << 20 });
    const started = performance.now();
    await Promise.all(
      ["a", "b", "c"].map((name) =>
        fileWorker.through(name, origin.route(`/${name}`, does.file(pattern(1 << 20)))),
      ),
    );
    // 3 MiB at 2 MiB/s take 1.5 s; at most the last body may arrive before the first wait.
    expect(performance.now() - started).toBeGreaterThan(900);
    expect(space.files()).toEqual(["a", "b", "c"]);
  });

  it.for<[string, (content: ReturnType<typeof pattern>) => ReturnType<typeof does.file>]>([
    ["no answer", () => does.silence],
    ["a body that stops", (content) => does.cutAt(content, 100_000, "stall")],
    ["a body that drips", (content) => does.drip(content, 10, 50)],
  ])("of time fails %s, and counts against the host", async ([, behaviour], { make, origin, space }) => {
    const fileWorker = await make({ timeoutMs: 400 });
    const url = origin.route("/file", behaviour(pattern(200_000)));
    const result = await fileWorker.once("file", url);
    expect(result).toMatchObject({
      is: "retry",
      error: { class: "timeout", permanent: false, verdict: "fail" },
    });
    expect(space.files()).toEqual([]);
  });

  it("of time does not fail a slow body that is fast enough", async ({ make, origin }) => {
    const fileWorker = await make({ timeoutMs: 1_000 });
    const url = origin.route("/file", does.drip(pattern(20_000), 1_000, 100));
    expect(await fileWorker.through("file", url)).toMatchObject({ outcome: "copied", attempts: 1 });
  });

  it("a host that refuses connections counts as failed", async ({ fileWorker }) => {
    const result = await fileWorker.once("file", await refusedUrl("/x"));
    expect(result).toMatchObject({ is: "retry", error: { class: "connect", verdict: "fail" } });
  });
});

describe("the breaker", () => {
  const rules = { ...RULES, threshold: 2 };

  it("opens after consecutive failures; then the file is not requested", async ({ make, origin }) => {
    const fileWorker = await make({ rules });
    const url = origin.route("/file", does.status(503, { "retry-after": "120" }));
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "retry", blockedUntilMs: 0 });
    const second = await fileWorker.once("file", url);
    if (second.is !== "retry") throw new Error(second.is);
    expect(second.error.retryAfterMs).toBe(120_000);
    expect(second.blockedUntilMs).toBeGreaterThan(Date.now() + 100_000);
    expect(await fileWorker.once("file", url)).toMatchObject({ is: "blocked" });
    expect(origin.requests).toHaveLength(2);
  });

  it("stays closed with every response of the host, including a 404", async ({ make, origin }) => {
    const fileWorker = await make({ rules });
    const bad = origin.route("/bad", does.status(500));
    for (let nth = 0; nth < 4; nth++) {
      expect(await fileWorker.once(`bad-${nth}`, bad)).toMatchObject({ is: "retry", blockedUntilMs: 0 });
      expect((await fileWorker.through(`none-${nth}`, origin.url("/none"))).error?.class).toBe("not-found");
    }
  });

  it("opens when a file has used up its attempts, if that is requested", async ({ make, origin }) => {
    const fileWorker = await make({ rules: { ...RULES, threshold: 100 }, openWhenSpent: true, retries: 2 });
    const url = origin.route("/file", does.status(500));
    expect((await fileWorker.through("file", url)).outcome).toBe("failed");
    expect(await fileWorker.once("other", url)).toMatchObject({ is: "blocked" });
  });
});

describe("a busy destination", () => {
  it("is reported with whether the other worker carries the same source", async ({
    fileWorker,
    make,
    origin,
  }) => {
    const gate = new Gate();
    const url = origin.route("/file", does.gated(gate, does.file("text")));
    const other = origin.route("/other", does.file("other"));
    const first = fileWorker.once("file", url);
    await gate.reached;
    const [same, different] = await Promise.all([make(), make()]);
    expect(await same.once("file", url)).toEqual({ is: "busy", sameSource: true });
    expect(await different.once("file", other)).toEqual({ is: "busy", sameSource: false });
    gate.open();
    expect(await first).toMatchObject({ is: "settled", outcome: { outcome: "copied" } });
    expect(await different.once("file", other)).toMatchObject({ outcome: { outcome: "copied" } });
    await until("the destination to be free", async () => (await same.once("file", url)).is === "settled");
  });
});

describe("a file of a cancelled run", () => {
  it("is not started", async ({ fileWorker, origin, space }) => {
    await fileWorker.add("file", origin.route("/file", does.file("text")));
    await fileWorker.member.ledger.cancel(fileWorker.runId);
    const result = await fileWorker.once("file", origin.url("/file"));
    expect(result).toMatchObject({ is: "settled", outcome: { outcome: "cancelled" } });
    expect(origin.requests).toEqual([]);
    expect(space.files()).toEqual([]);
  });

  it("is aborted while in progress, and the old file stays", async ({ fileWorker, origin, space }) => {
    withOld(space);
    const gate = new Gate();
    const url = origin.route("/file", does.pausedAt(toBuffer(pattern(1_000)), 500, gate));
    const carrying = fileWorker.once("file", url);
    await gate.reached;
    fileWorker.context.leases.cancelHeld(fileWorker.context.runId);
    expect(await carrying).toMatchObject({ is: "settled", outcome: { outcome: "cancelled" } });
    gate.open();
    expect(space.read("file")).toBe(OLD);
    expect(space.files()).toEqual(["file"]);
    expect(await fileWorker.counts()).toMatchObject({ settled: 1, cancelled: 1 });
  });

  it("is still carried for other runs that wait for it", async ({ fileWorker, origin, space }) => {
    const gate = new Gate();
    const url = origin.route("/file", does.gated(gate, does.file("text")));
    await fileWorker.add("file", url);
    const flight = fileWorker.member.keys.flight(flightHash(fileWorker.runId, url, "file", 0));
    await fileWorker.member.redis.append(flight, ",another:0");
    const carrying = fileWorker.once("file", url);
    await gate.reached;
    fileWorker.context.leases.cancelHeld(fileWorker.runId);
    gate.open();
    expect(await carrying).toMatchObject({ is: "settled", outcome: { outcome: "copied" } });
    expect(space.read("file")).toBe("text");
  });
});

describe("a file whose lease has expired", () => {
  it("is not settled, whatever its server answers", async ({ fileWorker, origin }) => {
    const url = origin.route("/file", (exchange) => {
      vi.spyOn(Date, "now").mockReturnValue(Date.now() + LEASE_MS); // the machine was suspended
      return does.status(404)(exchange);
    });
    const result = await fileWorker.once("file", url);
    vi.restoreAllMocks();
    expect(result).toMatchObject({ is: "retry", error: { class: "locked" } });
    expect(await fileWorker.counts()).toMatchObject({ settled: 0 });
  });
});

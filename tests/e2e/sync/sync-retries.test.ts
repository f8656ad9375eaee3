import { existsSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { pattern, sha256, sha256OfFile } from "../../harness/content.js";
import { leftovers } from "../../harness/drover.js";
import { type Behaviour, refusedUrl } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";

const quick = ["--backoff-factor", "1"];

describe.concurrent("a transient failure is retried", () => {
  const cases: { name: string; fault: Behaviour; options?: string[] }[] = [
    { name: "500", fault: does.status(500) },
    { name: "502", fault: does.status(502) },
    { name: "503", fault: does.status(503) },
    { name: "429", fault: does.status(429) },
    { name: "408", fault: does.status(408) },
    { name: "a reset", fault: does.reset },
    { name: "a body that ends early", fault: does.cutAt("content", 3, "close") },
    { name: "a body that is reset", fault: does.cutAt("content", 3, "reset") },
    { name: "a chunked body without its end", fault: does.chunkedCut("con") },
    { name: "no headers in time", fault: does.silence, options: ["--timeout", "1"] },
    { name: "a body that stalls", fault: does.cutAt("content", 3, "stall"), options: ["--timeout", "1"] },
  ];
  it.for(cases)("$name, twice", async ({ fault, options = [] }, { box, origin, work }) => {
    const url = origin.route("/a.csv", ...does.times(2, fault), does.file("content"));
    const { items, code } = await box.sync([url, ...work.into, ...quick, ...options]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 3, checksum: sha256("content") });
    expect(code).toBe(0);
    expect(readFileSync(work.to("a.csv"), "utf8")).toBe("content");
    expect(leftovers(work.out)).toEqual([]);
    expect(origin.requests).toHaveLength(3);
  });
});

describe("a permanent failure is not retried", () => {
  const cases: [code: number, cls: RegExp][] = [
    [400, /^http$/],
    [401, /^(forbidden|http)$/],
    [403, /^forbidden$/],
    [404, /^not-found$/],
    [410, /^(not-found|http)$/],
    [451, /^(forbidden|http)$/],
  ];
  it.for(cases)("%s", async ([status, cls], { box, origin, work }) => {
    const url = origin.route("/a.csv", does.status(status));
    const { items, code } = await box.sync([url, ...work.into]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: 1 });
    expect(items[0]?.error?.class).toMatch(cls);
    expect(items[0]?.error?.message).toContain(String(status));
    expect(code).toBe(3);
    expect(origin.requests).toHaveLength(1);
    expect(existsSync(work.to("a.csv"))).toBe(false);
  });
});

describe.concurrent("attempts", () => {
  it.for([1, 2, 3])("are limited to %s", async (retries, { box, origin, work }) => {
    const url = origin.route("/a.csv", does.status(503));
    const { items } = await box.sync([url, ...work.into, ...quick, "--retries", String(retries)]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: retries, error: { class: "server" } });
    expect(origin.requests).toHaveLength(retries);
  });

  it("are five by default", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", ...does.times(4, does.status(500)), does.file("at last"));
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 5 });
  });

  it("wait no longer than the backoff allows", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", ...does.times(3, does.status(503)), does.file("content"));
    await box.sync([url, ...work.into, "--backoff-factor", "1.5"]);
    const at = origin.requests.map((request) => request.at);
    const gaps = at.slice(1).map((time, i) => time - (at[i] ?? 0));
    expect(gaps).toHaveLength(3);
    for (const [i, gap] of gaps.entries()) expect(gap).toBeLessThan(1000 * 1.5 ** i + 700);
  });

  it("of one file do not delay the others", async ({ box, origin, work }) => {
    const slow = origin.route("/slow", does.status(503, { "retry-after": "3" }), does.file("slow"));
    const urls = Array.from({ length: 5 }, (_, i) => origin.route(`/quick${i}`, does.file("quick")));
    const { items, code } = await box.sync([slow, ...urls, ...work.into, "--max-workers", "1"]);
    expect(code).toBe(0);
    expect(items.at(-1)?.source).toBe(slow);
  });
});

describe.concurrent("Retry-After is honoured", () => {
  const soon = () => new Date(Date.now() + 3000).toUTCString();
  const cases: { name: string; status: number; value: () => string; atLeastMs: number }[] = [
    { name: "seconds, 429", status: 429, value: () => "2", atLeastMs: 1950 },
    { name: "seconds, 503", status: 503, value: () => "2", atLeastMs: 1950 },
    { name: "a date, 429", status: 429, value: soon, atLeastMs: 1900 },
    { name: "a date, 503", status: 503, value: soon, atLeastMs: 1900 },
  ];
  it.for(cases)("$name", async ({ status, value, atLeastMs }, { box, origin, work }) => {
    const later: Behaviour = (exchange) => does.status(status, { "retry-after": value() })(exchange);
    const url = origin.route("/a.csv", later, does.file("content"));
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 2 });
    const [first, second] = origin.requests;
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(atLeastMs);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeLessThan(6000);
  });

  it("but not if it is invalid", async ({ box, origin, work }) => {
    const url = origin.route("/a.csv", does.status(503, { "retry-after": "soon" }), does.file("content"));
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 2 });
  });
});

describe("a slow server", () => {
  const once = ["--retries", "1", "--timeout", "1"];
  it.for<[string, Behaviour]>([
    ["sends no headers", does.silence],
    ["stalls in the body", does.cutAt(pattern(100_000), 50_000, "stall")],
    ["drips less than 1 KiB in a whole window", does.drip(pattern(5000), 20, 50)],
  ])("that %s times out", async ([, behaviour], { box, origin, work }) => {
    const { items, code, durationMs } = await box.sync([
      origin.route("/a", behaviour),
      ...work.into,
      ...once,
    ]);
    expect(items[0]).toMatchObject({ status: "failed", error: { class: "timeout" } });
    expect(code).toBe(3);
    expect(durationMs).toBeLessThan(8000);
    expect(existsSync(work.to("a"))).toBe(false);
  });

  it("may take longer than the timeout while bytes arrive", async ({ box, origin, work }) => {
    const content = pattern(24_000);
    const { items } = await box.sync([
      origin.route("/a", does.drip(content, 2400, 250)),
      ...work.into,
      ...once,
    ]);
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256(content) });
    expect(items[0]?.duration_ms).toBeGreaterThan(1500);
  });

  it("may take up to the timeout to respond", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.after(1200, does.file("x")));
    const { items } = await box.sync([url, ...work.into, "--retries", "1", "--timeout", "5"]);
    expect(items[0]?.outcome).toBe("copied");
  });
});

describe("an unreachable host", () => {
  it("fails its file if it refuses the connection", async ({ box, work }) => {
    const { items, code } = await box.sync([
      await refusedUrl("/a"),
      ...work.into,
      "--retries",
      "2",
      ...quick,
    ]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: 2, error: { class: "connect" } });
    expect(code).toBe(3);
  });

  it("fails its file if it has no address", async ({ box, work }) => {
    const { items } = await box.sync(["http://no-such-host.invalid/a", ...work.into, "--retries", "1"]);
    expect(items[0]).toMatchObject({ status: "failed", error: { class: "dns" } });
  });
});

describe("an interrupted download is resumed", () => {
  const content = pattern(4_000_000);

  it("on the condition of the same version", async ({ box, origin, work }) => {
    const url = origin.route("/a.bin", does.cutAt(content, 3_000_000, "close"), does.file(content));
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 2, bytes: content.size });
    expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(content));
    const { headers } = origin.requests[1] ?? { headers: {} as Record<string, string> };
    const from = Number(/^bytes=(\d+)-/.exec(String(headers.range))?.[1]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThanOrEqual(3_000_000);
    expect(headers["if-range"] ?? headers["if-match"]).toBe(does.etagOf(content));
  });

  it("again and again", async ({ box, origin, work }) => {
    // Each attempt gets a little further, although the server drops every connection.
    const dropping: Behaviour = async (exchange) => {
      const from = Number(/^bytes=(\d+)-/.exec(String(exchange.request.headers.range))?.[1] ?? 0);
      exchange.response.writeHead(from === 0 ? 200 : 206, {
        etag: does.etagOf(content),
        "accept-ranges": "bytes",
        "content-length": String(content.size - from),
        ...(from === 0 ? {} : { "content-range": `bytes ${from}-${content.size - 1}/${content.size}` }),
      });
      const to = Math.min(content.size, from + 1_500_000);
      for (const slice of content.slices(from, to)) exchange.response.write(slice);
      if (to === content.size) exchange.response.end();
      else exchange.response.write("", () => exchange.request.socket.destroySoon());
    };
    const { items, code } = await box.sync([origin.route("/a.bin", dropping), ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 3, checksum: sha256(content) });
    expect(code).toBe(0);
  });

  it("unless --no-resume is given", async ({ box, origin, work }) => {
    const url = origin.route("/a.bin", does.cutAt(content, 3_000_000, "close"), does.file(content));
    const { items } = await box.sync([url, ...work.into, ...quick, "--no-resume"]);
    expect(items[0]).toMatchObject({ outcome: "copied", attempts: 2 });
    expect(origin.requests[1]?.headers.range).toBeUndefined();
    expect(await sha256OfFile(work.to("a.bin"))).toBe(sha256(content));
  });

  it("but not from a server without a usable version", async ({ box, origin, work }) => {
    const nameless = { etag: null, lastModified: null };
    const first = does.cutAt(content, 3_000_000, "close", nameless);
    const url = origin.route("/a.bin", first, does.file(pattern(4_000_000, 2), nameless));
    const { items } = await box.sync([url, ...work.into, ...quick]);
    expect(items[0]).toMatchObject({ outcome: "copied", checksum: sha256(pattern(4_000_000, 2)) });
  });
});

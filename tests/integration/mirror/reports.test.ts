import { statusOf } from "@drover/mirror/status";
import { runDaemon } from "@drover/mirror/sync/daemon";
import type { SyncReport } from "@drover/mirror/sync/report";
import { deliverReports, type PostReport } from "@drover/mirror/sync/report-deliveries";
import { describe, expect } from "vitest";
import { it, MirrorInProcess } from "../../harness/mirror-in-process.js";

describe("reports", () => {
  it("go to every URL, and again later where that failed", async ({ engine, s3 }) => {
    const mirror = await MirrorInProcess.open(engine, s3, { reportUrls: ["http://one/", "http://two/"] });
    s3.put("a", "1");
    const report = await mirror.sync("initial");
    const posted: string[] = [];
    let status = 503;
    const post: PostReport = async (url, id, body) => {
      posted.push(url);
      expect(JSON.parse(body)).toEqual(report);
      expect(id).toBe(report.id);
      return url === "http://one/" ? 204 : status;
    };
    const warnings: string[] = [];
    const deliver = () => deliverReports(engine, "test", post, (message) => warnings.push(message));
    await deliver();
    expect(posted.sort()).toEqual(["http://one/", "http://two/"]);
    expect(warnings).toEqual([expect.stringContaining("answered 503")]);
    await deliver(); // not due yet
    expect(posted).toHaveLength(2);
    expect((await statusOf(engine, "test")).reports_waiting).toBe(1);
    const key = mirror.context.state.keys.deliveries();
    const due = async () => {
      for (const [field, text] of Object.entries(await engine.redis.hgetall(key)))
        await engine.redis.hset(key, field, JSON.stringify({ ...JSON.parse(text), nextMs: 0 }));
    };
    await due();
    status = 200;
    await deliver();
    expect(posted).toHaveLength(3);
    expect((await statusOf(engine, "test")).reports_waiting).toBe(0);
  });
});

describe("the daemon", { timeout: 60_000 }, () => {
  it("survives errors, and goes on where the source is back", async ({ engine, s3 }) => {
    const mirror = await MirrorInProcess.open(engine, s3, { intervalMs: 1_000 });
    s3.put("a", "1");
    s3.fault = (_, answer) => {
      answer.writeHead(403).end();
      return true;
    };
    const stop = new AbortController();
    const reports: SyncReport[] = [];
    const running = runDaemon(
      mirror.context,
      async () => 204,
      { synced: (report) => reports.push(report), failed: () => {} },
      stop.signal,
    );
    await expect.poll(() => reports.map(({ status }) => status), { timeout: 20_000 }).toContain("error");
    s3.fault = () => false;
    await expect.poll(() => mirror.tree(), { timeout: 20_000 }).toEqual({ a: "1" });
    s3.put("b", "2");
    await mirror.tell(mirror.event("create", { key: "b" }));
    await expect.poll(() => mirror.tree(), { timeout: 20_000 }).toEqual({ a: "1", b: "2" });
    stop.abort();
    await running;
  });
});

import { mkdirSync, readFileSync } from "node:fs";
import { expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { it } from "../../harness/fixtures.js";
import { TestCluster } from "../../harness/redis-kinds.js";
import { onlyRun } from "../../harness/runs.js";

it("a fleet works around a Redis Cluster", async ({ box, origin, work }) => {
  const cluster = await TestCluster.start(3, []);
  try {
    mkdirSync(work.out, { recursive: true });
    const own = ["--redis", `redis+cluster://${cluster.addresses}`];
    const workers = [1, 2].map(() => box.start(["worker", ...own, "--root", work.out]));
    for (const worker of workers) await worker.waitFor("stderr", /worker ready/);
    const urls = Array.from({ length: 300 }, (_, at) => origin.route(`/f${at}`, does.file(`content ${at}`)));
    const { code, items } = await box.sync([...urls, ...work.into, ...own]);
    expect(code).toBe(0);
    expect(items).toHaveLength(300);
    for (let at = 0; at < 300; at++) expect(readFileSync(work.to(`f${at}`), "utf8")).toBe(`content ${at}`);
    const { run } = await onlyRun(box, own);
    expect((await box.run(["wait", run, ...own])).code).toBe(0);
    const again = await box.sync([...urls, ...work.into, ...own]);
    expect(new Set(again.items.map(({ outcome }) => outcome))).toEqual(new Set(["unchanged"]));
    for (const worker of workers) {
      worker.kill("SIGTERM");
      expect((await worker.result).code).toBe(0);
      expect(worker.stderr).not.toContain("CROSSSLOT");
    }
  } finally {
    await cluster.stop();
  }
});

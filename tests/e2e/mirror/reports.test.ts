import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { describe, expect } from "vitest";
import { until } from "../../harness/gate.js";
import { itMirrors as it } from "../../harness/mirror.js";
import { expectedSignature, Receiver } from "../../harness/receiver.js";

/** Waits that follow failed deliveries begin at two seconds, and double. */
const WAIT_MS = 90_000;
const secret = `whsec_${randomBytes(32).toString("base64")}`;

/** A port of 127.0.0.1 that refuses connections, until something listens there. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

describe("reports of a mirror", { timeout: 300_000 }, () => {
  it("go signed to every REPORT_URL, again after an error and where nobody listened, and tell no secret", async ({
    mirror,
  }) => {
    await using good = await Receiver.start();
    await using busy = await Receiver.start();
    busy.statuses = [500, 200];
    const port = await freePort();
    const lateUrl = `http://127.0.0.1:${port}/late`;
    const env = { REPORT_URL: good.url, REPORT_URLS: `${busy.url},${lateUrl}`, REPORT_SECRET: secret };
    mirror.s3.put("a", "1");
    const initial = await mirror.run(["initial-sync", "--json"], env);
    expect(initial.code).toBe(0);
    const report = JSON.parse(initial.stdout);
    expect(good.deliveries.map(({ body }) => body)).toEqual([report]);
    expect(busy.deliveries).toHaveLength(1);
    expect(initial.stderr).toContain("answered 500: tried again later");
    expect((await mirror.status()).reports_waiting).toBe(2);

    const daemon = mirror.start(["daemon"], env);
    // The daemon has reports of its own, which may come first.
    const again = () => busy.deliveries.filter(({ body }) => body.id === report.id);
    await until("the report is delivered again", () => again().length >= 2, WAIT_MS);
    await using late = await Receiver.start(undefined, port);
    const isLate = () => late.deliveries.some(({ body }) => body.id === report.id);
    await until("it is delivered to who did not listen", isLate, WAIT_MS);
    daemon.kill("SIGTERM");
    const ended = await daemon.result;
    expect(ended.code).toBe(0);

    const nowSeconds = Date.now() / 1000;
    for (const delivery of [...good.deliveries, ...busy.deliveries, ...late.deliveries]) {
      expect(delivery.headers["webhook-id"]).toBe(`msg_${delivery.body.id}`);
      expect(Math.abs(Number(delivery.headers["webhook-timestamp"]) - nowSeconds)).toBeLessThan(300);
      expect(delivery.headers["webhook-signature"]).toBe(expectedSignature(secret, delivery));
    }
    expect(again()).toHaveLength(2);
    const told = [initial.stdout, initial.stderr, ended.stdout, ended.stderr].join("\n");
    expect(told).not.toContain(secret);
    expect(told).not.toContain(secret.slice("whsec_".length));
  });
});

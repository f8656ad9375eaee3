import { randomBytes } from "node:crypto";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { selfSigned } from "../../harness/certificate.js";
import { Gate, until } from "../../harness/gate.js";
import { TestProxy } from "../../harness/proxy.js";
import { expectedSignature, Receiver } from "../../harness/receiver.js";
import { it, type TestService } from "../../harness/service.js";

const QUIET = { ENABLE_PERIODIC_SYNC: "false" };
const HERE = ["--allow-address", "127.0.0.1"];
const SECRET = `whsec_${randomBytes(24).toString("base64")}`;

async function webhookOf(service: TestService, id: string, state: string, timeoutMs?: number) {
  return await until(
    `a webhook that is ${state}`,
    async () => {
      const { webhook } = (await service.ask(`/api/v1/runs/${id}`)).body;
      return webhook.state === state && webhook;
    },
    timeoutMs,
  );
}

describe("a webhook", () => {
  it("is told once, signed, when its run is done", async ({ serve, work }) => {
    await using receiver = await Receiver.start();
    const service = await serve([...HERE, "--root", work.path], QUIET);
    const url = `${receiver.url.replace("//", "//user:PASSWORD-CANARY@")}?token=TOKEN-CANARY`;
    const run = await service.runToEnd({
      sources: [work.write({ "in/a": "a" })],
      to: work.at("out"),
      label: "told",
      webhook: { url, secret: SECRET },
    });
    const webhook = await webhookOf(service, run.id, "delivered");
    expect(webhook).toEqual({
      url: `${receiver.url.replace("//", "//***@")}?token=***`,
      state: "delivered",
      attempts: 1,
      last_status: 204,
      last_error: null,
    });
    const [delivery, ...others] = receiver.deliveries;
    expect(others).toEqual([]);
    const shown = (await service.ask(`/api/v1/runs/${run.id}`)).body;
    for (const ofRunsUnderWay of ["webhook", "files_per_second", "eta_seconds"]) delete shown[ofRunsUnderWay];
    expect(delivery?.body).toEqual({ type: "run.done", timestamp: shown.ended_at, data: shown });
    expect(delivery?.headers).toMatchObject({
      "content-type": "application/json",
      "webhook-id": `msg_${run.id}`,
      "webhook-signature": delivery && expectedSignature(SECRET, delivery),
      authorization: `Basic ${Buffer.from("user:PASSWORD-CANARY").toString("base64")}`,
    });
    expect(Math.abs(Number(delivery?.headers["webhook-timestamp"]) - Date.now() / 1000)).toBeLessThan(60);
    const everything = JSON.stringify((await service.ask("/api/v1/runs")).body) + service.process.output;
    for (const secret of ["CANARY", SECRET]) expect(everything).not.toContain(secret);
  });

  it("is told of runs that fail and are cancelled, and of no end that was not asked for", async ({
    serve,
    work,
    origin,
  }) => {
    await using receiver = await Receiver.start();
    const gate = new Gate();
    const gone = origin.route("/gone", does.status(404));
    const held = origin.route("/held", does.gated(gate, does.file("x")));
    const service = await serve([...HERE, "--root", work.path], QUIET);
    const told = { url: receiver.url };
    const start = async (source: string, webhook: object = told) => {
      const json = { sources: [source], to: work.at("out"), webhook };
      const { status, body } = await service.ask("/api/v1/runs", { json });
      expect(status).toBe(202);
      return body.id as string;
    };
    const fails = await start(gone);
    const unlisted = await start(work.at("nowhere/"));
    const skipped = await start(work.write({ "in/a": "a" }), { ...told, events: ["failed"] });
    const cancelled = await start(held);
    await gate.reached;
    await service.ask(`/api/v1/runs/${cancelled}/cancel`, { method: "POST" });
    for (const id of [fails, unlisted, cancelled]) await webhookOf(service, id, "delivered");
    expect(await webhookOf(service, skipped, "skipped")).toMatchObject({ attempts: 0, last_status: null });
    gate.open();
    const types = receiver.deliveries.map(({ body }) => [body.data.id, body.type]);
    expect(types.sort()).toEqual(
      [
        [fails, "run.failed"],
        [unlisted, "run.failed"],
        [cancelled, "run.cancelled"],
      ].sort(),
    );
    const signed = receiver.deliveries.filter(({ headers }) => headers["webhook-signature"] !== undefined);
    expect(signed).toEqual([]); // there is no secret
  });

  it("is tried again until it is taken, with the same id, and redirects are not followed", async ({
    serve,
    work,
  }) => {
    await using receiver = await Receiver.start();
    receiver.statuses = [302, 500, 200];
    const service = await serve([...HERE, "--root", work.path], QUIET);
    const run = await service.runToEnd({
      sources: [work.write({ "in/a": "a" })],
      to: work.at("out"),
      webhook: { url: receiver.url, secret: SECRET },
    });
    const waiting = await until("the first try", async () => {
      const { webhook } = (await service.ask(`/api/v1/runs/${run.id}`)).body;
      return webhook.attempts === 1 && webhook;
    });
    expect(waiting).toMatchObject({ state: "waiting", last_status: 302, last_error: "answered 302" });
    const delivered = await webhookOf(service, run.id, "delivered", 30_000);
    expect(delivered).toMatchObject({ attempts: 3, last_status: 200, last_error: null });
    expect(new Set(receiver.deliveries.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(new Set(receiver.deliveries.map(({ text }) => text)).size).toBe(1);
    for (const each of receiver.deliveries)
      expect(each.headers["webhook-signature"]).toBe(expectedSignature(SECRET, each));
  });

  it("ends where the receiver wants no more, or nobody answers for too long", async ({ serve, work }) => {
    await using receiver = await Receiver.start();
    receiver.statuses = [410];
    const gone = await Receiver.start();
    await gone[Symbol.asyncDispose]();
    const service = await serve([...HERE, "--root", work.path], { ...QUIET, WEBHOOK_RETRY_HOURS: "0.0005" });
    const request = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    const refused = await service.runToEnd({ ...request, webhook: { url: receiver.url } });
    expect(await webhookOf(service, refused.id, "failed")).toMatchObject({ attempts: 1, last_status: 410 });
    const unanswered = await service.runToEnd({ ...request, webhook: { url: gone.url } });
    const givenUp = await webhookOf(service, unanswered.id, "given-up");
    expect(givenUp.attempts).toBeGreaterThan(1);
    expect(givenUp).toMatchObject({
      last_status: null,
      last_error: expect.stringContaining("ECONNREFUSED"),
    });
    expect(service.logged("webhook given up")).toHaveLength(1);
  });

  it("is told by name and over TLS, to whom the certificate belongs", async ({ serve, work }) => {
    const certificate = await selfSigned(work.path, "DNS:localhost");
    await using receiver = await Receiver.start(certificate);
    const env = { ...QUIET, NODE_EXTRA_CA_CERTS: certificate.certPath, WEBHOOK_RETRY_HOURS: "0" };
    const service = await serve([...HERE, "--root", work.path], env);
    const request = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    const url = receiver.url.replace("127.0.0.1", "localhost");
    const run = await service.runToEnd({ ...request, webhook: { url } });
    await webhookOf(service, run.id, "delivered");
    const other = await service.runToEnd({ ...request, webhook: { url: receiver.url } });
    expect(await webhookOf(service, other.id, "given-up")).toMatchObject({
      last_status: null,
      last_error: expect.stringContaining("does not match certificate"),
    });
    expect(receiver.deliveries).toHaveLength(1);
  });

  it("is told again when its run is retried and ends anew, with another id", async ({
    serve,
    work,
    origin,
  }) => {
    await using receiver = await Receiver.start();
    origin.route("/a", does.status(404));
    const service = await serve([...HERE, "--root", work.path], QUIET);
    const request = { sources: [origin.url("/a")], to: work.at("out") };
    const done = { url: receiver.url, secret: SECRET, events: ["done"] };
    const run = await service.runToEnd({ ...request, webhook: { url: receiver.url, secret: SECRET } });
    const quiet = await service.runToEnd({ ...request, to: work.at("other"), webhook: done });
    await webhookOf(service, run.id, "delivered");
    await webhookOf(service, quiet.id, "skipped");
    origin.route("/a", does.file("here by now"));
    for (const { id } of [run, quiet])
      expect((await service.ask(`/api/v1/runs/${id}/retry`, { json: {} })).status).toBe(202);
    for (const { id } of [run, quiet])
      expect(await webhookOf(service, id, "delivered")).toMatchObject({ attempts: 1, last_status: 204 });
    const told = receiver.deliveries.map(({ headers, body }) => [headers["webhook-id"], body.type]);
    expect(told.sort()).toEqual(
      [
        [`msg_${run.id}`, "run.failed"],
        [`msg_${run.id}_1`, "run.done"],
        [`msg_${quiet.id}_1`, "run.done"],
      ].sort(),
    );
    for (const each of receiver.deliveries)
      expect(each.headers["webhook-signature"]).toBe(expectedSignature(SECRET, each));
  });

  it("goes through the proxy and trusts the authorities of the settings, where guarded URLs may", async ({
    serve,
    work,
  }) => {
    const proxy = await TestProxy.start();
    const certificate = await selfSigned(work.path, "DNS:hooks.test");
    await using plain = await Receiver.start();
    await using secure = await Receiver.start(certificate);
    const env = {
      ...QUIET,
      ...{ http_proxy: proxy.url("me:PASSWORD-CANARY"), https_proxy: proxy.url("me:PASSWORD-CANARY") },
      WEBHOOK_RETRY_HOURS: "0",
    };
    const args = ["--root", work.path, "--ca-file", certificate.certPath];
    const request = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    const named = (url: string) => url.replace("127.0.0.1", "hooks.test");
    const direct = await serve(args, env);
    const refused = await direct.runToEnd({ ...request, webhook: { url: named(plain.url) } });
    await webhookOf(direct, refused.id, "given-up");
    expect(proxy.requests).toEqual([]);
    await direct.stop();
    const service = await serve([...args, "--allow-address", "proxy"], env);
    for (const receiver of [plain, secure]) {
      const run = await service.runToEnd({ ...request, webhook: { url: named(receiver.url) } });
      await webhookOf(service, run.id, "delivered");
      expect(receiver.deliveries).toHaveLength(1);
    }
    expect(proxy.requests.map(({ method }) => method)).toEqual(["POST", "CONNECT"]);
    expect(service.process.output).not.toContain("CANARY");
    await proxy.stop();
  });

  it("leads to no private address", async ({ serve, work }) => {
    const service = await serve(["--root", work.path], { ...QUIET, WEBHOOK_RETRY_HOURS: "0" });
    const request = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    for (const [webhook, detail] of [
      [{ url: "http://127.0.0.1:1/" }, "private address"],
      [{ url: "http://[::ffff:10.0.0.1]/" }, "private address"],
      [{ url: "http://169.254.169.254/latest" }, "metadata"],
      [{ url: "ftp://example.com/" }, "webhook.url"],
      [{ url: "https://example.com/", secret: "short" }, "whsec_"],
      [{ url: "https://example.com/", events: [] }, "webhook.events"],
      [{ url: "https://example.com/", colour: "blue" }, "colour"],
    ] as const) {
      const { status, body } = await service.ask("/api/v1/runs", { json: { ...request, webhook } });
      expect([status, body.detail], JSON.stringify(webhook)).toEqual([422, expect.stringContaining(detail)]);
    }
    expect((await service.ask("/api/v1/runs")).body.runs).toEqual([]);
    await using receiver = await Receiver.start();
    const url = receiver.url.replace("127.0.0.1", "localhost");
    const run = await service.runToEnd({ ...request, webhook: { url } });
    const webhook = await webhookOf(service, run.id, "given-up");
    expect(webhook).toMatchObject({ attempts: 1, last_error: expect.stringContaining("private address") });
    expect(receiver.deliveries).toEqual([]);
  });

  for (const step of ["scheduled", "posted"])
    it(`is told by another server where one is killed once it is ${step}`, async ({
      serve,
      work,
      fleet,
      origin,
    }) => {
      await using receiver = await Receiver.start();
      await fleet.worker("--allow-address", origin.host);
      const args = [...fleet.own, ...HERE, "--root", work.out];
      const first = await serve(args, { ...QUIET, DROVER_FAULT: step });
      const { body: run } = await first.ask("/api/v1/runs", {
        json: {
          sources: [origin.route("/a", does.file("a"))],
          to: work.out,
          webhook: { url: receiver.url },
        },
      });
      await first.process.result.catch(() => {});
      const second = await serve(args, QUIET);
      await webhookOf(second, run.id, "delivered", 45_000);
      const tries = receiver.deliveries.map(({ headers }) => headers["webhook-id"]);
      const expected = step === "posted" ? 2 : 1;
      expect(tries).toEqual(Array.from({ length: expected }, () => `msg_${run.id}`));
    });
});

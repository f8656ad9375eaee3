import { DeliveryError } from "@drover/service/lambda/deliver";
import { createHandler, type LambdaContext } from "@drover/service/lambda/handler";
import { UnknownEventError } from "@drover/service/lambda/notification";
import { SettingsError } from "@drover/shared/errors";
import { afterEach, describe, expect, it } from "vitest";
import { awsRecord, eventBridgeEvent, snsEnvelope, sqsRecord, TEST_EVENT } from "../../unit/events/bodies.js";
import { type Answer, type FakeService, type Received, startService } from "./service.js";

const TOKEN = "s3cr3t-t0ken";
const S3_EVENT = { Records: [awsRecord("dir/a+b"), awsRecord("c")] };

const open: FakeService[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((service) => service.close()));
});

async function serve(answer: (request: Received, before: number) => Answer | Promise<Answer>) {
  const service = await startService(answer);
  open.push(service);
  return service;
}

/** A context whose call has this much time from now on. */
function contextOf(timeMs = 60_000): LambdaContext {
  const endMs = performance.now() + timeMs;
  return { awsRequestId: "c6af9ac6", getRemainingTimeInMillis: () => endMs - performance.now() };
}

/** Calls the handler; what it logged comes with the result. */
async function call(event: unknown, environment: Record<string, string>, context = contextOf()) {
  const lines: string[] = [];
  const handler = createHandler(environment, (line) => lines.push(line));
  const settled = await Promise.allSettled([handler(event, context)]);
  const [outcome] = settled;
  return {
    answer: outcome.status === "fulfilled" ? outcome.value : undefined,
    error: outcome.status === "rejected" ? outcome.reason : undefined,
    text: lines.join(""),
    log: lines.map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

describe("an event", () => {
  it("of S3 is posted as it is", async () => {
    const service = await serve(() => 200);
    const { answer, error, log } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint });
    expect([answer, error]).toEqual([undefined, undefined]);
    expect(service.received).toHaveLength(1);
    const [request] = service.received;
    expect(request).toMatchObject({ method: "POST", url: "/sync/s3-notification" });
    expect(request?.headers).toMatchObject({ "content-type": "application/json" });
    expect(request?.headers.authorization).toBeUndefined();
    expect(JSON.parse(request?.body ?? "")).toEqual(S3_EVENT);
    expect(log).toEqual([
      {
        level: "info",
        time: expect.any(String),
        message: "delivered",
        requestId: "c6af9ac6",
        bucket: "mybucket",
        keys: 2,
        attempt: 1,
        durationMs: expect.any(Number),
        status: 200,
      },
    ]);
  });

  it("of EventBridge is posted as it is", async () => {
    const service = await serve(() => 202);
    const { error } = await call(eventBridgeEvent("a+b"), { API_ENDPOINT: service.endpoint });
    expect(error).toBeUndefined();
    expect(JSON.parse(service.received[0]?.body ?? "")).toEqual(eventBridgeEvent("a+b"));
  });

  it("of SNS is posted without its envelope", async () => {
    const service = await serve(() => 200);
    const Records = [{ EventSource: "aws:sns", EventVersion: "1.0", Sns: snsEnvelope(S3_EVENT) }];
    const { error } = await call({ Records }, { API_ENDPOINT: service.endpoint });
    expect(error).toBeUndefined();
    expect(service.received.map(({ body }) => JSON.parse(body))).toEqual([S3_EVENT]);
  });

  it.each([
    undefined,
    null,
    "text",
    [],
    {},
    { Records: [] },
    { Records: [{ s3: {} }] },
    { Records: [...S3_EVENT.Records, { hello: "world" }] },
    { ...eventBridgeEvent("k"), source: "aws.ec2" },
    { Records: [{ EventSource: "aws:sns", Sns: snsEnvelope({ hello: "world" }) }] },
    { Records: [{ EventSource: "aws:sns", Sns: snsEnvelope(0, { Message: "no JSON" }) }] },
  ])("that is %o is refused, and nothing is posted", async (event) => {
    const service = await serve(() => 200);
    const { error, log } = await call(event, { API_ENDPOINT: service.endpoint });
    expect(error).toBeInstanceOf(UnknownEventError);
    expect(log).toMatchObject([{ level: "error", requestId: "c6af9ac6" }]);
    expect(service.received).toEqual([]);
  });
});

describe("the token", () => {
  it("is sent as a bearer and not logged, whatever happens", async () => {
    for (const answer of [200, 401, 503, "cut"] satisfies Answer[]) {
      const service = await serve(() => answer);
      const settings = { API_ENDPOINT: service.endpoint, API_TOKEN: TOKEN, RETRY_ATTEMPTS: "2" };
      const { error, text } = await call(S3_EVENT, settings);
      expect(service.received[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
      expect(`${text}${String(error)}`).not.toContain(TOKEN);
    }
  });

  it("does not follow a redirect", async () => {
    const elsewhere = await serve(() => 200);
    const service = await serve(() => ({ status: 307, headers: { location: elsewhere.endpoint } }));
    const { error } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint, API_TOKEN: TOKEN });
    expect(error).toBeInstanceOf(DeliveryError);
    expect([service.received.length, elsewhere.received.length]).toEqual([1, 0]);
  });
});

describe("a service", () => {
  it.each(["cut", 500, 503, 429] satisfies Answer[])("that says %s first is tried again", async (first) => {
    const service = await serve((_, before) => (before < 2 ? first : 200));
    const { error, log } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint });
    expect(error).toBeUndefined();
    expect(log.map(({ level, attempt }) => [level, attempt])).toEqual([
      ["warn", 1],
      ["warn", 2],
      ["info", 3],
    ]);
    expect(new Set(service.received.map(({ body }) => body)).size).toBe(1);
  });

  it("that answers 503 each time is given up after RETRY_ATTEMPTS tries in all", async () => {
    const service = await serve(() => 503);
    const { error, log } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint, RETRY_ATTEMPTS: "2" });
    expect(error).toBeInstanceOf(DeliveryError);
    expect(service.received).toHaveLength(2);
    expect(log.at(-1)).toMatchObject({ level: "error", error: "the service answered 503, 2 tries" });
  });

  it.each([400, 401, 403, 404, 413, 422])("that answers %i is not tried again", async (status) => {
    const service = await serve(() => status);
    const { error } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint });
    expect(error).toBeInstanceOf(DeliveryError);
    expect(String(error)).toContain(String(status));
    expect(service.received).toHaveLength(1);
  });

  it("that says Retry-After is left alone for so long", async () => {
    const headers = { "retry-after": "1" };
    const service = await serve((_, before) => (before === 0 ? { status: 429, headers } : 200));
    const { error } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint });
    expect(error).toBeUndefined();
    const [first, second] = service.received;
    expect((second?.timeMs ?? 0) - (first?.timeMs ?? 0)).toBeGreaterThanOrEqual(950);
  });

  it("that asks to wait for longer than the call may take is given up at once", async () => {
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    const service = await serve(() => ({ status: 503, headers: { "retry-after": date } }));
    const { error } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint });
    expect(String(error)).toContain("no time is left");
    expect(service.received).toHaveLength(1);
  });

  it("that hangs is waited for TIMEOUT_SECONDS, then tried again", async () => {
    const service = await serve((_, before) => (before === 0 ? "hang" : 200));
    const { error, log } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint, TIMEOUT_SECONDS: "1" });
    expect(error).toBeUndefined();
    expect(log[0]).toMatchObject({ level: "warn", attempt: 1 });
    expect(log[0]?.durationMs).toBeGreaterThanOrEqual(950);
  });

  it("that hangs is left a second before the call's time is over", async () => {
    const service = await serve(() => "hang");
    const context = contextOf(2000);
    const { error } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint }, context);
    expect(error).toBeInstanceOf(DeliveryError);
    expect(context.getRemainingTimeInMillis()).toBeGreaterThan(500);
    expect(service.received).toHaveLength(1);
  });

  it("that is not there is tried, too", async () => {
    const service = await startService(() => 200);
    await service.close();
    const { error, log } = await call(S3_EVENT, { API_ENDPOINT: service.endpoint, RETRY_ATTEMPTS: "2" });
    expect(error).toBeInstanceOf(DeliveryError);
    expect(log).toHaveLength(3);
    expect(log[0]?.error).toContain("ECONNREFUSED");
  });
});

describe("messages of a queue", () => {
  it("are posted each for itself, and those that failed are named", async () => {
    const service = await serve(({ body }) => (body.includes("refused") ? 400 : 200));
    const event = {
      Records: [
        sqsRecord("1", S3_EVENT),
        sqsRecord("2", eventBridgeEvent("a+b")),
        sqsRecord("3", snsEnvelope(S3_EVENT)),
        sqsRecord("4", TEST_EVENT),
        sqsRecord("5", { Records: [awsRecord("refused")] }),
        sqsRecord("6", "no JSON"),
        sqsRecord("7", { hello: "world" }),
      ],
    };
    const { answer, error, log } = await call(event, { API_ENDPOINT: service.endpoint });
    expect(error).toBeUndefined();
    const failed = answer?.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    expect(failed?.sort()).toEqual(["5", "6", "7"]);
    const posted = service.received.map(({ body }) => body).filter((body) => !body.includes("refused"));
    const expected = [S3_EVENT, S3_EVENT, TEST_EVENT, eventBridgeEvent("a+b")];
    expect(posted.sort()).toEqual(expected.map((each) => JSON.stringify(each)).sort());
    const told = log.filter(({ level }) => level === "error").map(({ messageId }) => messageId);
    expect(told.sort()).toEqual(["5", "6", "7"]);
  });

  it("that all arrived leave no failures", async () => {
    const service = await serve(() => 200);
    const { answer } = await call(
      { Records: [sqsRecord("1", S3_EVENT)] },
      { API_ENDPOINT: service.endpoint },
    );
    expect(answer).toEqual({ batchItemFailures: [] });
  });

  it("are posted five at a time", async () => {
    const five = Promise.withResolvers<void>();
    const service = await serve(async (_, before) => {
      if (before === 4) five.resolve();
      await five.promise;
      return 200;
    });
    const records = Array.from({ length: 20 }, (_, index) => sqsRecord(String(index), S3_EVENT));
    const { answer } = await call({ Records: records }, { API_ENDPOINT: service.endpoint });
    expect(answer).toEqual({ batchItemFailures: [] });
    expect(service.received).toHaveLength(20);
    expect(service.mostOpen()).toBe(5);
  });

  it("for which no time is left go back, before the call's time is over", async () => {
    const service = await serve((_, before) => (before === 0 ? 200 : "hang"));
    const records = Array.from({ length: 20 }, (_, index) => sqsRecord(String(index), S3_EVENT));
    const context = contextOf(2000);
    const { answer } = await call({ Records: records }, { API_ENDPOINT: service.endpoint }, context);
    expect(answer?.batchItemFailures).toHaveLength(19);
    expect(context.getRemainingTimeInMillis()).toBeGreaterThan(500);
    expect(service.received.length).toBeLessThanOrEqual(6);
  });
});

describe("settings", () => {
  it.each<[string, Record<string, string>]>([
    ["no endpoint", {}],
    ["an endpoint that is no URL", { API_ENDPOINT: "example.com" }],
    ["an endpoint of another scheme", { API_ENDPOINT: "ftp://example.com" }],
    ["an endpoint with a password", { API_ENDPOINT: `https://user:${TOKEN}@example.com` }],
    ["an endpoint with a query", { API_ENDPOINT: `https://example.com/?token=${TOKEN}` }],
    ["no tries", { API_ENDPOINT: "http://127.0.0.1:1", RETRY_ATTEMPTS: "0" }],
    ["a timeout that is no number", { API_ENDPOINT: "http://127.0.0.1:1", TIMEOUT_SECONDS: "30s" }],
    ["a token with a line feed", { API_ENDPOINT: "http://127.0.0.1:1", API_TOKEN: `${TOKEN}\nx` }],
  ])("with %s are refused, without showing them", async (_, environment) => {
    const { error, text } = await call({ Records: [sqsRecord("1", S3_EVENT)] }, environment);
    expect(error).toBeInstanceOf(SettingsError);
    expect(`${text}${String(error)}`).not.toContain(TOKEN);
  });

  it("may name an endpoint below a path, with or without a slash", async () => {
    const service = await serve(() => 200);
    for (const end of ["/drover", "/drover/"])
      await call(S3_EVENT, { API_ENDPOINT: `${service.endpoint}${end}` });
    expect(service.received.map(({ url }) => url)).toEqual(Array(2).fill("/drover/sync/s3-notification"));
  });
});

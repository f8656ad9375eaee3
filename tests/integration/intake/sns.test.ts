import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DurableWrites } from "@drover/service/durable-writes";
import { EventQueue } from "@drover/service/intake/queue";
import { Reception } from "@drover/service/intake/reception";
import { SnsEndpoint } from "@drover/service/intake/sns-endpoint";
import type { Engine } from "@drover/shared/engine";
import { TransferError, UnavailableError } from "@drover/shared/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { selfSigned } from "../../harness/certificate.js";
import { it } from "../../harness/redis.js";
import { awsRecord, snsEnvelope } from "../../unit/events/bodies.js";
import { makeSigner, type Signer, signed } from "../../unit/events/sns-signer.js";

const TOPIC = "arn:aws:sns:us-west-2:123456789012:MyTopic";
const ROUTE = {
  ...{ bucket: "mybucket", prefix: "", destination: "/data" },
  ...{ deletes: false, maxDelete: 0, secret: undefined },
};
const SENDER = { id: "test", routes: [ROUTE] };

let directory: string;
let signer: Signer;
let server: Server;
let host: string;
let asked: string[] = [];
/** What the server, which stands for Amazon SNS, answers to everything but its certificate. */
let answer: { status: number; headers?: Record<string, string>; body?: string } = { status: 200 };

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "drover-sns-"));
  signer = await makeSigner(directory);
  const certificate = await selfSigned(directory);
  process.env.DROVER_CA_FILE = certificate.certPath;
  server = createServer({ key: certificate.key, cert: certificate.cert }, (request, response) => {
    asked.push(request.url ?? "");
    if (request.url?.endsWith("/SimpleNotificationService-good.pem")) response.end(signer.certificate);
    else response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  delete process.env.DROVER_CA_FILE;
  server.closeAllConnections();
  server.close();
  rmSync(directory, { recursive: true });
});

const envelope = (fields: Record<string, unknown> = {}) =>
  signed(
    snsEnvelope(
      { Records: [awsRecord("a%2Bb")] },
      {
        TopicArn: TOPIC,
        Timestamp: new Date().toISOString(),
        SigningCertURL: `https://${host}/SimpleNotificationService-good.pem`,
        ...fields,
      },
    ) as never,
    signer,
  );
const confirmation = () =>
  envelope({
    Type: "SubscriptionConfirmation",
    Token: "token",
    SubscribeURL: `https://${host}/?Action=ConfirmSubscription&TopicArn=${encodeURIComponent(TOPIC)}&Token=token`,
  });
const bodyOf = (message: unknown) => Buffer.from(JSON.stringify(message));

describe("messages of Amazon SNS", () => {
  const itReceives = it.extend<{
    intake: { queue: EventQueue; of(topics: string[], allow?: string[]): Reception };
  }>({
    intake: async ({ server: redisServer, redis, keys }, use) => {
      asked = [];
      answer = { status: 200 };
      const engine = { redis, keys, address: redisServer.address } as Engine;
      const durable = await DurableWrites.open(engine);
      const queue = new EventQueue(engine, durable);
      const endpoints: SnsEndpoint[] = [];
      await use({
        queue,
        of(topics, allow = ["127.0.0.1"]) {
          const endpoint = new SnsEndpoint(new AddressGuard(allow));
          endpoints.push(endpoint);
          return new Reception({
            queue,
            settings: { routes: [ROUTE], topics },
            wanted: () => true,
            get: (url) => endpoint.get(url),
            snsHosts: [host],
            log: pino({ level: "silent" }),
          });
        },
      });
      await Promise.all(endpoints.map((endpoint) => endpoint.close()));
      durable.close();
    },
  });

  itReceives("are taken if they are signed, and subscriptions are confirmed", async ({ intake }) => {
    const reception = intake.of([TOPIC]);
    expect(await reception.receive(bodyOf(envelope()), SENDER)).toEqual({ accepted: 1, ignored: 0, dead: 0 });
    expect((await intake.queue.read("", 10)).map(({ event }) => event.key)).toEqual(["a+b"]);
    expect(await reception.receive(bodyOf(confirmation()), SENDER)).toEqual({
      accepted: 0,
      ignored: 1,
      dead: 0,
    });
    expect(asked).toEqual([
      "/SimpleNotificationService-good.pem",
      expect.stringMatching(/^\/\?Action=ConfirmSubscription&/),
    ]);
  });

  itReceives(
    "of other topics, or with other content than was signed, are dead letters",
    async ({ intake }) => {
      const reception = intake.of([TOPIC]);
      const other = envelope({ TopicArn: `${TOPIC}2` });
      const forged = { ...envelope(), Message: JSON.stringify({ Records: [awsRecord("forged")] }) };
      for (const message of [other, forged])
        expect((await reception.receive(bodyOf(message), SENDER)).dead).toBe(1);
      expect(await intake.queue.read("", 10)).toEqual([]);
      expect((await intake.queue.letters("", 10)).map(({ why }) => why)).toEqual([
        "the signature is not that of this message",
        "the topic of the message is not on the list of allowed ones",
      ]);
    },
  );

  itReceives(
    "that come before their topic is known are replayed, however old they are",
    async ({ intake }) => {
      await intake.of([]).receive(bodyOf(envelope()), SENDER);
      const [letter] = await intake.queue.letters("", 1);
      expect(letter?.why).toContain("events.sns.topics");
      expect(asked).toEqual([]);
      if (letter === undefined) throw new Error("no letter");
      expect((await intake.of([TOPIC]).replay(letter)).accepted).toBe(1);
      expect(await intake.queue.letters("", 1)).toEqual([]);
    },
  );

  itReceives("lead to no private network, no redirect and no large answer", async ({ intake }) => {
    const guarded = intake.of([TOPIC], []);
    expect((await guarded.receive(bodyOf(envelope()), SENDER)).dead).toBe(1);
    expect(asked).toEqual([]);
    const reception = intake.of([TOPIC]);
    const reasons = [];
    for (const next of [
      { status: 302, headers: { location: `https://${host}/SimpleNotificationService-good.pem` } },
      { status: 200, body: "x".repeat(100_000) },
      { status: 500 },
    ]) {
      answer = next;
      await reception.receive(bodyOf(confirmation()), SENDER);
      reasons.push((await intake.queue.letters("", 1))[0]?.why);
    }
    expect(reasons).toEqual([
      "the subscription cannot be confirmed: it answers with HTTP status 302",
      "the subscription cannot be confirmed: it answers with more than 64 KiB",
      "the subscription cannot be confirmed: it answers with HTTP status 500",
    ]);
    expect(asked.filter((url) => url.includes("good.pem"))).toHaveLength(1);
  });

  itReceives("are neither taken nor dead while SNS cannot be reached", async ({ intake }) => {
    const reception = intake.of([TOPIC]);
    const cut = new Reception({
      queue: intake.queue,
      settings: { routes: [ROUTE], topics: [TOPIC] },
      wanted: () => true,
      get: () => Promise.reject(new TransferError("connect", "cannot connect")),
      snsHosts: [host],
      log: pino({ level: "silent" }),
    });
    for (const message of [envelope(), confirmation()])
      await expect(cut.receive(bodyOf(message), SENDER)).rejects.toThrow(UnavailableError);
    expect(await intake.queue.state()).toMatchObject({ waiting: 0, deadLetters: 0 });
    expect((await reception.receive(bodyOf(envelope()), SENDER)).accepted).toBe(1);
  });
});

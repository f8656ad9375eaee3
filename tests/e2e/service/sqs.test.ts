import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { type FauxqsServer, startFauxqs } from "fauxqs";
import { describe, expect } from "vitest";
import type { DroverProcess, Sandbox } from "../../harness/drover.js";
import { until } from "../../harness/gate.js";
import { it as base } from "../../harness/s3-fixtures.js";
import { awsRecord, eventBridgeEvent, snsEnvelope, TEST_EVENT } from "../../unit/events/bodies.js";

const NAME = "uploads";

/** A queue in this process. */
class TestQueue {
  private constructor(
    private readonly server: FauxqsServer,
    readonly url: string,
  ) {}

  static async start(): Promise<TestQueue> {
    const server = await startFauxqs({ port: 0, logger: false });
    server.createQueue(NAME);
    return new TestQueue(server, `http://127.0.0.1:${server.port}/000000000000/${NAME}`);
  }

  /** URL of the service, without the queue. */
  get endpoint(): string {
    return new URL(this.url).origin;
  }

  send(...bodies: unknown[]): void {
    for (const body of bodies)
      this.server.sendMessage(NAME, typeof body === "string" ? body : JSON.stringify(body));
  }

  get #messages() {
    const queue = this.server.inspectQueue(NAME);
    if (!queue) throw new Error("the queue is gone");
    return queue.messages;
  }

  /** Messages that are not deleted, received ones too. */
  get length(): number {
    const { ready, inflight, delayed } = this.#messages;
    return ready.length + inflight.length + delayed.length;
  }

  /** Messages that somebody has received, and how often each. */
  get received(): { body: string; count: number; hiddenUntilMs: number }[] {
    return this.#messages.inflight.map(({ message, visibilityDeadline }) => ({
      body: message.body,
      count: message.approximateReceiveCount,
      hiddenUntilMs: visibilityDeadline,
    }));
  }

  async stop(): Promise<void> {
    await this.server.stop();
  }
}

interface Fixtures {
  queue: TestQueue;
  /** Starts `drover events` on the queue; it ends with the test. */
  consume(args?: readonly string[], env?: Readonly<Record<string, string>>): Promise<DroverProcess>;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  queue: async ({}, use) => {
    const queue = await TestQueue.start();
    await use(queue);
    await queue.stop();
  },
  consume: async ({ box, work, s3, queue }, use) => {
    const started: DroverProcess[] = [];
    await use(async (args = [], env = {}) => {
      const process = start(box, ["--sqs", queue.url, ...args], work.path, {
        ...s3.env,
        S3_BUCKET_NAME: s3.bucket,
        LOCAL_DOWNLOAD_DIR: "files",
        XDG_STATE_HOME: work.at("state"),
        ...env,
      });
      started.push(process);
      await process.waitFor("stdout", /"events ready"/);
      return process;
    });
    for (const each of started) each.kill("SIGKILL");
    await Promise.all(started.map(({ result }) => result.catch(() => {})));
  },
});

function start(box: Sandbox, args: string[], cwd: string, env: Record<string, string>): DroverProcess {
  return box.start(["events", ...args], { timeoutMs: 300_000, cwd, env });
}

const formEncoded = (key: string) => encodeURIComponent(key).replaceAll("%20", "+");
function created(bucket: string, key: string, eventName = "ObjectCreated:Put") {
  const record = awsRecord(formEncoded(key), { eventName });
  record.s3.bucket.name = bucket;
  return { Records: [record] };
}
function told(bucket: string, key: string) {
  const event = eventBridgeEvent(key);
  return { ...event, detail: { ...event.detail, bucket: { name: bucket } } };
}

describe("drover events", () => {
  it("copies what the messages of a queue tell of, and deletes them", async ({
    consume,
    queue,
    s3,
    work,
  }) => {
    const keys = ["s3/a b", "bridge/ü+1", "sns/100%", ...Array.from({ length: 40 }, (_, at) => `many/${at}`)];
    await s3.putAll(Object.fromEntries(keys.map((key) => [key, `the object ${key}`])));
    queue.send(
      created(s3.bucket, "s3/a b"),
      told(s3.bucket, "bridge/ü+1"),
      // No topic is named, and the signature is none: the queue's policy says who may send.
      snsEnvelope(created(s3.bucket, "sns/100%")),
      TEST_EVENT,
      created("another-bucket", "x"),
      ...keys.slice(3).map((key) => created(s3.bucket, key)),
    );
    const process = await consume();
    await until("the files", () => keys.every((key) => existsSync(work.at("files", key))));
    for (const key of keys) expect(readFileSync(work.at("files", key), "utf8")).toBe(`the object ${key}`);
    await until("an empty queue", () => queue.length === 0);

    await s3.put("later", "later");
    queue.send(created(s3.bucket, "later"));
    await until("a later file", () => existsSync(work.at("files", "later")));
    await until("an empty queue", () => queue.length === 0);
    process.kill("SIGTERM");
    const { code, stdout } = await process.result;
    expect([code, stdout.includes('"stopped"')]).toEqual([0, true]);
  });

  it("takes the region from the URL of the queue, and the endpoint from the environment", async ({
    box,
    queue,
    s3,
    work,
  }) => {
    // The service has the queue in the region of the tests, and tells regions apart by the signature.
    const env = {
      ...s3.env,
      S3_BUCKET_NAME: s3.bucket,
      LOCAL_DOWNLOAD_DIR: "files",
      XDG_STATE_HOME: work.at("state"),
      AWS_ENDPOINT_URL_SQS: queue.endpoint,
    };
    const urlIn = (region: string) => `https://sqs.${region}.amazonaws.com/000000000000/uploads`;
    const { code, stderr } = await start(box, ["--sqs", urlIn("eu-west-1")], work.path, env).result;
    expect([code, stderr]).toEqual([2, expect.stringContaining("SQS refuses")]);
    await s3.put("a", "1");
    queue.send(created(s3.bucket, "a"));
    const process = start(box, ["--sqs", urlIn("us-east-1")], work.path, { ...env, AWS_REGION: "eu-west-1" });
    await until("the file", () => existsSync(work.at("files", "a")));
    process.kill("SIGTERM");
    expect((await process.result).code).toBe(0);
  });

  it("leaves what it cannot understand to the queue, and says so once", async ({
    consume,
    queue,
    s3,
    work,
  }) => {
    await s3.putAll({ good: "1", beside: "2" });
    const half = created(s3.bucket, "beside");
    (half.Records as unknown[]).push({ eventSource: "aws:s3", eventName: "ObjectCreated:Put" });
    queue.send("no JSON", half, created(s3.bucket, "good"));
    const process = await consume(["--visibility", "3s"]);
    await until("the files", () => ["good", "beside"].every((key) => existsSync(work.at("files", key))));
    const again = await until("another receipt of what is left", () => {
      const { received } = queue;
      return received.length === 2 && received.every(({ count }) => count >= 2) && received;
    });
    expect(again.map(({ body }) => body).sort()).toEqual([JSON.stringify(half), "no JSON"].sort());
    const said = process.stdout.match(/message \S+ is left to the queue: it is no JSON in UTF-8/g);
    expect(said).toHaveLength(1);
  });

  for (const point of ["received", "accepted"])
    it(`loses nothing if it is killed when a message is ${point}`, async ({ consume, queue, s3, work }) => {
      await s3.put("a", "1");
      const doomed = await consume(["--visibility", "3s"], { DROVER_FAULT: point });
      queue.send(created(s3.bucket, "a"));
      await doomed.result;
      expect(queue.length).toBe(1);
      await consume(["--visibility", "3s"]);
      await until("the file", () => existsSync(work.at("files", "a")));
      await until("an empty queue", () => queue.length === 0);
    });

  it("keeps its messages while Redis is away, and goes on afterwards", async ({
    consume,
    fleet,
    queue,
    s3,
    work,
  }) => {
    writeFileSync(
      work.at("drover.yaml"),
      JSON.stringify({ events: { routes: [{ bucket: s3.bucket, destination: work.out }] } }),
    );
    await s3.put("a", "1");
    fleet.env = s3.env;
    await fleet.worker();
    const process = await consume([...fleet.own, "--root", work.out, "--visibility", "3s"]);
    await fleet.redis.kill();
    await process.waitFor("stdout", /Redis is away/);
    queue.send(created(s3.bucket, "a"));
    const first = await until("the receipt", () => queue.received[0]);
    // Hidden for longer than a receipt hides it, and not received again.
    await until("more time", () => (queue.received[0]?.hiddenUntilMs ?? 0) > first.hiddenUntilMs + 4_000);
    expect(queue.received).toMatchObject([{ count: 1 }]);
    await fleet.redis.start();
    await until("the file", () => existsSync(work.to("a")), 30_000);
    await until("an empty queue", () => queue.length === 0);
  });

  it("ends while Redis is away, and leaves the messages to the queue", async ({
    consume,
    fleet,
    queue,
    s3,
    work,
  }) => {
    mkdirSync(work.at("files"));
    const process = await consume([...fleet.own, "--drain-deadline", "1s"]);
    await fleet.redis.kill();
    await process.waitFor("stdout", /Redis is away/);
    queue.send(created(s3.bucket, "a"));
    await until("the receipt", () => queue.received[0]);
    process.kill("SIGTERM");
    expect((await process.result).code).toBe(130);
    expect(queue.length).toBe(1);
  });

  it("works beside servers that share its Redis", async ({ consume, fleet, queue, s3, box, work }) => {
    const env = {
      ...s3.env,
      S3_BUCKET_NAME: s3.bucket,
      LOCAL_DOWNLOAD_DIR: work.out,
      ENABLE_PERIODIC_SYNC: "false",
    };
    const server = box.start(["serve", "--port", "0", ...fleet.own], {
      timeoutMs: 300_000,
      cwd: work.path,
      env,
    });
    await server.waitFor("stdout", /service ready/);
    fleet.env = s3.env;
    await fleet.worker();
    const keys = Array.from({ length: 30 }, (_, at) => `k${at}`);
    await s3.putAll(Object.fromEntries(keys.map((key) => [key, key])));
    await consume(fleet.own, { LOCAL_DOWNLOAD_DIR: work.out });
    await consume(fleet.own, { LOCAL_DOWNLOAD_DIR: work.out });
    queue.send(...keys.slice(0, 15).map((key) => created(s3.bucket, key)));
    await until("half of the files", () => keys.slice(0, 15).every((key) => existsSync(work.to(key))));
    // The server held the events; another takes over.
    server.kill("SIGKILL");
    await server.result;
    queue.send(...keys.slice(15).map((key) => created(s3.bucket, key)));
    await until("all files", () => keys.every((key) => existsSync(work.to(key))), 30_000);
    await until("an empty queue", () => queue.length === 0);
  });

  it("stops with code 2 if there is no such queue, no route, or no such time", async ({
    box,
    queue,
    s3,
    work,
  }) => {
    const env = {
      ...s3.env,
      S3_BUCKET_NAME: s3.bucket,
      LOCAL_DOWNLOAD_DIR: "files",
      XDG_STATE_HOME: work.at("state"),
    };
    const run = async (args: string[], more: Record<string, string> = {}) => {
      const { code, stderr } = await start(box, args, work.path, { ...env, ...more }).result;
      return [code, stderr.trim()];
    };
    expect(await run(["--sqs", `${queue.url}-not`])).toEqual([2, expect.stringContaining("SQS refuses")]);
    expect(await run(["--sqs", "uploads"])).toEqual([2, expect.stringContaining("--sqs must be a URL")]);
    expect(await run(["--sqs", queue.url], { S3_BUCKET_NAME: "" })).toEqual([
      2,
      expect.stringContaining("no route says where objects go"),
    ]);
    expect(await run(["--sqs", queue.url, "--visibility", "1s"])).toEqual([
      2,
      expect.stringContaining("--visibility must be a time from 3s to 12h"),
    ]);
  });
});

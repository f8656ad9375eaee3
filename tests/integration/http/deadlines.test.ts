import { TransferError } from "@drover/shared/errors";
import { type HttpAnswer, HttpClient } from "@drover/shared/storage/http/client";
import { HttpSource } from "@drover/shared/storage/http/source";
import { S3Client } from "@drover/shared/storage/s3/service/client";
import { S3Source } from "@drover/shared/storage/s3/source";
import { test as base, describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { Gate } from "../../harness/gate.js";

interface Fixtures {
  origin: FaultOrigin;
  /** Makes a client with one connection per origin. */
  open(timeoutMs: number): HttpClient;
}

const it = base.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  origin: async ({}, use) => {
    const origin = await FaultOrigin.start();
    await use(origin);
    await origin.stop();
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  open: async ({}, use) => {
    const clients: HttpClient[] = [];
    await use((timeoutMs) => {
      const client = new HttpClient({ timeoutMs, connections: 1, discardMs: 20 });
      clients.push(client);
      return client;
    });
    for (const client of clients) await client.close();
  },
});

const { signal } = new AbortController();
const get = (client: HttpClient, url: string) => client.get(url, {}, {}, signal);
const ask = (client: HttpClient, url: string) =>
  client.ask(new URL(url).origin, new URL(url).pathname, {}, signal);

async function textOf({ body }: Pick<HttpAnswer, "body">): Promise<string> {
  let text = "";
  for (let chunks = await body.read(); chunks; chunks = await body.read()) text += Buffer.concat(chunks);
  return text;
}

describe("an unwanted body that never ends gives its connection back", () => {
  it("after an error", async ({ origin, open }) => {
    const client = open(10_000);
    const url = origin.route("/gone", does.stalled(404));
    for (let time = 0; time < 3; time++)
      await expect(new HttpSource(client, url, {}).open("", signal)).rejects.toMatchObject({
        class: "not-found",
      });
    expect(await textOf(await get(client, origin.route("/file", does.file("whole"))))).toBe("whole");
  });

  it("after a redirect", async ({ origin, open }) => {
    const file = origin.route("/file", does.file("whole"));
    const url = origin.route("/moved", does.stalled(302, { location: file }));
    expect(await textOf(await get(open(10_000), url))).toBe("whole");
  });

  it.for([412, 416, 500])("after a %d of S3", async (status, { origin, open }) => {
    const client = new S3Client(
      open(10_000),
      { endpoint: origin.url("").replace(/\/$/, ""), region: "r", pathStyle: true } as never,
      async () => undefined,
    );
    const source = new S3Source(client, { bucket: "bucket", key: "key" } as never);
    const version = { version: 's"a";5;1', strongEtag: '"a"', sizeBytes: 5 };
    origin.route("/bucket/key", does.stalled(status), does.file("whole", { etag: '"a"' }));
    await expect(source.openRange(version, { startByte: 1 }, signal)).rejects.toBeInstanceOf(TransferError);
    const again = await source.openRange(version, { startByte: 1 }, signal);
    expect(again.is).toBe("body");
  });
});

it.for([
  ["of hosts", get],
  ["of services", ask],
] as const)("waiting for a connection has a limit: %s", async ([, request], { origin, open }) => {
  const client = open(200);
  const gate = new Gate();
  const busy = await request(client, origin.route("/slow", does.pausedAt("whole", 2, gate)));
  await gate.reached;
  const other = origin.route("/other", does.file("other"));
  await expect(request(client, other)).rejects.toMatchObject({
    class: "timeout",
    message: "network timeout: no connection within 0.2 s",
  });
  gate.open();
  expect(await textOf(busy)).toBe("whole");
  expect(await textOf(await request(client, other))).toBe("other");
  expect(origin.requestsTo("/other")).toHaveLength(1);
});

it.for([
  ["of hosts", get],
  ["of services", ask],
] as const)(
  "interim answers do not put off the deadline: %s",
  { timeout: 5_000 },
  async ([, request], { origin, open }) => {
    const client = open(200);
    const url = origin.route("/file", does.interim(20), does.file("whole"));
    await expect(request(client, url)).rejects.toMatchObject({
      class: "timeout",
      message: "network timeout: no answer within 0.2 s",
    });
    expect(await textOf(await request(client, url))).toBe("whole");
  },
);

it("an interim answer before the final one is passed over", async ({ origin, open }) => {
  const url = origin.route("/file", (exchange) => {
    exchange.response.writeEarlyHints({ link: "</style.css>; rel=preload" });
    return does.file("whole")(exchange);
  });
  expect(await textOf(await get(open(5_000), url))).toBe("whole");
});

import { readFileSync } from "node:fs";
import { request as ask, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { REPOSITORY } from "./drover.js";
import { FakeS3 } from "./fake-s3.js";
import { itWithFakeS3 } from "./fixtures.js";
import { startRedis, type TestRedis } from "./redis.js";

export const DOCUMENT = readFileSync(join(REPOSITORY, "docs/templates-settings-cache.md"), "utf8");

/** The buckets of the examples, each a service of its own behind one endpoint. */
export class Buckets {
  readonly #services = new Map<string, FakeS3>();
  readonly #server = createServer((request, answer) => {
    const [, bucket = "", rest = ""] = /^\/([^/?]*)(.*)$/s.exec(request.url as string) ?? [];
    const service = this.#services.get(bucket);
    if (!service) return answer.writeHead(404).end();
    const { method } = request;
    const headers = { ...request.headers };
    const from = headers["x-amz-copy-source"];
    if (typeof from === "string") headers["x-amz-copy-source"] = from.replace(/^\/?[^/]+/, "/bucket");
    const forwarded = ask(`${service.endpoint}/bucket${rest}`, { method, headers }, (response) => {
      answer.writeHead(response.statusCode as number, response.headers);
      response.pipe(answer);
    });
    return request.pipe(forwarded);
  });

  static async start(): Promise<Buckets> {
    const buckets = new Buckets();
    for (const name of ["templates", "settings", "config"]) buckets.#services.set(name, await FakeS3.start());
    await new Promise<void>((resolve) => buckets.#server.listen(0, "127.0.0.1", resolve));
    return buckets;
  }

  get env(): Record<string, string> {
    const { port } = this.#server.address() as AddressInfo;
    return { ...this.of("templates").env, AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}` };
  }

  of(bucket: string): FakeS3 {
    return this.#services.get(bucket) as FakeS3;
  }

  put(bucket: string, key: string, content: string): void {
    this.of(bucket).put(key, content);
  }

  get(bucket: string, key: string): string {
    return String(this.of(bucket).stored(key)?.content);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    for (const service of this.#services.values()) await service.stop();
  }
}

/** A program that answers every request. */
export interface App {
  host: string;
  asked: string[];
}

interface Fixtures {
  buckets: Buckets;
  app: App;
  /** The cache of the program. */
  program: TestRedis & { url: string };
}

export const it = itWithFakeS3.extend<Fixtures>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  buckets: async ({}, use) => {
    const buckets = await Buckets.start();
    await use(buckets);
    await buckets.stop();
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  app: async ({}, use) => {
    const asked: string[] = [];
    const server = createServer((request, answer) => {
      asked.push(`${request.method} ${request.url}`);
      request.resume().on("end", () => answer.end("ok"));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    await use({ host: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked });
    server.close();
  },
  // biome-ignore lint/correctness/noEmptyPattern: see above
  program: async ({}, use) => {
    const redis = await startRedis();
    const { address } = redis;
    const url = "url" in address ? address.url : `unix://${address.socketPath}`;
    await use(Object.assign(redis, { url }));
    await redis.stop();
  },
});

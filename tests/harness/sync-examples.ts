import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { REPOSITORY } from "./drover.js";
import { itWithFakeS3 } from "./fixtures.js";
import { startRedis, type TestRedis } from "./redis.js";
import { TestS3 } from "./s3.js";

export const DOCUMENT = readFileSync(join(REPOSITORY, "docs/templates-settings-cache.md"), "utf8");

/** The buckets of the examples, in an S3 service in this process. */
export class Buckets {
  readonly #client: S3Client;

  private constructor(private readonly s3: TestS3) {
    const { endpoint, accessKeyId, secretAccessKey } = s3.service;
    this.#client = new S3Client({
      ...{ endpoint, region: "us-east-1", forcePathStyle: true, requestChecksumCalculation: "WHEN_REQUIRED" },
      credentials: { accessKeyId, secretAccessKey },
    });
  }

  static async start(): Promise<Buckets> {
    const buckets = new Buckets(await TestS3.start());
    for (const Bucket of ["templates", "settings", "config"])
      await buckets.#client.send(new CreateBucketCommand({ Bucket }));
    return buckets;
  }

  get env(): Record<string, string> {
    return this.s3.env;
  }

  async put(Bucket: string, Key: string, Body: string): Promise<void> {
    await this.#client.send(new PutObjectCommand({ Bucket, Key, Body }));
  }

  async get(Bucket: string, Key: string): Promise<string> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket, Key }));
    return (await Body?.transformToString()) as string;
  }

  async stop(): Promise<void> {
    this.#client.destroy();
    await this.s3.stop();
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

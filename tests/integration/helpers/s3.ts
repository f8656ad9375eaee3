import type { Keys } from "@drover/shared/protocol/keys";
import { type FakeRequest, FakeS3 } from "../../harness/fake-s3.js";
import { it as base, FileWorker, type FileWorkerOptions } from "./file-worker.js";

/** A service in this process, and carriers to `s3://bucket/to` on it, or to another root. */
export const it = base.extend<{
  s3: FakeS3;
  to: (options?: FileWorkerOptions & { root?: string }) => Promise<FileWorker>;
}>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  s3: async ({}, use) => {
    const s3 = await FakeS3.start();
    await use(s3);
    await s3.stop();
  },
  to: async ({ redis, keys, s3 }, use) => {
    const made: FileWorker[] = [];
    await use(async ({ root = "s3://bucket/to", ...options } = {}) => {
      const spec = {
        endpoint: s3.endpoint,
        region: "us-east-1",
        pathStyle: true,
        anonymous: false,
        requesterPays: false,
      };
      const fileWorker = await FileWorker.make(redis, keys, root, { s3: spec, retries: 3, ...options });
      made.push(fileWorker);
      return fileWorker;
    });
    for (const fileWorker of made) await fileWorker.close();
  },
});

export const isPut = ({ method, key, query }: FakeRequest) =>
  method === "PUT" && !query.has("uploadId") && !key.includes(".drover-");
export const isPart = ({ method, key, query }: FakeRequest) =>
  method === "PUT" && query.has("partNumber") && !key.includes(".drover-");
export const isComplete = ({ method, key, query }: FakeRequest) =>
  method === "POST" && query.has("uploadId") && !key.includes(".drover-");

/** A gate that the first request of a kind stops at. */
export function gate(of: (request: FakeRequest) => boolean, s3: FakeS3) {
  const arrived = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  let first = true;
  s3.before = (request) => {
    if (!first || !of(request)) return undefined;
    first = false;
    arrived.resolve();
    return opened.promise;
  };
  return { arrived: arrived.promise, open: () => opened.resolve() };
}

/** Key of the lease on a file. */
export function leaseOf(keys: Keys, fileWorker: FileWorker, name: string): string {
  return keys.lease(fileWorker.context.tree.leaseOf(name));
}

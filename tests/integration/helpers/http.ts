import { mkdirSync, writeFileSync } from "node:fs";
import { expect } from "vitest";
import type { FileWorker, Space } from "./file-worker.js";

export const OLD = "what was there before";

/** Writes an old file, which the test expects to stay. */
export function withOld(space: Space, name = "file"): void {
  mkdirSync(space.root, { recursive: true });
  writeFileSync(space.to(name), OLD);
}

export async function settledError(fileWorker: FileWorker, name: string, url: string, sha?: string) {
  const outcome = await fileWorker.through(name, url, sha === undefined ? {} : { sha256: sha });
  expect(outcome).toMatchObject({ outcome: "failed", checksum: null, bytes: 0, verifiedBy: null });
  return { ...outcome.error, attempts: outcome.attempts };
}

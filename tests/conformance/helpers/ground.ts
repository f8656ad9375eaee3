import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shortHash } from "@drover/shared/ids";
import { LocalTree } from "@drover/shared/storage/local/tree";
import type { SourceEntry } from "@drover/shared/storage/source";
import { stagingName } from "@drover/shared/storage/staging-name";
import { Lease, now } from "@drover/worker/attempt/leases";
import { newResumeRecord, type ResumeRecord } from "@drover/worker/attempt/resume-record";
import type { Terms } from "@drover/worker/attempt/terms";
import { RateLimiter } from "@drover/worker/bytes/rate-limiter";
import { StallWatchdog } from "@drover/worker/bytes/stall-watchdog";
import type { WriteAttempt } from "@drover/worker/destinations/destination";
import { LocalStaging } from "@drover/worker/destinations/local/staging";
import { test as base, expect } from "vitest";

/** Of some destination. */
export const LEASE = shortHash("destination");

export const ENTRY: SourceEntry = {
  sizeBytes: undefined,
  version: "",
  strongEtag: "",
  mtimeMs: 1_600_000_000_000,
  framed: true,
  ranges: false,
  encoding: "",
  digest: undefined,
};

const TERMS: Terms = {
  retries: 5,
  backoffFactor: 1.5,
  jitter: "full",
  timeoutMs: 10_000,
  rules: { threshold: 5, ttlMs: 60_000, probeMs: 10_000 },
  breakerWaitMs: 60_000,
  openWhenSpent: false,
  whenBusy: "wait",
  maxFileSizeBytes: undefined,
  resume: true,
  streams: 16,
  durable: false,
};

/** A destination tree with what is around it, and short ways to stage in it. */
class Ground {
  readonly path = mkdtempSync(join(tmpdir(), "drover-tree-"));
  readonly root = join(this.path, "root");
  readonly tree = new LocalTree(this.root);
  #fences = 0;

  to(name: string): string {
    return join(this.root, name);
  }

  read(name: string): string {
    return readFileSync(this.to(name), "utf8");
  }

  lease(fence = String(++this.#fences), key = LEASE): Lease {
    return new Lease(key, fence, now());
  }

  stage(name: string, content?: string, lease = this.lease()): LocalStaging {
    const staging = new LocalStaging(this.tree, this.#attempt(name, lease));
    if (content === undefined) return staging;
    staging.create(undefined);
    staging.writeWhole([Buffer.from(content)], Buffer.byteLength(content));
    return staging;
  }

  #attempt(name: string, lease: Lease): WriteAttempt {
    const { tree } = this;
    const host = "";
    return {
      file: {
        ...{ runId: "run", flight: "flight", lease: lease.key, tree: tree.id, name, host },
        ...{ path: tree.path(name), sourceHash: "" },
      },
      expected: undefined,
      admitted: { catalog: Buffer.alloc(0), origin: "new", predecessors: [] },
      lease,
      record: newResumeRecord(lease.fence),
      terms: TERMS,
      limiter: new RateLimiter(undefined),
      watchdog: new StallWatchdog(TERMS.timeoutMs),
    };
  }

  async put(name: string, content: string, durable = false): Promise<void> {
    const staging = this.stage(name, content);
    await staging.commit(ENTRY, durable, () => {});
    staging.close();
  }

  /** Leaves a staged part behind, as a predecessor does; answers with its fence and the note of it. */
  leave(name: string, content: string): { fence: string; record: ResumeRecord; path: string } {
    const lease = this.lease();
    const staging = this.stage(name, content, lease);
    staging.keep();
    staging.close();
    const directory = name.includes("/") ? name.slice(0, name.lastIndexOf("/") + 1) : "";
    const path = this.to(`${directory}${stagingName(lease.key, lease.fence)}`);
    const record: ResumeRecord = {
      fence: lease.fence,
      version: "v",
      strongEtag: '"v"',
      sizeBytes: undefined,
      contiguousBytes: content.length,
      spans: [],
      mismatches: 0,
      oneStream: false,
      receivedBytes: 0,
    };
    return { fence: lease.fence, record, path };
  }

  names(directory = this.root): string[] {
    return readdirSync(directory).sort();
  }
}

export const it = base.extend<{ ground: Ground }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
  ground: async ({}, use) => {
    const ground = new Ground();
    await use(ground);
    ground.tree.close();
    rmSync(ground.path, { recursive: true, force: true });
  },
});

export const pathError = expect.objectContaining({ name: "TransferError", class: "path", permanent: true });

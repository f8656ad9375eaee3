import { hostname } from "node:os";
import type { Keys } from "@drover/shared/protocol/keys";
import { ALIVE_MS, type WorkerPresence } from "@drover/shared/protocol/worker-registry";
import type { Redis } from "ioredis";
import type { FileInProgress } from "./fleet-worker.js";

const EVERY_MS = 2_000;
/** Time in ms after a worker's last heartbeat at which it is dropped from the list. */
const FORGOTTEN_MS = 86_400_000;
/** Most files that a worker lists by name. */
const LISTED = 64;

/** Publishes every two seconds that this worker lives and what it does. */
export class Heartbeat {
  readonly #timer: NodeJS.Timeout;
  readonly #startedMs = Date.now();

  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
    private readonly id: string,
    private readonly now: () => {
      concurrency: number;
      roots: string[];
      leads: boolean;
      draining: boolean;
      perSecond: { files: number; bytes: number };
      carrying: FileInProgress[];
    },
  ) {
    this.#timer = setInterval(() => void this.tell().catch(() => {}), EVERY_MS); // Redis is away: the next beat tries again
  }

  async tell(): Promise<void> {
    const now = this.now();
    const presence: WorkerPresence = {
      ...now,
      carrying: now.carrying.slice(0, LISTED) as WorkerPresence["carrying"],
      files: now.carrying.length,
      id: this.id,
      host: hostname(),
      pid: process.pid,
      startedMs: this.#startedMs,
    };
    const nowMs = Date.now();
    await Promise.all([
      this.redis.set(this.keys.worker(this.id), JSON.stringify(presence), "PX", ALIVE_MS),
      this.redis.zadd(this.keys.workers(), nowMs, this.id),
      this.redis.zremrangebyscore(this.keys.workers(), "-inf", nowMs - FORGOTTEN_MS),
    ]);
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([
      this.redis.del(this.keys.worker(this.id)),
      this.redis.zrem(this.keys.workers(), this.id),
    ]);
  }
}

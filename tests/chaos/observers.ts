import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { OUTCOMES } from "@drover/shared/outcome";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Redis } from "ioredis";
import { redisContents } from "../harness/canaries.js";
import type { History } from "./history.js";
import { Rng } from "./rng.js";
import type { Reading, VersionedFile } from "./versioned-content.js";

/** Files that are read at the same time. */
const READERS = 4;

/** Reads destinations as their users do: at any moment, through one descriptor, to the end. */
export class Sampler {
  readonly #last = new Map<string, string>();
  #stopped = false;
  #running: Promise<unknown> | undefined;

  constructor(
    private readonly root: string,
    private readonly files: readonly VersionedFile[],
    private readonly seed: number,
    private readonly history: History,
  ) {}

  start(): void {
    this.#stopped = false;
    this.#running = Promise.all(Array.from({ length: READERS }, (_, reader) => this.#readOn(reader)));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Reads every destination once and writes down what is there. */
  async scan(): Promise<void> {
    const rest = this.files.values();
    const readers = Array.from({ length: READERS }, async () => {
      for (const file of rest) await this.#read(file, true);
    });
    await Promise.all(readers);
  }

  async #readOn(reader: number): Promise<void> {
    const rng = new Rng(this.seed, "sampler", reader);
    while (!this.#stopped) {
      await this.#read(rng.pick(this.files), false);
      await new Promise((resolve) => setTimeout(resolve, 2)); // the fleet needs the processor more
    }
  }

  async #read(file: VersionedFile, always: boolean): Promise<void> {
    const fromMs = this.history.nowMs();
    const reading = await file.read(join(this.root, file.name));
    const text = JSON.stringify(reading satisfies Reading);
    if (!always && this.#last.get(file.name) === text) return;
    this.#last.set(file.name, text);
    this.history.add({ is: "seen", name: file.name, fromMs, reading });
  }
}

/** The bits that are set in each bitmap of a run: the truth about its files. */
export async function bitmapsOf(redis: Redis, keys: Keys, run: string): Promise<Record<string, number[]>> {
  const bitmaps: Record<string, number[]> = { done: bits(await redis.getBuffer(keys.done(run))) };
  for (const outcome of OUTCOMES) {
    if (outcome !== "copied") bitmaps[outcome] = bits(await redis.getBuffer(keys.outcome(run, outcome)));
  }
  return bitmaps;
}

function bits(bitmap: Buffer | null): number[] {
  const set: number[] = [];
  bitmap?.forEach((byte, at) => {
    for (let bit = 0; bit < 8; bit++) if (byte & (0x80 >> bit)) set.push(at * 8 + bit);
  });
  return set;
}

/** TTL of a key that is there and never expires. */
const NEVER_EXPIRES = -1;

/** Names of the keys that hold a secret, but for those that are made to: they expire. */
export async function secretsInRedis(redis: Redis, canaries: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const { key, text } of await redisContents(redis)) {
    if (!canaries.some((canary) => text.includes(canary))) continue;
    if (!/:secrets$/.test(key) || (await redis.ttl(key)) === NEVER_EXPIRES) found.push(key);
  }
  return found;
}

/** Everything below a directory but what is in the given ones, without following links. */
export function everythingBelow(directory: string, except: readonly string[] = []): string[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name);
    if (except.includes(path)) return [];
    return lstatSync(path).isDirectory() ? [path, ...everythingBelow(path, except)] : [path];
  });
}

import { createHash } from "node:crypto";
import type { Engine } from "@drover/shared/engine";
import { lookUpCatalogScript } from "@drover/shared/protocol/lua/look-up-catalog.lua";
import { pipelined, resent } from "@drover/shared/redis/script";
import { changeScript } from "./change.lua.js";
import { decodeWanted, encodeWanted, type WantedEntry } from "./entry.js";
import { ID_BUCKETS, ID_PERIODS, MirrorKeys } from "./mirror-keys.js";

/** Another sync has the mirror: what this one still wants to write is refused. */
export class MirrorLostError extends Error {
  override name = "MirrorLostError";

  constructor(name: string) {
    super(`another process syncs the mirror ${name} now`);
  }
}

/** Ids of one period, and how long it lasts at most. Eight periods are kept: a week at least, unless more ids come. */
const MOST_IDS_PER_PERIOD = 1_250_000;
const PERIOD_MS = 86_400_000;
const IDS_TTL_S = 9 * 86_400;
/** Entries in one call. */
const BATCH = 1_000;

/** What one step changes. Absent: nothing. */
export interface StateChange {
  /** Ids of events that are done with. */
  ids?: readonly string[];
  /** New entries; undefined forgets the path. */
  entries?: ReadonlyMap<string, WantedEntry | undefined>;
  /** Paths whose applied state may differ from now on. */
  pending?: Iterable<string>;
  /** Paths that are pending no more, unless they became so after `upTo`. */
  settled?: readonly string[];
  /** Generation of the state. */
  upTo?: number;
  /** Paths that the next export has to look at, besides those of the entries. */
  touched?: Iterable<string>;
  /** Whether the paths of the entries count as touched. Default true. */
  touches?: boolean;
  /** Ids in the stream of events that are taken out of it. */
  taken?: readonly string[];
  fields?: Record<string, string | number>;
}

/** The state of one mirror in Redis. Only the sync that holds the mirror changes it. */
export class MirrorState {
  readonly keys: MirrorKeys;

  constructor(
    private readonly engine: Pick<Engine, "redis" | "keys">,
    readonly name: string,
  ) {
    this.keys = new MirrorKeys(engine.keys, name);
  }

  /** Entries of many paths, in their order. */
  async lookUp(paths: readonly string[]): Promise<(WantedEntry | undefined)[]> {
    const { redis } = this.engine;
    const found: (WantedEntry | undefined)[] = [];
    for (let from = 0; from < paths.length; from += BATCH) {
      const some = paths.slice(from, from + BATCH);
      const values = await resent(redis, () =>
        lookUpCatalogScript.runForBytes(redis, some.map(this.keys.wantedOf), some),
      );
      for (const value of values as (Buffer | null)[]) found.push(decodeWanted(value));
    }
    return found;
  }

  /**
   * Changes the state in one step.
   *
   * @param fence of the sync.
   * @returns the new generation.
   * @throws MirrorLostError if another sync has the mirror.
   */
  async change(fence: number, change: StateChange): Promise<number> {
    const { redis } = this.engine;
    const { keys } = this;
    const ids = (change.ids ?? []).map(hashOf);
    const period = ids.length === 0 ? 0 : Number((await this.fields()).idPeriod ?? 0);
    const entries = [...(change.entries ?? [])];
    const pending = [...(change.pending ?? [])];
    const { settled = [], taken = [], upTo = 0, touches = true } = change;
    const touched = [...(change.touched ?? []), ...(touches ? entries.map(([path]) => path) : [])];
    const fields = Object.entries(change.fields ?? {});
    const numbers = [ids, entries, pending, settled, touched, taken, fields].map(({ length }) => length);
    const generation = Number(
      await resent(redis, () =>
        changeScript.run(
          redis,
          [
            ...[keys.state(), keys.pending(), keys.touched(), keys.events()],
            ...ids.map(({ bucket }) => keys.ids(period, bucket)),
            ...entries.map(([path]) => keys.wantedOf(path)),
          ],
          [
            ...[fence, ...numbers, upTo, IDS_TTL_S],
            ...ids.map(({ text }) => text),
            ...entries.flatMap(([path, entry]) => [path, entry === undefined ? "" : encodeWanted(entry)]),
            ...[...pending, ...settled, ...touched, ...taken],
            ...fields.flat(),
          ],
        ),
      ),
    );
    if (generation < 0) throw new MirrorLostError(this.name);
    return generation;
  }

  /** Fields of the state as they are kept. */
  async fields(): Promise<Record<string, string>> {
    return await this.engine.redis.hgetall(this.keys.state());
  }

  /** Which of these ids of events are known. */
  async known(ids: readonly string[]): Promise<boolean[]> {
    const { redis } = this.engine;
    const period = Number((await this.fields()).idPeriod ?? 0);
    const periods = Array.from({ length: ID_PERIODS }, (_, back) => period - back).filter(
      (each) => each >= 0,
    );
    const hashes = ids.map(hashOf);
    const answers = await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (const { bucket, text } of hashes)
        for (const each of periods) pipeline.sismember(this.keys.ids(each, bucket), text);
      return pipeline;
    });
    return hashes.map((_, at) => periods.some((_period, back) => answers[at * periods.length + back] === 1));
  }

  /** Begins a new period of ids where the present one is over, and forgets the oldest. */
  async turnIds(fence: number): Promise<void> {
    const { redis } = this.engine;
    const fields = await this.fields();
    const period = Number(fields.idPeriod ?? 0);
    const begunMs = Number(fields.idPeriodMs ?? 0);
    const nowMs = Date.now();
    if (begunMs !== 0 && nowMs < begunMs + PERIOD_MS && Number(fields.ids ?? 0) < MOST_IDS_PER_PERIOD) return;
    const next = begunMs === 0 ? 0 : period + 1;
    for (let from = 0; from < ID_BUCKETS; from += BATCH)
      await pipelined(redis, () => {
        const pipeline = redis.pipeline();
        for (let at = from; at < Math.min(from + BATCH, ID_BUCKETS); at++)
          pipeline.unlink(this.keys.ids(next, at));
        return pipeline;
      });
    await this.change(fence, { fields: { idPeriod: next, idPeriodMs: nowMs, ids: 0 } });
  }

  /** How many paths are pending. */
  async pendingCount(): Promise<number> {
    return await this.engine.redis.hlen(this.keys.pending());
  }

  /** Paths that are pending since a generation or before, in pages and in no order; one may come twice. */
  async *pending(upTo: number): AsyncGenerator<string[]> {
    const { redis } = this.engine;
    let cursor = "0";
    do {
      const [next, page] = await resent(redis, () =>
        redis.hscan(this.keys.pending(), cursor, "COUNT", BATCH),
      );
      cursor = next;
      const paths: string[] = [];
      for (let at = 0; at + 1 < page.length; at += 2)
        if (Number(page[at + 1]) <= upTo) paths.push(page[at] as string);
      if (paths.length > 0) yield paths;
    } while (cursor !== "0");
  }
}

/** An id in 63 bits: two of ten million are the same once in a million million events. */
function hashOf(id: string): { text: string; bucket: number } {
  const digest = createHash("sha256").update(id).digest();
  return {
    text: String(digest.readBigUInt64LE(0) >> 1n),
    bucket: digest.readUInt32LE(8) % ID_BUCKETS,
  };
}

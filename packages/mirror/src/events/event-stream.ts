import type { Engine } from "@drover/shared/engine";
import { pipelined, resent } from "@drover/shared/redis/script";
import type { ChainableCommander } from "ioredis";
import { MirrorKeys } from "../state/mirror-keys.js";

/** The consumer group of the syncs. They have one name, so that a sync gets again what one that died had taken. */
const GROUP = "mirror";
const CONSUMER = "sync";
/** Dead letters that are kept: so many, of so many characters each, for so long. */
const MOST_LETTERS = 10_000;
const MOST_LETTER_CHARACTERS = 16_384;
const LETTER_LIFE_MS = 30 * 86_400_000;

/** An event in the stream, as it was put there. */
export interface StreamedEvent {
  id: string;
  /** Text of the field `event`, or else all fields; undefined where somebody removed it. */
  event: string | Record<string, string> | undefined;
}

/** What could not be followed. */
export interface DeadLetter {
  id: string;
  why: string;
  /** As it came, or the beginning of it. */
  body: string;
  isWhole: boolean;
}

/** The events of a mirror that no sync has taken yet, and its dead letters. */
export class EventStream {
  readonly #keys: MirrorKeys;

  constructor(
    private readonly engine: Pick<Engine, "redis" | "keys">,
    readonly name: string,
  ) {
    this.#keys = new MirrorKeys(engine.keys, name);
  }

  /** Makes the group of the syncs. */
  async open(): Promise<void> {
    const { redis } = this.engine;
    await resent(redis, () => redis.xgroup("CREATE", this.#keys.events(), GROUP, "0", "MKSTREAM")).catch(
      (error: Error) => {
        if (!error.message.startsWith("BUSYGROUP")) throw error;
      },
    );
  }

  /** Adds commands to a pipeline that add events (JSON). */
  addTo(pipeline: ChainableCommander, events: readonly string[]): void {
    for (const event of events) pipeline.xadd(this.#keys.events(), "*", "event", event);
  }

  /** Adds events (JSON). Sent twice, they come twice, which does no harm. */
  async add(events: readonly string[]): Promise<void> {
    await pipelined(this.engine.redis, (redis) => {
      const pipeline = redis.pipeline();
      this.addTo(pipeline, events);
      return pipeline;
    });
  }

  /**
   * Events in their order: first those that were taken and not done with, then new ones.
   *
   * @param after id of the last one of those that were taken; "" for new ones.
   */
  async read(after: string, most: number): Promise<StreamedEvent[]> {
    const { redis } = this.engine;
    const answer = (await resent(redis, () =>
      redis.xreadgroup(
        ...(["GROUP", GROUP, CONSUMER, "COUNT", most] as const),
        ...(["STREAMS", this.#keys.events(), after === "" ? ">" : after] as const),
      ),
    )) as [string, [string, string[] | null][]][] | null;
    return (answer?.[0]?.[1] ?? []).map(([id, fields]) => ({
      id,
      event: fields === null ? undefined : eventOf(fields),
    }));
  }

  /** How many events wait. */
  async waiting(): Promise<number> {
    return await this.engine.redis.xlen(this.#keys.events());
  }

  /** Puts aside what cannot be followed. */
  async bury(letters: readonly { why: string; body: string }[]): Promise<void> {
    if (letters.length === 0) return;
    await pipelined(this.engine.redis, (redis) => {
      const pipeline = redis.pipeline();
      pipeline.xtrim(this.#keys.dead(), "MINID", Date.now() - LETTER_LIFE_MS);
      for (const { why, body } of letters) {
        const kept = body.slice(0, MOST_LETTER_CHARACTERS);
        const whole = kept.length === body.length ? "1" : "0";
        pipeline.xadd(
          ...([this.#keys.dead(), "MAXLEN", MOST_LETTERS, "*"] as const),
          ...(["why", why.slice(0, 1_000), "body", kept, "whole", whole] as const),
        );
      }
      return pipeline;
    });
  }

  async deadCount(): Promise<number> {
    return await this.engine.redis.xlen(this.#keys.dead());
  }

  /** Dead letters, the newest first. @param id this one alone. */
  async letters(most: number, id?: string): Promise<DeadLetter[]> {
    const entries = await this.engine.redis.xrevrange(this.#keys.dead(), id ?? "+", id ?? "-", "COUNT", most);
    return entries.map(([each, fields]) => {
      const { why = "", body = "", whole } = recordOf(fields);
      return { id: each, why, body, isWhole: whole === "1" };
    });
  }

  /** Makes events of dead letters again. @returns how many; those that are not whole stay. */
  async replay(letters: readonly DeadLetter[]): Promise<number> {
    const whole = letters.filter(({ isWhole }) => isWhole);
    if (whole.length === 0) return 0;
    await pipelined(this.engine.redis, (redis) => {
      const pipeline = redis.multi();
      this.addTo(
        pipeline,
        whole.map(({ body }) => body),
      );
      pipeline.xdel(this.#keys.dead(), ...whole.map(({ id }) => id));
      return pipeline;
    });
    return whole.length;
  }
}

function recordOf(fields: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {};
  for (let at = 0; at + 1 < fields.length; at += 2) record[fields[at] as string] = fields[at + 1] as string;
  return record;
}

function eventOf(fields: readonly string[]): string | Record<string, string> {
  const record = recordOf(fields);
  return record.event?.startsWith("{") ? record.event : record;
}

/** When an entry of a stream was made (Unix ms). */
export function msOfId(id: string): number {
  return Number(id.split("-")[0]);
}

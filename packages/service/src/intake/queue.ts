import { EventStream } from "@drover/mirror/events/event-stream";
import type { Engine } from "@drover/shared/engine";
import { UnavailableError } from "@drover/shared/errors";
import { pipelined } from "@drover/shared/redis/script";
import type { ChainableCommander } from "ioredis";
import { z } from "zod";
import type { DurableWrites } from "../durable-writes.js";

/** Dead letters that are kept: so many, of so many bytes each, for so long. */
const MOST_LETTERS = 10_000;
const MOST_LETTER_BYTES = 64 << 10;
const LETTER_LIFE_MS = 30 * 86_400_000;
/** Ids in one call to Redis. */
const IDS_AT_ONCE = 1_000;

const waitingSchema = z.object({
  type: z.enum(["created", "removed"]),
  bucket: z.string(),
  key: z.string(),
  /** The route that it goes by: a server without this route, or with another like it, does the same with it. */
  route: z.object({
    prefix: z.string(),
    destination: z.string(),
    deletes: z.boolean(),
    maxDelete: z.number(),
    backup: z.object({ dir: z.string().optional(), suffix: z.string().optional() }).optional(),
    /** Mirror that is told. Default: a run is made. */
    mirror: z.string().optional(),
  }),
  /** When it happened (Unix ms), and what tells it from others of its object, as far as its origin says so. */
  timeMs: z.number().optional(),
  sequencer: z.string().optional(),
  /** Whether a person has let it pass: no limit stops it. */
  approved: z.literal(true).optional(),
});

/** An event of one route that no run has been made of yet. */
export type WaitingEvent = z.infer<typeof waitingSchema>;

/** An event in the stream. */
export interface QueuedEvent {
  id: string;
  event: WaitingEvent;
}

const letterInfoSchema = z.object({
  why: z.string(),
  from: z.string(),
  bytes: z.number(),
  routes: z.array(z.string()).optional(),
});

/** What could not be understood, or must not be acted on. */
export interface DeadLetter {
  /** Id in the stream, whose first part is when it came (Unix ms). */
  id: string;
  why: string;
  /** Id of who sent it. */
  from: string;
  /** Names of the routes that its sender may use. Default: all. */
  routes?: readonly string[] | undefined;
  /** Size of the body as it came. */
  bytes: number;
  /** The body, or what is kept of its beginning. */
  body: Buffer;
}

/** What becomes of a notification, in numbers. */
export interface Tally {
  /** Events that a route takes. */
  accepted: number;
  /** Events that no route takes, and what means nothing here. */
  ignored: number;
  /** What went to the dead letters: records, messages, or a whole body. */
  dead: number;
}

/** How the intake stands. */
export interface QueueState extends Tally {
  waiting: number;
  /** When the oldest waiting event came (Unix ms); undefined without any. */
  oldestMs: number | undefined;
  deadLetters: number;
}

/** What is kept of one notification, or of what came of it. */
export interface Kept {
  waiting: readonly WaitingEvent[];
  letters: readonly Omit<DeadLetter, "id" | "bytes">[];
  tally: Tally;
}

/** Events and dead letters in Redis. */
export class EventQueue {
  constructor(
    private readonly engine: Pick<Engine, "redis" | "keys">,
    private readonly durable: DurableWrites,
  ) {}

  /**
   * Keeps events and dead letters, and counts them.
   *
   * @param instead ids of events that are taken out for it, and of a dead letter.
   * @throws UnavailableError if Redis does not say that they are on its disk.
   */
  async keep(kept: Kept, instead: { events?: readonly string[]; letter?: string } = {}): Promise<void> {
    const { keys } = this.engine;
    const isDurable = await this.durable.write((pipeline) => {
      for (const each of kept.waiting) pipeline.xadd(keys.events(), "*", "e", JSON.stringify(each));
      for (const letter of kept.letters) this.#addLetter(pipeline, letter);
      for (const [name, count] of Object.entries(kept.tally))
        if (count > 0) pipeline.hincrby(keys.eventCounts(), name, count);
      this.#remove(pipeline, instead.events ?? []);
      if (instead.letter !== undefined) pipeline.xdel(keys.deadEvents(), instead.letter);
      pipeline.exists(keys.events()); // a pipeline without a command is no pipeline
    });
    if (!isDurable)
      throw new UnavailableError("Redis does not say that it has the events on its disk: send them again");
  }

  /**
   * Passes events on to a mirror.
   *
   * @param events for the mirror (JSON).
   * @param ids of the events that they are instead of.
   * @throws UnavailableError if Redis does not say that they are on its disk.
   */
  async pass(mirror: string, events: readonly string[], ids: readonly string[]): Promise<void> {
    const stream = new EventStream(this.engine, mirror);
    const isDurable = await this.durable.write((pipeline) => {
      stream.addTo(pipeline, events);
      this.#remove(pipeline, ids);
    });
    if (!isDurable) throw new UnavailableError("Redis does not say that it has the events on its disk");
  }

  #addLetter(pipeline: ChainableCommander, { body, ...about }: Omit<DeadLetter, "id" | "bytes">): void {
    const { keys } = this.engine;
    const info = JSON.stringify({ ...about, bytes: body.length });
    pipeline.xtrim(keys.deadEvents(), "MINID", Date.now() - LETTER_LIFE_MS);
    pipeline.xadd(
      keys.deadEvents(),
      "MAXLEN",
      MOST_LETTERS,
      "*",
      "i",
      info,
      "b",
      body.subarray(0, MOST_LETTER_BYTES),
    );
  }

  #remove(pipeline: ChainableCommander, ids: readonly string[]): void {
    for (let from = 0; from < ids.length; from += IDS_AT_ONCE)
      pipeline.xdel(this.engine.keys.events(), ...ids.slice(from, from + IDS_AT_ONCE));
  }

  /** Events behind a place, the oldest first. @param after id of the last one before them; "" for the beginning. */
  async read(after: string, most: number): Promise<QueuedEvent[]> {
    const { redis, keys } = this.engine;
    const start = after === "" ? "-" : `(${after}`;
    const entries = await redis.xrange(keys.events(), start, "+", "COUNT", most);
    return entries.map(([id, fields]) => ({
      id,
      event: waitingSchema.parse(JSON.parse(fields[1] as string)),
    }));
  }

  /** Takes out events of which a run was made. */
  async done(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await pipelined(this.engine.redis, (redis) => {
      const pipeline = redis.pipeline();
      this.#remove(pipeline, ids);
      return pipeline;
    });
  }

  async state(): Promise<QueueState> {
    const { redis, keys } = this.engine;
    const [counts, waiting, [oldest], deadLetters] = await Promise.all([
      redis.hgetall(keys.eventCounts()),
      redis.xlen(keys.events()),
      redis.xrange(keys.events(), "-", "+", "COUNT", 1),
      redis.xlen(keys.deadEvents()),
    ]);
    const of = (name: keyof Tally) => Number(counts[name] ?? 0);
    return {
      ...{ accepted: of("accepted"), ignored: of("ignored"), dead: of("dead") },
      ...{ waiting, deadLetters },
      oldestMs: oldest === undefined ? undefined : msOfId(oldest[0]),
    };
  }

  /** Dead letters before a place, the newest first. @param before id of the last one behind them; "" for the newest. */
  async letters(before: string, most: number): Promise<DeadLetter[]> {
    const { redis, keys } = this.engine;
    const oldest = Date.now() - LETTER_LIFE_MS;
    const end = before === "" ? "+" : `(${before}`;
    const entries = await redis.xrevrangeBuffer(keys.deadEvents(), end, oldest, "COUNT", most);
    return (entries as unknown as [Buffer, Buffer[]][]).map(letterOf);
  }

  /** One dead letter; undefined if there is none of that id. */
  async letter(id: string): Promise<DeadLetter | undefined> {
    const { redis, keys } = this.engine;
    const [entry] = await redis.xrangeBuffer(keys.deadEvents(), id, id);
    return entry === undefined ? undefined : letterOf(entry as unknown as [Buffer, Buffer[]]);
  }
}

function letterOf([id, [, info, , body]]: [Buffer, Buffer[]]): DeadLetter {
  const read = letterInfoSchema.parse(JSON.parse(String(info)));
  return { id: String(id), ...read, body: body ?? Buffer.alloc(0) };
}

/** When an entry of a stream was made (Unix ms). */
export function msOfId(id: string): number {
  return Number(id.split("-")[0]);
}

import { setTimeout as sleep } from "node:timers/promises";
import { TYPE_PREFIX } from "@drover/mirror/events/event";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { leadScript } from "@drover/shared/protocol/lua/lead.lua";
import { resignScript } from "@drover/shared/protocol/lua/resign.lua";
import { redactText } from "@drover/shared/redact";
import { isRedisAway } from "@drover/shared/redis/errors";
import { observe } from "@drover/shared/telemetry";
import type { ServiceContext } from "../context.js";
import { isOver } from "../runs/shown.js";
import { MOST_KEYS_PER_RUN, planObjects } from "./object-run.js";
import { type EventQueue, msOfId, type QueuedEvent, type WaitingEvent } from "./queue.js";

/** Label of the runs. */
const LABEL = "events";
/** Interval in milliseconds at which events are looked for, and time for which further ones are waited for. */
const LOOK_MS = 200;
const GATHER_MS = 200;
/** Time in milliseconds after which a silent server is replaced. */
const TERM_MS = 5_000;
/** Events that are looked at together, in pages: those of routes that cannot go on stay where they are. */
const PAGE = 5_000;
const MOST_PAGES = 20;
/** Runs of events that have not ended, beyond which further events wait: what came meanwhile goes together. */
const MOST_OPEN_RUNS = 50;
/** Waits in milliseconds after an error: the first, and the longest. */
const RETRY_MS = 1_000;
const MOST_RETRY_MS = 30_000;
/** A file of an event is tried more often than others, since nobody else asks for it: for some ten minutes. */
const RETRIES = 30;
const BACKOFF_FACTOR = 2;
/** Time in milliseconds that files wait for a storage whose breaker is open. */
const BREAKER_WAIT_MS = 86_400_000;
/** Keys in one dead letter, which is at most 64 KiB large. */
const KEYS_PER_LETTER = 15;

/** The waiting events of one object, by their ids. */
interface Hints {
  created: QueuedEvent[];
  removed: QueuedEvent[];
  /** Whether a person has let a removal pass. */
  isApproved: boolean;
}

/** A key and its events. */
type Named = [string, Hints];

/** The waiting events of one route and bucket. */
interface Batch {
  bucket: string;
  route: WaitingEvent["route"];
  byKey: Map<string, Hints>;
}

/**
 * Makes runs of the events that wait: one server of the fleet at a time. An event is taken out once its run is on
 * Redis's disk, so that it is acted on at least once, whoever dies.
 */
export class EventDispatcher {
  #isStopped = false;
  #running: Promise<void> = Promise.resolve();
  #askedMs = Number.NEGATIVE_INFINITY;
  #leads = false;
  /** Runs that this server has made, as far as they are not known to be over. */
  readonly #open = new Set<string>();
  /** Routes that could not go on, and when they are tried again. */
  readonly #held = new Map<string, { untilMs: number; waitMs: number }>();

  constructor(
    private readonly context: Pick<ServiceContext, "engine" | "config" | "keeper" | "log">,
    private readonly queue: EventQueue,
  ) {}

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { engine, log } = this.context;
    while (!this.#isStopped) {
      try {
        const found = (await this.#isOurs()) && (await this.#round());
        if (!found) await sleep(LOOK_MS);
      } catch (error) {
        if (!isRedisAway(error)) log.error({ error: redactText(messageOf(error)) }, "events wait");
        await sleep(RETRY_MS);
      }
    }
    // Otherwise the term expires.
    await resignScript.run(engine.redis, [engine.keys.eventsHolder()], [PROCESS_NAME]).catch(() => {});
  }

  /** Whether this server makes the runs. Two at once for a moment do no harm: what is done twice is found unchanged. */
  async #isOurs(): Promise<boolean> {
    const { redis, keys } = this.context.engine;
    if (performance.now() < this.#askedMs + TERM_MS / 4) return this.#leads;
    this.#askedMs = performance.now();
    this.#leads = (await leadScript.run(redis, [keys.eventsHolder()], [PROCESS_NAME, TERM_MS])) === 1;
    return this.#leads;
  }

  /** @returns whether there was anything to do. */
  async #round(): Promise<boolean> {
    if ((await this.queue.read("", 1)).length === 0) return false;
    await sleep(GATHER_MS);
    const batches = batchesOf(await this.#gather());
    if (batches.length === 0) return false;
    failpoint("events");
    for (const batch of batches) {
      try {
        await this.#dispatch(batch);
        this.#held.delete(nameOfBatch(batch));
      } catch (error) {
        if (isRedisAway(error)) throw error;
        this.#hold(batch, error);
      }
    }
    return true;
  }

  /** The oldest events whose routes are not held. */
  async #gather(): Promise<QueuedEvent[]> {
    const nowMs = performance.now();
    let after = "";
    for (let page = 0; page < MOST_PAGES; page++) {
      const read = await this.queue.read(after, PAGE);
      const free = read.filter(({ event }) => (this.#held.get(nameOfBatch(event))?.untilMs ?? 0) <= nowMs);
      if (free.length > 0 || read.length < PAGE) return free;
      after = (read.at(-1) as QueuedEvent).id;
    }
    return [];
  }

  #hold(batch: Batch, error: unknown): void {
    const name = nameOfBatch(batch);
    const waitMs = Math.min((this.#held.get(name)?.waitMs ?? RETRY_MS / 2) * 2, MOST_RETRY_MS);
    this.#held.set(name, { untilMs: performance.now() + waitMs, waitMs });
    const { bucket, route } = batch;
    this.context.log.error(
      { bucket, destination: route.destination, error: redactText(messageOf(error)) },
      "events wait",
    );
  }

  async #dispatch(batch: Batch): Promise<void> {
    const { route } = batch;
    if (route.mirror !== undefined) return await this.#tellMirror(batch, route.mirror);
    let created = [...batch.byKey].filter(([, hints]) => hints.removed.length === 0);
    let removed = [...batch.byKey].filter(([, hints]) => hints.removed.length > 0);
    const counted = removed.filter(([, { isApproved }]) => !isApproved);
    if (counted.length > route.maxDelete) {
      await this.#refuse(batch, counted);
      removed = removed.filter(([, { isApproved }]) => isApproved);
      // What was also created may be there again.
      const replaced = counted.filter(([, hints]) => hints.created.length > 0);
      created = [...created, ...replaced.map(([key, hints]): Named => [key, { ...hints, removed: [] }])];
    }
    await this.#submitAll(batch, created, "leave");
    await this.#submitAll(batch, removed, "remove");
  }

  /** Has a mirror look at the objects: its next sync does. */
  async #tellMirror({ bucket, byKey }: Batch, mirror: string): Promise<void> {
    const events = [...byKey.values()]
      .flatMap(({ created, removed }) => [...created, ...removed])
      .sort((one, other) => compareIds(one.id, other.id));
    await this.queue.pass(
      mirror,
      events.map(({ id, event }) => {
        const { type, key, timeMs = msOfId(id), sequencer = timeMs } = event;
        return JSON.stringify({
          ...{ specversion: "1.0", source: `s3://${bucket}`, id: `${type} ${key} ${sequencer}` },
          type: `${TYPE_PREFIX}${type === "removed" ? "delete" : "create"}`,
          ...{ time: new Date(timeMs).toISOString(), data: { key } },
        });
      }),
      events.map(({ id }) => id),
    );
    this.context.log.info({ mirror, bucket, events: events.length }, "mirror told");
  }

  async #submitAll(batch: Batch, all: Named[], whenGone: "leave" | "remove"): Promise<void> {
    for (let from = 0; from < all.length; from += MOST_KEYS_PER_RUN) {
      await this.#untilRoom();
      if (this.#isStopped || !(await this.#isOurs())) return;
      const some = all.slice(from, from + MOST_KEYS_PER_RUN);
      await this.#submit(
        batch,
        some.map(([key]) => key),
        whenGone,
      );
      const ids = some.flatMap(([, { created, removed }]) => idsOf([...created, ...removed]));
      await this.queue.done(ids);
      for (const id of ids) observe("events.wait_seconds", Math.max(Date.now() - msOfId(id), 0) / 1_000);
    }
  }

  async #untilRoom(): Promise<void> {
    while (this.#open.size >= MOST_OPEN_RUNS && !this.#isStopped && (await this.#isOurs())) {
      for (const id of this.#open) if (await this.#isOver(id)) this.#open.delete(id);
      if (this.#open.size >= MOST_OPEN_RUNS) await sleep(LOOK_MS);
    }
  }

  async #isOver(id: string): Promise<boolean> {
    try {
      return isOver(await this.context.engine.ledger.get(id));
    } catch (error) {
      if (error instanceof SettingsError) return true; // it is forgotten
      throw error;
    }
  }

  /** Makes a run of some objects. @throws SettingsError if none can be made now. */
  async #submit({ bucket, route }: Batch, objects: string[], whenGone: "leave" | "remove"): Promise<void> {
    const { config, keeper, log } = this.context;
    const planned = await planObjects(
      { bucket, route, keys: objects },
      {
        label: LABEL,
        whenGone,
        retries: Math.max(config.retries, RETRIES),
        backoffFactor: BACKOFF_FACTOR,
        breaker: { waitMs: BREAKER_WAIT_MS },
      },
      config,
    );
    const { id } = await keeper.submit(planned, (message) => log.warn(message));
    this.#open.add(id);
    log.info({ run: id, bucket, objects: objects.length, when_gone: whenGone }, "run of events begun");
  }

  /** Puts removals aside that are more than a route allows at once. */
  async #refuse({ bucket, route }: Batch, removed: [string, Hints][]): Promise<void> {
    const why = `${removed.length} removals at once, and max-delete of the route allows ${route.maxDelete}`;
    this.context.log.warn({ bucket, destination: route.destination, why }, "removals to dead letters");
    for (let from = 0; from < removed.length; from += KEYS_PER_LETTER) {
      const some = removed.slice(from, from + KEYS_PER_LETTER);
      const body = removalsOf(
        bucket,
        some.map(([key]) => key),
      );
      await this.queue.keep(
        {
          waiting: [],
          letters: [{ why, from: LABEL, body }],
          tally: { accepted: 0, ignored: 0, dead: some.length },
        },
        { events: some.flatMap(([, hints]) => idsOf(hints.removed)) },
      );
    }
  }
}

/** Events of the same object go together: all of them are still to be looked at. */
function batchesOf(events: QueuedEvent[]): Batch[] {
  const batches = new Map<string, Batch>();
  for (const queued of events) {
    const { event } = queued;
    const { bucket, key, route } = event;
    const name = nameOfBatch(event);
    const batch: Batch = batches.get(name) ?? { bucket, route, byKey: new Map() };
    batches.set(name, batch);
    const hints = batch.byKey.get(key) ?? { created: [], removed: [], isApproved: false };
    batch.byKey.set(key, hints);
    hints[event.type].push(queued);
    hints.isApproved ||= event.type === "removed" && event.approved === true;
  }
  return [...batches.values()];
}

function idsOf(events: readonly QueuedEvent[]): string[] {
  return events.map(({ id }) => id);
}

/** The order of ids of a stream: `milliseconds-number`. */
function compareIds(one: string, other: string): number {
  const [oneNumber, otherNumber] = [one, other].map((id) => Number(id.split("-")[1]));
  return msOfId(one) - msOfId(other) || (oneNumber as number) - (otherNumber as number);
}

function nameOfBatch({ bucket, route }: Pick<Batch, "bucket" | "route">): string {
  const { prefix, destination, deletes, maxDelete, backup, mirror } = route;
  return JSON.stringify([bucket, prefix, destination, deletes, maxDelete, backup, mirror]);
}

/** A notification of removals, as parseNotification reads it. */
function removalsOf(bucket: string, keys: string[]): Buffer {
  const Records = keys.map((key) => ({
    eventSource: "aws:s3",
    eventName: "ObjectRemoved:Delete",
    s3: { bucket: { name: bucket }, object: { key: encodeURIComponent(key) } },
  }));
  return Buffer.from(JSON.stringify({ Records }));
}

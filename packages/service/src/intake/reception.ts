import { messageOf, TransferError, UnavailableError } from "@drover/shared/errors";
import { destinationOf } from "@drover/shared/storage/registry";
import { count, observe } from "@drover/shared/telemetry";
import type { Logger } from "pino";
import type { StorageEvent } from "../events/event.js";
import { type Message, type Parsed, parseNotification } from "../events/parse.js";
import { SnsVerifier } from "../events/sns.js";
import type { FetchCertificate } from "../events/sns-certificate.js";
import type { SnsEnvelope } from "../events/sns-envelope.js";
import { SnsError } from "../events/sns-errors.js";
import { subscribeUrl } from "../events/sns-url.js";
import { type DeadLetter, type EventQueue, msOfId, type Tally, type WaitingEvent } from "./queue.js";
import { type EventRoute, type EventSettings, isNoFile, nameOf, nameOfRoute, takes } from "./route.js";

/** Reasons that a dead letter lists. */
const MOST_REASONS = 5;

export interface ReceptionOptions {
  queue: EventQueue;
  settings: EventSettings;
  /** Whether a name is of a type that the service copies. */
  wanted(name: string): boolean;
  /** Gets what Amazon SNS serves, without following redirects. */
  get: FetchCertificate;
  /** Hosts of SNS, see SnsVerifier. Default: AWS's. */
  snsHosts?: readonly string[];
  log: Logger;
}

/** Who sent a notification, and what for. */
export interface Sender {
  id: string;
  /** The routes that it may use. */
  routes: readonly EventRoute[];
  /** Whether notifications of SNS are believed because it has them, whatever their topic and signature. Default: false. */
  vouchesForSns?: boolean;
}

/** Sorts notifications into events that wait for a run, what is ignored, and dead letters, and keeps all in Redis. */
export class Reception {
  readonly #verifier: SnsVerifier;

  constructor(private readonly options: ReceptionOptions) {
    this.#verifier = this.#verifierAt(undefined);
  }

  /** @param nowMs time that messages are judged at. Default: the clock's. */
  #verifierAt(nowMs: number | undefined): SnsVerifier {
    const { settings, get, snsHosts } = this.options;
    return new SnsVerifier({
      fetchCertificate: get,
      topics: settings.topics,
      ...(snsHosts ? { hosts: snsHosts } : {}),
      ...(nowMs === undefined ? {} : { now: () => nowMs }),
    });
  }

  /**
   * Takes a notification.
   *
   * @returns once all of it is durable in Redis.
   * @throws UnavailableError if it may not be.
   */
  async receive(body: Buffer, sender: Sender): Promise<Tally> {
    const sorted = await this.#sort(body, sender);
    const { waiting, tally } = sorted;
    const isRestricted = sender.routes.length < this.options.settings.routes.length;
    const routes = isRestricted ? sender.routes.map(nameOfRoute) : undefined;
    const letters = tally.dead === 0 ? [] : [{ why: sorted.why, from: sender.id, routes, body }];
    if (tally.dead > 0)
      this.options.log.warn({ caller: sender.id, why: sorted.why }, "notification to dead letters");
    await this.options.queue.keep({ waiting, letters, tally });
    tellOrigins(sorted.origins);
    return tally;
  }

  /**
   * Takes a message of a queue, which keeps by itself what is dead.
   *
   * @returns once all the rest is durable in Redis: why something is dead; "" if nothing is.
   * @throws UnavailableError if it may not be.
   */
  async receiveQueued(body: Buffer, sender: Sender): Promise<string> {
    const { waiting, tally, why, origins } = await this.#sort(body, sender);
    await this.options.queue.keep({ waiting, letters: [], tally: { ...tally, dead: 0 } });
    tellOrigins(origins);
    return why;
  }

  /**
   * Takes a dead letter again, as if it came now, by the routes that its sender may use; its signature and limits are judged
   * as when it came. It is one no more, unless something in it still cannot be understood.
   */
  async replay({ id, body, routes: allowed }: DeadLetter): Promise<Tally> {
    const { settings, queue } = this.options;
    const routes = settings.routes.filter((each) => allowed?.includes(nameOfRoute(each)) ?? true);
    const sorted = await this.#sort(body, { routes }, this.#verifierAt(msOfId(id)));
    const waiting = sorted.waiting.map((event) => ({ ...event, approved: true as const }));
    const isDead = sorted.tally.dead > 0;
    // What stays dead has been counted.
    await queue.keep(
      { waiting, letters: [], tally: { ...sorted.tally, dead: 0 } },
      isDead ? {} : { letter: id },
    );
    return sorted.tally;
  }

  async #sort(body: Buffer, from: Omit<Sender, "id">, verifier = this.#verifier): Promise<Sorted> {
    const sorting = new Sorting(from.routes, this.options.wanted);
    const parsed: Parsed = parseNotification(body);
    const messages = parsed.is === "batch" ? parsed.messages.map(({ message }) => message) : [parsed];
    for (const message of messages) {
      if (message.is === "sns" && from.vouchesForSns)
        await this.#sortMessage(message.inner, sorting, verifier);
      else await this.#sortMessage(message, sorting, verifier);
    }
    return sorting.end();
  }

  async #sortMessage(message: Message, sorting: Sorting, verifier: SnsVerifier): Promise<void> {
    switch (message.is) {
      case "events":
        for (const event of message.events) sorting.event(event);
        for (const { index, why } of message.problems) sorting.dead(`record ${index}: ${why}`);
        sorting.ignored(message.ignored);
        return;
      case "test":
        return sorting.ignored(1);
      case "unknown":
        return sorting.dead(message.why);
      case "sns":
      case "confirmation": {
        const why = await this.#disbelief(message.envelope, verifier);
        if (why !== undefined) return sorting.dead(why);
        if (message.is === "sns") return await this.#sortMessage(message.inner, sorting, verifier);
        return sorting.ignored(1);
      }
    }
  }

  /**
   * Why a message of SNS is not believed; undefined if it is. A subscription that it asks to confirm is confirmed.
   *
   * @throws UnavailableError where that cannot be known now, because SNS cannot be reached: whoever sent it does so again.
   */
  async #disbelief(envelope: SnsEnvelope, verifier: SnsVerifier): Promise<string | undefined> {
    const { settings, get, snsHosts, log } = this.options;
    if (settings.topics.length === 0)
      return "it is a message of Amazon SNS: name the topics that may send as events.sns.topics in drover.yaml";
    try {
      await verifier.verify(envelope);
      if (envelope.Type === "SubscriptionConfirmation") {
        await get(subscribeUrl(envelope, snsHosts));
        log.info({ topic: envelope.TopicArn }, "subscription of SNS confirmed");
      } else if (envelope.Type === "UnsubscribeConfirmation")
        log.warn({ topic: envelope.TopicArn }, "SNS tells no more of this topic");
      return undefined;
    } catch (error) {
      const cause = error instanceof SnsError ? error.cause : error;
      if (cause instanceof TransferError && !cause.permanent)
        throw new UnavailableError(`SNS cannot be asked now: send it again (${messageOf(cause)})`);
      if (error instanceof SnsError) return error.message;
      if (error instanceof TransferError) return `the subscription cannot be confirmed: ${messageOf(error)}`;
      throw error;
    }
  }
}

interface Sorted {
  waiting: WaitingEvent[];
  tally: Tally;
  /** Why something is dead; "" if nothing is. */
  why: string;
  /** What became of each event, and who sent it. */
  origins: { origin: string; result: keyof Tally; timeMs?: number | undefined }[];
}

function tellOrigins(origins: Sorted["origins"]): void {
  for (const { origin, result, timeMs } of origins) {
    count("events.received", 1, () => ({ origin, result }));
    if (timeMs !== undefined) observe("events.lag_seconds", Math.max(Date.now() - timeMs, 0) / 1_000);
  }
}

/** What becomes of the parts of one notification. */
class Sorting {
  readonly #waiting: WaitingEvent[] = [];
  readonly #tally: Tally = { accepted: 0, ignored: 0, dead: 0 };
  readonly #reasons: string[] = [];
  readonly #origins: Sorted["origins"] = [];

  constructor(
    private readonly routes: readonly EventRoute[],
    private readonly wanted: (name: string) => boolean,
  ) {}

  event(event: StorageEvent): void {
    const { type, bucket, key, origin, timeMs } = event;
    const routes = this.routes.filter(
      (route) =>
        takes(route, event) &&
        (type === "created" || route.deletes) &&
        !isNoFile(key) &&
        this.wanted(nameOf(route, key)),
    );
    const wrong = routes.map((route) => wrongName(route, key)).find((each) => each !== undefined);
    if (routes.length === 0) this.ignored(1, origin);
    else if (wrong !== undefined) this.dead(wrong, origin);
    else {
      for (const { bucket: _, secret: __, ...route } of routes)
        this.#waiting.push({ type, bucket, key, route, timeMs, sequencer: event.sequencer });
      this.#tally.accepted++;
      this.#origins.push({ origin, result: "accepted", timeMs });
    }
  }

  /** @param origin default: it is not known. */
  ignored(count: number, origin = "unknown"): void {
    this.#tally.ignored += count;
    for (let nth = 0; nth < count; nth++) this.#origins.push({ origin, result: "ignored" });
  }

  dead(why: string, origin = "unknown"): void {
    this.#tally.dead++;
    this.#origins.push({ origin, result: "dead" });
    if (this.#reasons.length < MOST_REASONS) this.#reasons.push(why);
  }

  end(): Sorted {
    return {
      waiting: this.#waiting,
      tally: this.#tally,
      why: this.#reasons.join("; "),
      origins: this.#origins,
    };
  }
}

/** Why no file of the destination can have the name of an object; undefined if one can. */
function wrongName(route: EventRoute, key: string): string | undefined {
  if (!key.isWellFormed()) return "the key is not valid Unicode";
  if (route.mirror !== undefined) return undefined; // it looks itself
  try {
    destinationOf(route.destination).checkName(nameOf(route, key));
    return undefined;
  } catch (error) {
    if (error instanceof TransferError) return error.message;
    throw error;
  }
}

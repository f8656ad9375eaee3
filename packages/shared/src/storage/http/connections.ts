import { Client, type Dispatcher } from "undici";

/** Idle time in ms after which Linux acknowledges data on a connection at once instead of 40 ms later. */
const REST_MS = 45;
/** Connections that may be idle beyond those in use. */
const SPARE = 128;
/** Size in bytes up to which a response should arrive at once. */
const SMALL_BYTES = 64 << 10;
/** Delay in ms between header and body from which the body counts as held back. */
const HELD_MS = 30;
/** Surplus of held-back responses over others from which the service counts as holding back. */
const SURE = 4;

interface Asked {
  options: Dispatcher.DispatchOptions;
  handler: Dispatcher.DispatchHandler;
}

/**
 * Connections to services.
 *
 * A service that writes header and body of a response separately, with Nagle's algorithm (RFC 896) active,
 * sends the body only when the header is acknowledged; Ceph's gateway does so by default. On a busy
 * connection, the acknowledgement is delayed by 40 ms (RFC 1122, 4.2.3.2), and a program cannot request it
 * earlier; on a connection that was idle, it is immediate. So for such a service, more connections are opened
 * than there are requests, and each stays idle for a while before it is used again.
 */
export class Connections {
  readonly #origins = new Map<string, OriginConnections>();

  /**
   * @param most requests at once per origin; others wait.
   * @param options of each connection.
   */
  constructor(
    private readonly most: number,
    private readonly options: Client.Options,
  ) {}

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    const name = String(options.origin);
    let origin = this.#origins.get(name);
    if (!origin) {
      origin = new OriginConnections(this.most, () => new Client(name, this.options));
      this.#origins.set(name, origin);
    }
    origin.dispatch({ options, handler });
  }

  /** Aborts all requests. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#origins.values()].map((origin) => origin.destroy()));
  }
}

class OriginConnections {
  readonly #all: Client[] = [];
  /** Idle connections and since when (performance.now()), in that order. */
  readonly #resting: { client: Client; sinceMs: number }[] = [];
  readonly #waiting: Asked[] = [];
  #under = 0;
  #held = 0;
  #destroyed = false;

  constructor(
    private readonly most: number,
    private readonly open: () => Client,
  ) {}

  dispatch(asked: Asked): void {
    if (this.#under >= this.most) {
      this.#waiting.push(asked);
      return;
    }
    this.#under++;
    const nowMs = performance.now();
    const [used] = this.#resting.splice(this.#best(nowMs), 1);
    if (used) {
      this.#use(used.client, nowMs - used.sinceMs, asked);
      return;
    }
    const client = this.open();
    this.#all.push(client);
    this.#use(client, REST_MS, asked); // a new connection acknowledges at once too
  }

  /**
   * Index of the connection to use, the most recently used suitable one, so that the others time out. An
   * index without a connection asks for a new one.
   */
  #best(nowMs: number): number {
    const resting = this.#resting;
    if (this.#held < SURE) return resting.length - 1;
    const rested = resting.findLastIndex(({ sinceMs }) => nowMs - sinceMs >= REST_MS);
    if (rested >= 0) return rested;
    return this.#all.length < this.most + SPARE ? resting.length : 0;
  }

  #use(client: Client, restedMs: number, { options, handler }: Asked): void {
    let headerMs = 0;
    let bytes = 0;
    let ended = false;
    const end = () => {
      if (ended) return;
      ended = true;
      this.#under--;
      this.#resting.push({ client, sinceMs: performance.now() });
      const next = this.#destroyed ? undefined : this.#waiting.shift();
      if (next) this.dispatch(next);
    };
    client.dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onBodySent: (chunk) => handler.onBodySent?.(chunk),
      onResponseStart: (controller, status, headers, message) => {
        headerMs = performance.now();
        handler.onResponseStart?.(controller, status, headers, message);
      },
      onResponseData: (controller, chunk) => {
        bytes += chunk.length;
        handler.onResponseData?.(controller, chunk);
      },
      onResponseEnd: (controller, trailers) => {
        if (restedMs < REST_MS && bytes > 0 && bytes <= SMALL_BYTES)
          this.#learn(performance.now() - headerMs);
        end();
        handler.onResponseEnd?.(controller, trailers);
      },
      onResponseError: (controller, error) => {
        end();
        handler.onResponseError?.(controller, error);
      },
    });
  }

  /** @param ms time from the header of a response to its end. */
  #learn(ms: number): void {
    this.#held += ms >= HELD_MS ? 1 : -1;
    this.#held = Math.min(Math.max(this.#held, 0), 2 * SURE);
  }

  async destroy(): Promise<void> {
    this.#destroyed = true;
    await Promise.all(this.#all.map((client) => client.destroy()));
    // undici has no controller for requests never sent; no handler here reads it.
    for (const { handler } of this.#waiting.splice(0))
      handler.onResponseError?.(undefined as never, new Error("closed"));
  }
}

import { setTimeout as sleep } from "node:timers/promises";
import type { ShownFile, ShownRun } from "../runs/shown.js";
import type { SubmissionInput } from "../runs/submission.js";
import { readEvents, type ServerEvent } from "./event-stream.js";

/** A run, as the service tells of it. */
export type ServiceRun = ShownRun;
/** What became of a file, as the service tells of it. */
export type ServiceFile = ShownFile;
/** What a run is asked to do over HTTP: see `POST /api/v1/runs` of the service's document. */
export type ServiceRunRequest = SubmissionInput;

export interface ClientOptions {
  /** Where the service is, e.g. `http://localhost:8888`. */
  url: string;
  /** Sent as `Authorization: Bearer`. Default: none. */
  token?: string;
  /** Tries in all where the service cannot be reached, is overloaded or has lost its Redis. Default 5. */
  tries?: number;
  /** Default: that of the platform. */
  fetch?: typeof fetch;
}

/** An error that the service told of. */
export class ServiceError extends Error {
  override name = "ServiceError";

  /**
   * @param status of the answer.
   * @param requestId under which the service's log has it; undefined if it named none.
   */
  constructor(
    message: string,
    readonly status: number,
    readonly requestId: string | undefined,
  ) {
    super(message);
  }
}

/** Longest wait between two tries, in milliseconds; and the first one, which doubles. */
const MOST_DELAY_MS = 30_000;
const FIRST_DELAY_MS = 500;
/** The service answers at the latest after this time, in seconds, whether or not the run is over. */
const WAIT_SECONDS = 30;

/** Enqueues runs at the HTTP service of Drover, and tells how they stand. For Node and for browsers. */
export class DroverClient {
  readonly #options: Required<Omit<ClientOptions, "token">> & { token: string | undefined };

  constructor({ url, token, tries = 5, fetch: send = fetch }: ClientOptions) {
    this.#options = { url: url.replace(/\/+$/, ""), token, tries, fetch: send };
  }

  /**
   * Starts a run. It is on the service's disk when this resolves.
   *
   * @throws ServiceError, such as status 422 for a request that cannot be.
   */
  async enqueue(request: ServiceRunRequest): Promise<ServiceRun> {
    return await this.#json("POST", "/api/v1/runs", request);
  }

  /** How a run stands now. @throws ServiceError status 404 if there is no such run. */
  async run(id: string): Promise<ServiceRun> {
    return await this.#json("GET", `/api/v1/runs/${encodeURIComponent(id)}`);
  }

  /**
   * Waits until a run is over: done, cancelled, or interrupted because a source could not be listed to its end.
   *
   * @param signal ends the waiting, not the run.
   */
  async wait(id: string, signal?: AbortSignal): Promise<ServiceRun> {
    for (;;) {
      signal?.throwIfAborted();
      const path = `/api/v1/runs/${encodeURIComponent(id)}?wait=${WAIT_SECONDS}`;
      const run = await this.#json<ServiceRun>("GET", path, undefined, signal);
      if (run.state !== "running" && !(run.state === "interrupted" && run.sealed)) return run;
    }
  }

  /**
   * Yields what becomes of a run's files until it is over: those that are still kept, and each one that ends from now on. A
   * connection that breaks is made again, and nothing is missed or told twice.
   *
   * @returns the run at its end.
   * @throws ServiceError.
   */
  async *follow(id: string, signal?: AbortSignal): AsyncGenerator<ServiceFile, ServiceRun> {
    const path = `/api/v1/runs/${encodeURIComponent(id)}/events`;
    for (let lastId: string | undefined; ; ) {
      const headers: Record<string, string> = lastId === undefined ? {} : { "Last-Event-ID": lastId };
      const response = await this.#send("GET", path, { headers, ...(signal ? { signal } : {}) });
      try {
        for await (const event of readEvents(response.body as ReadableStream<Uint8Array>)) {
          lastId = event.id ?? lastId;
          if (event.event === "file") yield dataOf<ServiceFile>(event);
          if (event.event === "end") return dataOf<ServiceRun>(event);
        }
      } catch (error) {
        if (signal?.aborted || !(error instanceof TypeError)) throw error; // fetch calls a broken connection so
      }
      await sleep(FIRST_DELAY_MS, undefined, signal ? { signal } : {});
    }
  }

  /** Takes up again what failed. */
  async retry(id: string): Promise<ServiceRun> {
    return await this.#json("POST", `/api/v1/runs/${encodeURIComponent(id)}/retry`);
  }

  /** Stops a run: what is not done ends `cancelled`. */
  async cancel(id: string): Promise<ServiceRun> {
    return await this.#json("POST", `/api/v1/runs/${encodeURIComponent(id)}/cancel`);
  }

  async #json<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const init: RequestInit = signal ? { signal } : {};
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { "Content-Type": "application/json" };
    }
    return (await (await this.#send(method, path, init)).json()) as T;
  }

  /** Sends a request, again where that may help. What makes a run carries a key, so that it makes one. */
  async #send(method: string, path: string, init: RequestInit): Promise<Response> {
    const { url, token, tries, fetch: send } = this.#options;
    const headers = new Headers(init.headers);
    if (token !== undefined) headers.set("Authorization", `Bearer ${token}`);
    if (method === "POST") headers.set("Idempotency-Key", crypto.randomUUID());
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= tries;
      let delayMs = Math.random() * Math.min(FIRST_DELAY_MS * 2 ** attempt, MOST_DELAY_MS);
      try {
        const response = await send(url + path, { ...init, method, headers });
        if (response.ok) return response;
        const error = await errorOf(response);
        if (last || !(response.status === 429 || response.status === 409 || response.status === 503))
          throw error;
        const retryAfter = Number(response.headers.get("retry-after"));
        if (response.status === 409 && !(retryAfter > 0)) throw error;
        if (retryAfter > 0) delayMs = Math.min(retryAfter * 1000, MOST_DELAY_MS);
      } catch (error) {
        if (error instanceof ServiceError || init.signal?.aborted || last) throw error;
      }
      await sleep(delayMs, undefined, init.signal ? { signal: init.signal } : {});
    }
  }
}

async function errorOf(response: Response): Promise<ServiceError> {
  const text = await response.text();
  let problem: { detail?: string; request_id?: string } = {};
  try {
    problem = JSON.parse(text) as typeof problem;
  } catch {
    // something between here and the service answered
  }
  return new ServiceError(
    problem.detail ?? `HTTP status ${response.status}`,
    response.status,
    problem.request_id,
  );
}

function dataOf<T>({ data }: ServerEvent): T {
  return JSON.parse(data) as T;
}

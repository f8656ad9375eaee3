import { observe } from "../telemetry.js";

/** Requests of one call. More would keep Redis from everybody else for too long. */
const MAX_REQUESTS = 128;
/** From so many files at once on, there is always a request to share a call with. */
const MANY_FILES = 32;
/** How far calls begin apart then, in milliseconds. It halves the number of calls. */
const APART_MS = 2;

/**
 * How far calls for files begin apart, in milliseconds: 2 where 32 files and more are copied at once. Where they are
 * fewer, a request would only wait: 0.
 */
export function callsApartMs(filesAtOnce: number): number {
  return filesAtOnce >= MANY_FILES ? APART_MS : 0;
}

interface Waiting<Request, Answer> {
  request: Request;
  resolve: (answer: Answer) => void;
  reject: (error: unknown) => void;
}

/**
 * Gathers requests into calls: many files at once then share one round trip and one start of a script. A request that
 * comes alone waits for the end of this turn of the event loop.
 */
export class Batcher<Request, Answer> {
  #waiting: Waiting<Request, Answer>[] = [];
  /** When the last call began (monotonic ms). */
  #calledMs = Number.NEGATIVE_INFINITY;
  readonly #labels: { operation: string };

  /**
   * @param operation what the requests ask for, in telemetry.
   * @param send makes a call for up to 128 requests. Answers in their order; where it fails, all of them fail.
   * @param apartMs time between the beginnings of two calls at least: a request that comes close behind a call waits
   *   for others. Default 0.
   */
  constructor(
    operation: string,
    private readonly send: (requests: Request[]) => Promise<Answer[]>,
    private readonly apartMs = 0,
  ) {
    this.#labels = { operation };
  }

  ask(request: Request): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push({ request, resolve, reject }) > 1) return;
      const waitMs = this.apartMs === 0 ? 0 : this.#calledMs + this.apartMs - performance.now();
      if (waitMs > 0) setTimeout(() => this.#flush(), waitMs);
      else setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    this.#calledMs = performance.now();
    const all = this.#waiting;
    this.#waiting = [];
    for (let from = 0; from < all.length; from += MAX_REQUESTS)
      this.#call(all.slice(from, from + MAX_REQUESTS));
  }

  #call(waiting: Waiting<Request, Answer>[]): void {
    observe("redis.requests_per_call", waiting.length, this.#labels);
    this.send(waiting.map((each) => each.request)).then(
      (answers) => {
        for (const [at, each] of waiting.entries()) each.resolve(answers[at] as Answer);
      },
      (error) => {
        for (const each of waiting) each.reject(error);
      },
    );
  }
}

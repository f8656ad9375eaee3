import { createHash } from "node:crypto";
import { type ChainableCommander, Command, type Redis } from "ioredis";

/** A Lua script, sent by its digest, and whole only when Redis does not know it yet. */
export class Script {
  readonly #sha: string;

  constructor(readonly lua: string) {
    this.#sha = createHash("sha1").update(lua).digest("hex");
  }

  run(redis: Redis, keys: string[], args: (string | number | Buffer)[]): Promise<unknown> {
    return this.#run(redis, keys, args, "utf8");
  }

  /** The same, every string of the answer as its bytes. */
  runForBytes(redis: Redis, keys: string[], args: (string | number | Buffer)[]): Promise<unknown> {
    return this.#run(redis, keys, args, null);
  }

  /** Not by `redis.evalsha(...keys, ...args)`: that copies what are often a thousand arguments four times. */
  async #run(
    redis: Redis,
    keys: string[],
    args: (string | number | Buffer)[],
    replyEncoding: "utf8" | null,
  ): Promise<unknown> {
    const all = [keys.length, ...keys, ...args];
    const send = (name: string, script: string) =>
      redis.sendCommand(new Command(name, [script, all], { replyEncoding }));
    try {
      return await send("evalsha", this.#sha);
    } catch (error) {
      if (!String((error as Error).message).startsWith("NOSCRIPT")) throw error;
      return send("eval", this.lua);
    }
  }
}

/**
 * Sends again what an interruption left unanswered: ioredis resends single commands alone, and no pipelines. What it
 * does must be harmless twice.
 *
 * @param redis whom it is sent to. Once that is closed for good, nothing is sent again.
 */
export async function resent<T>(redis: { status: string }, send: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (redis.status === "end" || !isInterrupted(error as Error)) throw error;
    }
  }
}

/**
 * The connection broke; or that of a Cluster's node did, which ioredis leaves to the caller while the Cluster itself
 * is away; or a node that was no master refused a script of BullMQ's, which ioredis then takes for known there.
 */
const INTERRUPTED = /^(Command aborted due to connection close|Connection is closed|NOSCRIPT)/;

function isInterrupted(error: Error & { previousErrors?: Error[] }): boolean {
  return (
    INTERRUPTED.test(error.message) || (error.previousErrors?.some((each) => isInterrupted(each)) ?? false)
  );
}

/** The answers of a pipeline, sent again until it is answered; throws the first error among them. */
export function pipelined(redis: Redis, make: (redis: Redis) => ChainableCommander): Promise<unknown[]> {
  return resent(redis, async () => {
    const answers = (await make(redis).exec()) ?? [];
    return answers.map(([error, value]) => {
      if (error) throw error;
      return value;
    });
  });
}

/**
 * How far calls for files begin apart, in milliseconds. Where many are carried at once there are always some to share a
 * call with, which halves the number of calls; where few are, each would only wait.
 */
export function callsApartMs(filesAtOnce: number): number {
  return filesAtOnce >= 32 ? 2 : 0;
}

/**
 * Gathers requests into calls: many files in flight then share one round trip and one script start. A request that comes
 * alone waits for the end of its turn of the event loop.
 */
export class Batcher<Request, Answer> {
  #waiting: { request: Request; resolve: (answer: Answer) => void; reject: (error: unknown) => void }[] = [];
  /** When the last call began (monotonic ms). */
  #calledMs = Number.NEGATIVE_INFINITY;

  /**
   * @param send answers in the order of the requests.
   * @param apartMs calls begin so far apart at least: a request that comes close behind a call waits for others.
   */
  constructor(
    private readonly send: (requests: Request[]) => Promise<Answer[]>,
    private readonly apartMs = 0,
    private readonly most = 128,
  ) {}

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
    for (let from = 0; from < all.length; from += this.most) {
      const slice = all.slice(from, from + this.most);
      this.send(slice.map((each) => each.request)).then(
        (answers) => {
          for (const [at, each] of slice.entries()) each.resolve(answers[at] as Answer);
        },
        (error) => {
          for (const each of slice) each.reject(error);
        },
      );
    }
  }
}

import { createHash } from "node:crypto";
import { type ChainableCommander, Command, type Redis } from "ioredis";
import { count, span } from "../telemetry.js";
import { isInterrupted, isUnknownScript } from "./errors.js";

type Argument = string | number | Buffer;

/** A Lua script. It is sent by its digest, and whole only when Redis does not know it yet. */
export class Script {
  readonly #digest: string;
  readonly #attributes: { operation: string };

  /** @param name what telemetry calls it. */
  constructor(
    name: string,
    readonly lua: string,
  ) {
    this.#digest = createHash("sha1").update(lua).digest("hex");
    this.#attributes = { operation: name };
  }

  /** @returns the answer, its strings decoded as UTF-8. */
  run(redis: Redis, keys: string[], args: Argument[]): Promise<unknown> {
    return this.#run(redis, keys, args, "utf8");
  }

  /** @returns the answer, each of its strings as bytes. */
  runForBytes(redis: Redis, keys: string[], args: Argument[]): Promise<unknown> {
    return this.#run(redis, keys, args, null);
  }

  async #run(redis: Redis, keys: string[], args: Argument[], replyEncoding: "utf8" | null): Promise<unknown> {
    const all = [keys.length, ...keys, ...args];
    // Not by `redis.evalsha(...)`: that copies what are often a thousand arguments four times.
    const send = (command: string, script: string) =>
      redis.sendCommand(new Command(command, [script, all], { replyEncoding }));
    const trip = span("redis.script", this.#attributes);
    try {
      let answer: unknown;
      try {
        answer = await send("evalsha", this.#digest);
      } catch (error) {
        if (!isUnknownScript(error)) throw error;
        answer = await send("eval", this.lua);
      }
      trip.end();
      return answer;
    } catch (error) {
      trip.end(error);
      throw error;
    }
  }
}

/**
 * Sends again what an interruption left unanswered: ioredis does so for single commands alone, and not for pipelines.
 *
 * @param redis whom it is sent to. Once that is closed for good, nothing is sent again.
 * @param send must be harmless when it is done twice.
 * @throws whatever `send` throws that is no interruption.
 */
export async function resent<T>(redis: { status: string }, send: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (redis.status === "end" || !isInterrupted(error)) throw error;
      count("redis.resent");
    }
  }
}

/**
 * The answers of a pipeline, which is sent again until it is answered.
 *
 * @throws the first error among the answers.
 */
export function pipelined(redis: Redis, make: (redis: Redis) => ChainableCommander): Promise<unknown[]> {
  return resent(redis, async () => {
    const answers = (await make(redis).exec()) ?? [];
    return answers.map(([error, value]) => {
      if (error) throw error;
      return value;
    });
  });
}

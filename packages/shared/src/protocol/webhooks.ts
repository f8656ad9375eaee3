import type { Redis } from "ioredis";
import { pipelined } from "../redis/script.js";
import { type WebhookTarget, webhookTargetSchema } from "../run.js";
import { RUN, WEBHOOK } from "./fields.js";
import type { Keys } from "./keys.js";
import { noteWebhookScript } from "./lua/note-webhook.lua.js";

/** Runs that are looked at in one call. */
const PAGE = 200;

/**
 * `waiting`: for the end of the run, or for the next try. `delivered`. `failed`: the receiver wants it no more.
 * `given-up`: it was tried for too long. `skipped`: the run ended in a way that was not asked for.
 */
export const WEBHOOK_STATES = ["waiting", "delivered", "failed", "given-up", "skipped"] as const;
export type WebhookState = (typeof WEBHOOK_STATES)[number];

/** How a run's webhook stands. */
export interface WebhookStanding {
  /** Without secrets. */
  url: string;
  state: WebhookState;
  attempts: number;
  /** Status of the last answer; undefined where there was none. */
  lastStatus: number | undefined;
  /** Why the last try did not succeed; undefined where it did. */
  lastError: string | undefined;
  /** Where it leads; undefined once it has ended. */
  target: WebhookTarget | undefined;
}

/** The webhooks of runs: how they stand, and which wait for the ends of their runs. */
export class Webhooks {
  constructor(
    private readonly redis: Redis,
    private readonly keys: Keys,
  ) {}

  /** How the webhook of a run stands; undefined where it has none. */
  async get(id: string): Promise<WebhookStanding | undefined> {
    const hash = await this.redis.hgetall(this.keys.webhook(id));
    const { [WEBHOOK.state]: state, [WEBHOOK.url]: url, [WEBHOOK.target]: target } = hash;
    if (state === undefined || url === undefined) return undefined;
    const status = hash[WEBHOOK.status] ?? "";
    return {
      url,
      state: state as WebhookState,
      attempts: Number(hash[WEBHOOK.attempts]),
      lastStatus: status === "" ? undefined : Number(status),
      lastError: hash[WEBHOOK.error] || undefined,
      target: target === undefined ? undefined : webhookTargetSchema.parse(JSON.parse(target)),
    };
  }

  /**
   * Records what became of it. Nothing happens to one that has ended.
   *
   * @param change any state but `waiting` ends it.
   */
  async note(id: string, change: Omit<WebhookStanding, "url" | "target">): Promise<void> {
    const { state, attempts, lastStatus = "", lastError = "" } = change;
    await noteWebhookScript.run(
      this.redis,
      [this.keys.webhook(id)],
      [
        ...[state === "waiting" ? 0 : 1, WEBHOOK.state, state, WEBHOOK.attempts, attempts],
        ...[WEBHOOK.status, lastStatus, WEBHOOK.error, lastError],
      ],
    );
  }

  /** Runs whose webhooks wait for their ends and that may have come to them: nobody expands or carries them. */
  async ending(): Promise<string[]> {
    const { keys } = this;
    const ids = await this.redis.zrange(keys.webhooks(), "0", "-1");
    const ending: string[] = [];
    for (let from = 0; from < ids.length; from += PAGE) {
      const page = ids.slice(from, from + PAGE);
      const answers = await pipelined(this.redis, (redis) => {
        const pipeline = redis.pipeline();
        for (const id of page)
          pipeline.hmget(keys.run(id), RUN.state, RUN.sealed).zscore(keys.expanding(), id);
        return pipeline;
      });
      for (const [at, id] of page.entries()) {
        const [state, sealed] = answers[at * 2] as (string | null)[];
        const isExpanded = answers[at * 2 + 1] !== null;
        if (state !== "running" || (sealed !== "1" && !isExpanded)) ending.push(id);
      }
    }
    return ending;
  }

  /** Waits for the end of a run no more. */
  async settle(id: string): Promise<void> {
    await this.redis.zrem(this.keys.webhooks(), id);
  }
}

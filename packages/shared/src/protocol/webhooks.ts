import type { Redis } from "ioredis";
import { pipelined } from "../redis/script.js";
import { type WebhookTarget, webhookTargetSchema } from "../run.js";
import { RUN, WEBHOOK } from "./fields.js";
import type { Keys } from "./keys.js";
import { noteWebhookScript } from "./lua/note-webhook.lua.js";
import { settleWebhookScript } from "./lua/settle-webhook.lua.js";

/** Runs that are looked at in one call, whether anybody works on them. */
const LOOKED_AT_ONCE = 500;
/** Where a webhook leads is forgotten so long after it has ended, in seconds: a retry after that is not told. */
const TARGET_TTL_SECONDS = 7 * 86_400;

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
  /** How often the run was taken up again after an end that was noted. */
  round: number;
}

/** What became of the message of an end. */
export type WebhookNote = Omit<WebhookStanding, "url" | "target">;

/** The webhooks of runs: how they stand, and which wait for the ends of their runs. */
export class Webhooks {
  /** Place of the run that is looked at next. */
  #looked = 0;

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
      round: Number(hash[WEBHOOK.round] ?? 0),
    };
  }

  /**
   * Records what became of the message of an end. Nothing happens to one that has ended, or whose run was taken up again since.
   *
   * @param change any state but `waiting` ends it.
   */
  async note(id: string, { round, state, ...change }: WebhookNote): Promise<void> {
    const { attempts, lastStatus = "", lastError = "" } = change;
    const keptSeconds = state === "waiting" ? "" : state === "failed" ? 0 : TARGET_TTL_SECONDS;
    await noteWebhookScript.run(
      this.redis,
      [this.keys.webhook(id), this.keys.webhookTarget(id)],
      [
        ...[round, keptSeconds, WEBHOOK.state, state, WEBHOOK.attempts, attempts],
        ...[WEBHOOK.status, lastStatus, WEBHOOK.error, lastError],
      ],
    );
  }

  /**
   * Runs whose webhooks wait for their ends and that may have come to them: all that have ended, and of the others, so many
   * at each call in turn, those that nobody expands or carries.
   */
  async ending(): Promise<string[]> {
    const { keys } = this;
    const [open = ""] = keys.runIndexes();
    const ended = await this.redis.zdiff(2, keys.webhooks(), open);
    const end = this.#looked + LOOKED_AT_ONCE;
    const page = await this.redis.zrange(keys.webhooks(), this.#looked, String(end - 1));
    this.#looked = page.length < LOOKED_AT_ONCE ? 0 : end;
    if (page.length === 0) return ended;
    const answers = await pipelined(this.redis, (redis) => {
      const pipeline = redis.pipeline();
      for (const id of page) pipeline.hmget(keys.run(id), RUN.state, RUN.sealed).zscore(keys.expanding(), id);
      return pipeline;
    });
    const ending = new Set(ended);
    for (const [at, id] of page.entries()) {
      const [state, sealed] = answers[at * 2] as (string | null)[];
      const isExpanded = answers[at * 2 + 1] !== null;
      if (state !== "running" || (sealed !== "1" && !isExpanded)) ending.add(id);
    }
    return [...ending];
  }

  /**
   * Waits for the end of a run no more, unless the run was taken up again since.
   *
   * @param generation of the run at the end that was noted. Default: the run is forgotten.
   */
  async settle(id: string, generation?: number): Promise<void> {
    const { redis, keys } = this;
    if (generation === undefined) await redis.zrem(keys.webhooks(), id);
    else
      await settleWebhookScript.run(
        redis,
        [keys.run(id), keys.webhook(id), keys.webhookTarget(id), keys.webhooks()],
        [id, generation],
      );
  }
}

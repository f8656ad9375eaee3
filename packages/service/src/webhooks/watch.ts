import { type RunSummary, summaryOf } from "@drover/producer/runs/summary";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { successfulFiles } from "@drover/shared/outcome";
import { Webhooks } from "@drover/shared/protocol/webhooks";
import { redactText } from "@drover/shared/redact";
import type { WebhookEvent } from "@drover/shared/run";
import type { ServiceContext } from "../context.js";
import { isOver, showRun } from "../runs/shown.js";
import { Deliveries } from "./deliveries.js";

/** Interval in milliseconds at which runs are looked at whose ends somebody wants to be told of. */
const LOOK_MS = 1_000;

/**
 * Sees to it that those who want to be told of the ends of their runs are. All servers look; what they find is scheduled
 * once.
 */
export class WebhookWatch {
  readonly #deliveries: Deliveries;
  readonly #webhooks: Webhooks;
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  #looking: Promise<void> = Promise.resolve();

  constructor(private readonly context: ServiceContext) {
    const { redis, keys } = context.engine;
    this.#webhooks = new Webhooks(redis, keys);
    this.#deliveries = new Deliveries(context);
    this.#look();
  }

  #look(): void {
    this.#looking = (async () => {
      try {
        for (const id of await this.#webhooks.ending()) {
          if (this.#isStopped) return;
          await this.#tellEnd(id);
        }
      } catch (error) {
        this.context.log.warn(
          { error: redactText(messageOf(error)) },
          "cannot look for runs that have ended",
        );
      }
      if (!this.#isStopped) this.#timer = setTimeout(() => this.#look(), LOOK_MS);
    })();
  }

  async #tellEnd(id: string): Promise<void> {
    const standing = await this.#webhooks.get(id);
    if (standing?.target === undefined) return await this.#webhooks.settle(id); // another server was quicker
    const summary = await this.#summary(id);
    if (summary === undefined) return await this.#webhooks.settle(id);
    if (!isOver(summary.run)) return;
    const event = eventOf(summary);
    if (standing.target.events.includes(event)) {
      const timestamp = new Date(summary.run.endedMs ?? Date.now()).toISOString();
      const body = JSON.stringify({ type: `run.${event}`, timestamp, data: showRun(summary) });
      await this.#deliveries.schedule({ run: id, round: standing.round, body });
      failpoint("scheduled");
    } else
      await this.#webhooks.note(id, {
        round: standing.round,
        state: "skipped",
        attempts: 0,
        lastStatus: undefined,
        lastError: undefined,
      });
    await this.#webhooks.settle(id, summary.run.generation);
  }

  /** @returns undefined where the run is forgotten. */
  async #summary(id: string): Promise<RunSummary | undefined> {
    try {
      return await summaryOf(this.context.engine, id);
    } catch (error) {
      if (error instanceof SettingsError) return undefined;
      throw error;
    }
  }

  /** Stops once the tries that are under way have ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await Promise.allSettled([this.#looking, this.#deliveries.stop()]);
  }
}

/** How a run that is over has ended. */
function eventOf({ run, counts }: RunSummary): WebhookEvent {
  if (run.state === "cancelled") return "cancelled";
  const isClean = successfulFiles(counts) === counts.files && run.deletionRefused === "";
  return run.state === "done" && isClean ? "done" : "failed";
}

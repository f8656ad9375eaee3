import { setTimeout as sleep } from "node:timers/promises";
import { FleetRun } from "@drover/producer/runs/carry/fleet-run";
import { type ResumeOptions, resumeRun } from "@drover/producer/runs/carry/resume";
import { SILENT } from "@drover/producer/runs/carry/run-handle";
import { submitDetached } from "@drover/producer/runs/carry/submit";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import type { Engine } from "@drover/shared/engine";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { CreatedAlong } from "@drover/shared/protocol/record-run";
import { redactText } from "@drover/shared/redact";
import type { Run } from "@drover/shared/run";
import type { Logger } from "pino";
import type { DurableWrites } from "../durable-writes.js";

/** Runs of servers that died are looked for at this interval, in milliseconds. */
const LOOK_MS = 3_000;
/** Runs that one server expands at once. The others wait for their turn. */
const MOST_AT_ONCE = 16;
/** Redis before 7.2 does not tell what is on its disk: it writes there every second. */
const EVERYSEC_MS = 1_200;

/** Whether what failed is retried, and which of it. */
export type Resumption = Pick<ResumeOptions, "retry" | "only">;

export interface KeeperOptions {
  engine: Engine;
  durable: DurableWrites;
  stateDir: string;
  keepRuns: number;
  log: Logger;
}

/**
 * Expands the runs that were asked for over the API, after the answer to who asked: their files are found and submitted to
 * the fleet. Those of a server that died are taken over by any other.
 */
export class RunKeeper {
  readonly #stop = new AbortController();
  readonly #waiting: (() => Promise<void>)[] = [];
  readonly #ours = new Set<string>();
  readonly #working = new Set<Promise<void>>();
  /** Runs that are confirmed, by id. */
  readonly #confirming = new Map<string, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: KeeperOptions) {}

  /** Begins to look for runs that nobody expands any more. */
  start(): void {
    const look = async () => {
      try {
        await this.#adopt();
      } catch (error) {
        this.options.log.warn({ error: redactText(messageOf(error)) }, "cannot look for runs to take over");
      }
      if (!this.#stop.signal.aborted) this.#timer = setTimeout(look, LOOK_MS);
    };
    void look();
  }

  /**
   * Makes the run of a plan. It is on Redis's disk, as far as Redis can tell, when this resolves; its files are found after
   * that.
   *
   * @param warn called with messages for people, such as that there is no worker.
   * @param request that has an idempotency key. Default: none.
   * @throws ClaimLostError where somebody else answers that request by now.
   */
  async submit(
    planned: PlannedRun,
    warn: (message: string) => void,
    request?: CreatedAlong["request"],
  ): Promise<Run> {
    const { engine, stateDir, keepRuns } = this.options;
    const along = { isExpandedByServer: true, request };
    const handle = await submitDetached(engine, planned, { stateDir, keepRuns, warn, along });
    failpoint("created");
    await this.untilOnDisk();
    this.#enqueue(handle);
    return handle.run;
  }

  /** Resolves when what was written so far is on Redis's disk, as far as Redis can tell. */
  async untilOnDisk(): Promise<void> {
    const { durable, engine } = this.options;
    await durable.write((pipeline) => pipeline.set(engine.keys.mark(), 1));
  }

  /**
   * Takes a run up again, see {@link resumeRun}.
   *
   * @returns whether there was anything left to do.
   */
  async resume(id: string, how: Resumption, warn: (message: string) => void): Promise<boolean> {
    const { engine } = this.options;
    await this.#confirming.get(id); // which leaves the run at its end, and must not leave it for those who go on with it
    const resumed = await resumeRun(engine, id, { ...how, warn, startPool: onlyFleets });
    if (resumed.is === "over") return false;
    if (!(resumed.handle instanceof FleetRun))
      throw new SettingsError(`run ${id} is no fleet's: the command line that began it goes on with it`);
    await engine.redis.zadd(engine.keys.expanding(), Date.now(), id);
    this.#enqueue(resumed.handle);
    return true;
  }

  /** Stops in an orderly way: others go on with what is not done. */
  async stop(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
    await Promise.allSettled(this.#working);
    await Promise.allSettled(this.#confirming.values());
  }

  #enqueue(handle: FleetRun): void {
    this.#ours.add(handle.run.id);
    this.#waiting.push(() => this.#expand(handle));
    this.#next();
  }

  #next(): void {
    if (this.#stop.signal.aborted || this.#working.size >= MOST_AT_ONCE) return;
    const begin = this.#waiting.shift();
    if (!begin) return;
    const work = begin().finally(() => {
      this.#working.delete(work);
      this.#next();
    });
    this.#working.add(work);
  }

  async #expand(handle: FleetRun): Promise<void> {
    const { engine, log } = this.options;
    const { id } = handle.run;
    const warn = (message: string) => log.warn({ run: id }, message);
    try {
      const batches = await handle.submitAll({ ...SILENT, warn }, this.#stop.signal);
      if (this.#stop.signal.aborted) this.#ours.delete(id);
      else {
        // Others have their turn while this one waits for the disk.
        this.#confirming.set(
          id,
          this.#confirm(handle, batches).finally(() => this.#confirming.delete(id)),
        );
      }
    } catch (error) {
      // The run says itself that it is interrupted. A source that cannot be listed is tried again at the caller's word.
      log.warn({ run: id, error: redactText(messageOf(error)) }, "run cannot be expanded");
      // What fails while this server stops is another's to go on with.
      if (!this.#stop.signal.aborted) await engine.redis.zrem(engine.keys.expanding(), id);
      this.#ours.delete(id);
    }
  }

  /** Sees to it that what was submitted is on Redis's disk. Until then the run stays among those to be taken over. */
  async #confirm(handle: FleetRun, batches: Awaited<ReturnType<FleetRun["submitAll"]>>): Promise<void> {
    const { engine, log } = this.options;
    const { id } = handle.run;
    const untilOnDisk = async () => {
      await this.untilOnDisk();
      await sleep(EVERYSEC_MS, undefined, { ref: false });
    };
    try {
      await handle.untilDurable(batches, untilOnDisk);
      await engine.redis.zrem(engine.keys.expanding(), id);
    } catch (error) {
      log.warn({ run: id, error: redactText(messageOf(error)) }, "run cannot be confirmed");
    } finally {
      this.#ours.delete(id);
    }
  }

  /** Takes over the runs whose servers died. */
  async #adopt(): Promise<void> {
    const { engine, log } = this.options;
    const ids = await engine.redis.zrange(engine.keys.expanding(), "0", "-1");
    for (const id of ids) {
      if (this.#ours.has(id) || this.#stop.signal.aborted) continue;
      const run = await engine.ledger.get(id).catch(() => undefined);
      if (run === undefined || (run.state === "running" && run.sealed) || run.state === "done")
        await engine.redis.zrem(engine.keys.expanding(), id);
      else if (run.state === "cancelled") await engine.redis.zrem(engine.keys.expanding(), id);
      else if (run.state === "interrupted") {
        log.info({ run: id }, "takes over a run whose server has stopped");
        await this.resume(id, { retry: false }, (message) => log.warn({ run: id }, message)).catch(
          (error) => {
            if (!(error instanceof SettingsError)) throw error; // another server was quicker, or its credentials are gone
            log.warn({ run: id, error: redactText(error.message) }, "cannot take it over");
          },
        );
      }
    }
  }
}

function onlyFleets(): never {
  throw new SettingsError("the service goes on with runs of a fleet alone");
}

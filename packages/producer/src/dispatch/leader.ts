import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "@drover/shared/engine";
import { PROCESS_NAME } from "@drover/shared/process-name";
import type { Keys } from "@drover/shared/protocol/keys";
import { leadScript } from "@drover/shared/protocol/lua/lead.lua";
import { resignScript } from "@drover/shared/protocol/lua/resign.lua";
import { pruneRuns } from "@drover/shared/protocol/run-retention";
import type { Redis } from "ioredis";
import { FleetDispatcher, type FleetDispatcherOptions } from "./fleet-dispatcher.js";

/** Lease of the leader in ms. A silent leader is replaced after it. */
const TERM_MS = 5_000;
const BUSY_MS = 25;
const IDLE_MS = 50;
const ERROR_MS = 1_000;
const TIDY_EVERY_MS = 600_000;
/** Most runs of each kind that are forgotten at a time. Nothing is dispatched meanwhile. */
const TIDY_MOST = 1_000;

/**
 * Elects one worker of the fleet to dispatch and sweep for all. Two leaders at once for a moment do no harm,
 * as every step of the dispatcher may be repeated.
 */
export class Leader {
  readonly #redis: Redis;
  readonly #keys: Keys;
  #stopped = false;
  /** Whether it was told that this worker leads, and no other has led since, as far as is known. */
  #told = false;
  #doubtful = false;
  #dispatcher: FleetDispatcher | undefined;
  readonly #running: Promise<void>;

  constructor(
    private readonly id: string,
    private readonly options: FleetDispatcherOptions & Pick<LeaderOptions, "keepRuns">,
    private readonly onError: (error: Error) => void,
  ) {
    this.#redis = options.redis;
    this.#keys = options.keys;
    // Redis may come back without its last writes; then what the dispatcher remembers of them is wrong.
    this.#redis.on("close", this.#doubt);
    this.#running = this.#run();
  }

  readonly #doubt = () => {
    this.#doubtful = true;
  };

  get leads(): boolean {
    return this.#dispatcher !== undefined;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#redis.off("close", this.#doubt);
    await this.#running;
  }

  async #run(): Promise<void> {
    let askedMs = 0;
    let tidiedMs = 0;
    while (!this.#stopped) {
      try {
        if (this.#doubtful) {
          this.#doubtful = false;
          await this.#lead(false);
          askedMs = 0;
        }
        if (askedMs === 0 || performance.now() - askedMs > TERM_MS / 4) {
          askedMs = performance.now();
          const leads = (await leadScript.run(this.#redis, [this.#keys.leader()], [this.id, TERM_MS])) === 1;
          if (!leads) this.#told = false;
          await this.#lead(leads);
        }
        const busy = await this.#dispatcher?.tick();
        if (this.leads && performance.now() - tidiedMs > TIDY_EVERY_MS) {
          tidiedMs = performance.now();
          const { keepRuns } = this.options;
          await pruneRuns(this.options, { keepRuns, most: TIDY_MOST, thorough: true });
        }
        await sleep(busy ? BUSY_MS : IDLE_MS);
      } catch (error) {
        this.onError(error as Error);
        await this.#lead(false); // its state may be wrong: the next term reads everything from Redis
        askedMs = 0;
        await sleep(ERROR_MS);
      }
    }
    await this.#lead(false);
    await resignScript.run(this.#redis, [this.#keys.leader()], [this.id]).catch(() => {}); // otherwise the term expires
  }

  async #lead(leads: boolean): Promise<void> {
    if (leads === this.leads) return;
    if (leads) {
      this.#dispatcher = new FleetDispatcher(this.options);
      if (!this.#told) this.options.log("this worker leads the fleet");
      this.#told = true;
      return;
    }
    const former = this.#dispatcher;
    this.#dispatcher = undefined;
    await former?.close().catch(this.onError);
  }
}

export interface LeaderOptions {
  /** Runs of each kind that went well and are kept; the oldest beyond them are forgotten. Default 20,000. */
  keepRuns?: number;
  /** Told when this worker begins to lead, and of jobs that were lost or removed. Default: nobody. */
  log?(message: string, fields?: Record<string, unknown>): void;
  /** Told of what failed and will be tried again, such as Redis being away. */
  onError(error: Error): void;
}

/**
 * Stands for leader of a fleet, on behalf of one of its workers, until it is stopped. A fleet without a leader carries
 * nothing.
 *
 * @param workerId names the worker, as `startWorker` of the worker package says it.
 */
export function startLeader(
  { redis, keys, ledger }: Engine,
  workerId: string,
  options: LeaderOptions,
): Leader {
  const { keepRuns, log = () => {}, onError } = options;
  const kept = keepRuns === undefined ? {} : { keepRuns };
  return new Leader(workerId, { redis, keys, ledger, owner: PROCESS_NAME, log, ...kept }, onError);
}

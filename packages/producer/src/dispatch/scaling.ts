import type { Backlog } from "@drover/shared/protocol/backlog";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Ledger } from "@drover/shared/protocol/ledger";
import { tellScaling } from "@drover/shared/protocol/scaling";
import type { Redis } from "ioredis";
import type { DispatchedRun, Flow } from "./flow.js";

/** Most chunks of a run whose sizes are looked at on each side: of blocked hosts, and of the others. */
const MOST_SAMPLED = 500;

export interface ScalingOptions {
  redis: Redis;
  keys: Keys;
  ledger: Ledger;
  backlog: Backlog;
}

/** What the leader tells those who scale the fleet: the files that workers could carry now if there were enough of them. */
export class Scaling {
  constructor(private readonly options: ScalingOptions) {}

  /**
   * Counts the files in the queue and in the backlog whose host is not blocked, and tells the number.
   *
   * @param blocked hosts whose breaker is open.
   * @param isPaused whether dispatch is paused: what is in the backlog stays there then.
   */
  async tell(runs: DispatchedRun[], blocked: Set<string>, isPaused: boolean): Promise<void> {
    let files = 0;
    for (const run of runs) {
      const flows = [...run.flows.values()];
      const open = flows.filter((flow) => !blocked.has(flow.host));
      files += open.reduce((sum, flow) => sum + flow.inQueue, 0);
      if (!isPaused && open.some((flow) => flow.hasMore)) files += await this.#inBacklog(run, flows, open);
    }
    await tellScaling(this.options.redis, this.options.keys, files);
  }

  /**
   * Files of hosts that are not blocked in the backlog of a run. How many there are for all hosts is known; where some are
   * blocked they are shared out by the sizes of the chunks in bytes, since only reading a chunk tells how many it has.
   */
  async #inBacklog({ id }: DispatchedRun, flows: Flow[], open: Flow[]): Promise<number> {
    const files = await this.options.ledger.openFiles(id);
    if (files === undefined) return 0; // what is left of it is only settled
    const known = flows.reduce((sum, flow) => sum + flow.inQueue + flow.unread, 0);
    const rest = open.reduce((sum, flow) => sum + flow.unread, 0);
    const waiting = Math.max(files - known, 0);
    if (waiting === 0 || open.length === flows.length) return rest + waiting;
    const openBytes = await this.#bytes(id, open);
    const closedBytes = await this.#bytes(
      id,
      flows.filter((flow) => !open.includes(flow)),
    );
    return rest + (openBytes === 0 ? 0 : Math.ceil((waiting * openBytes) / (openBytes + closedBytes)));
  }

  /** Bytes of the waiting chunks of some flows; of many, every so manieth is looked at. */
  async #bytes(runId: string, flows: Flow[]): Promise<number> {
    const chunks = flows.flatMap((flow) => flow.waiting);
    const step = Math.max(Math.ceil(chunks.length / MOST_SAMPLED), 1);
    const sizes = await this.options.backlog.chunkBytes(
      runId,
      chunks.filter((_, at) => at % step === 0),
    );
    const sum = sizes.reduce((total, bytes) => total + bytes, 0);
    return sizes.length === 0 ? 0 : (sum * chunks.length) / sizes.length;
  }
}

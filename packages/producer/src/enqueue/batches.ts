import {
  type Backlog,
  type EnqueueAnswer,
  type EnqueueFile,
  ForgottenError,
} from "@drover/shared/protocol/backlog";
import type { Ledger } from "@drover/shared/protocol/ledger";

/**
 * Redis may lose what it acknowledged within its last second or two: so much is kept to be sent again, counted from
 * acknowledgement to acknowledgement, for time in which Redis is away makes nothing safe.
 */
const KEPT_MS = 3_000;

interface Batch {
  number: number;
  cursor: string;
  /** The files, packed: as objects those of a few seconds would be most of the producer's memory. */
  packed: Buffer;
  /** Their sources with secrets, by flight. */
  secrets: Map<string, string>;
  /** When Redis acknowledged it, or 0. */
  ackedMs: number;
}

/** Registers the batches of a run in order, and those again that Redis has forgotten. */
export class Batches {
  #recent: Batch[] = [];
  #sealed = false;

  constructor(
    private readonly backlog: Backlog,
    private readonly ledger: Ledger,
    private readonly runId: string,
    private readonly fleet: boolean,
    /** Whether two files of the run could have the same destination. */
    private readonly claims: boolean,
    /** Number of the last batch that is registered. */
    private last: number,
    /** Makes the run anew where Redis has forgotten it whole. */
    private readonly recreate: () => Promise<unknown>,
  ) {}

  /** Number of the last batch. */
  get number(): number {
    return this.last;
  }

  /** @throws ForgottenError when Redis has lost more than is kept. */
  async send(cursor: string, files: EnqueueFile[], secrets: Map<string, string>): Promise<EnqueueAnswer[]> {
    const number = ++this.last;
    this.#recent.push({ number, cursor, packed: Buffer.from(JSON.stringify(files)), secrets, ackedMs: 0 });
    return this.#register(number, files);
  }

  /** There are no more. */
  async seal(): Promise<void> {
    await this.ledger.seal(this.runId);
    this.#sealed = true;
  }

  /** Sends again what Redis has forgotten since. */
  async confirm(): Promise<void> {
    const last = this.#recent.at(-1)?.number;
    let known = await this.ledger.registered(this.runId);
    if (!known && (this.#recent.length === 0 || this.#recent[0]?.number === 1)) {
      await this.recreate();
      known = { batch: 0, sealed: false };
    }
    if (!known) throw new ForgottenError(this.runId, undefined);
    if (last !== undefined && known.batch < last) await this.#register(last);
    if (this.#sealed && !known.sealed) await this.ledger.seal(this.runId);
  }

  async #register(number: number, given?: EnqueueFile[]): Promise<EnqueueAnswer[]> {
    for (;;) {
      const batch = this.#recent.find((each) => each.number === number) as Batch;
      try {
        const { runId, fleet, claims } = this;
        await this.ledger.keepSecretSources(runId, batch.secrets); // before there is anything that needs them
        const files = given ?? (JSON.parse(batch.packed.toString()) as EnqueueFile[]);
        const answers = await this.backlog.enqueue(runId, number, batch.cursor, files, { fleet, claims });
        const nowMs = Date.now();
        batch.ackedMs = nowMs;
        // It was taken, so all before it are there; those after it may have been forgotten with it.
        this.#recent = this.#recent.filter((each) => each.number > number || each.ackedMs > nowMs - KEPT_MS);
        return answers;
      } catch (error) {
        if (!(error instanceof ForgottenError)) throw error;
        if (error.known === undefined) {
          if (this.#recent[0]?.number !== 1) throw error;
          await this.recreate();
          continue;
        }
        const before = this.#recent.some((each) => each.number === number - 1);
        if (!before || error.known >= number) throw error;
        await this.#register(number - 1);
      }
    }
  }
}

import {
  type Backlog,
  type EnqueueAnswer,
  type EnqueueFile,
  ForgottenError,
} from "@drover/shared/protocol/backlog";
import type { Ledger } from "@drover/shared/protocol/ledger";
import type { SecretStore } from "@drover/shared/protocol/secret-store";
import type { Run } from "@drover/shared/run";

/**
 * Redis may lose writes that it acknowledged within its last one or two seconds. Batches are kept this long,
 * in ms, to be sent again. The age counts from acknowledgement to acknowledgement, because time without Redis
 * makes nothing durable.
 */
const KEPT_MS = 3_000;

interface Batch {
  number: number;
  cursor: string;
  /** The files as JSON: as objects, those of a few seconds would be most of the producer's memory. */
  packed: Buffer;
  /** Sources with secrets, by flight. */
  secrets: Map<string, string>;
  /** Unix time in ms of the acknowledgement, or 0. */
  ackedMs: number;
}

export interface BatchesOptions {
  backlog: Backlog;
  ledger: Ledger;
  secrets: SecretStore;
  /** State when this process took the run: new batches continue after its last one. */
  run: Run;
  /** Whether two files of the run could have the same destination. */
  claims: boolean;
  /** Creates the run again if Redis has forgotten it completely. */
  recreate(): Promise<unknown>;
}

/** Registers the batches of a run in order, and registers those again that Redis has forgotten. */
export class Batches {
  #recent: Batch[] = [];
  #sealed = false;

  #last: number;

  constructor(private readonly options: BatchesOptions) {
    this.#last = options.run.batch;
  }

  /** Number of the last batch that was sent, or that the run had before. */
  get number(): number {
    return this.#last;
  }

  /** Registers the next batch. @throws ForgottenError if Redis has lost more than is kept here. */
  async send(cursor: string, files: EnqueueFile[], secrets: Map<string, string>): Promise<EnqueueAnswer[]> {
    const number = ++this.#last;
    this.#recent.push({ number, cursor, packed: Buffer.from(JSON.stringify(files)), secrets, ackedMs: 0 });
    return this.#register(number, files);
  }

  /**
   * Marks the run as completely registered. What Redis has forgotten of it is registered again before.
   *
   * @throws ForgottenError if that is more than is kept here.
   */
  async seal(): Promise<void> {
    const { ledger, run } = this.options;
    while (!(await ledger.seal(run.id, this.#last))) await this.confirm();
    this.#sealed = true;
  }

  /** Registers again what Redis has forgotten. @throws ForgottenError if that is more than is kept here. */
  async confirm(): Promise<void> {
    const { ledger, run } = this.options;
    let known = await ledger.registered(run.id);
    const firstKept = this.#recent[0]?.number ?? this.#last + 1;
    if (!known && firstKept === 1) {
      await this.options.recreate();
      known = { batch: 0, sealed: false };
    }
    if (!known) throw new ForgottenError(run.id, undefined);
    if (known.batch < firstKept - 1) throw new ForgottenError(run.id, known.batch);
    if (known.batch < this.#last) await this.#register(this.#last);
    if (this.#sealed && !known.sealed) await this.seal();
  }

  async #register(number: number, given?: EnqueueFile[]): Promise<EnqueueAnswer[]> {
    for (;;) {
      const batch = this.#recent.find((each) => each.number === number) as Batch;
      try {
        const { backlog, secrets, run, claims } = this.options;
        await secrets.keepSources(run.id, batch.secrets); // before any file that needs them
        const files = given ?? (JSON.parse(batch.packed.toString()) as EnqueueFile[]);
        const options = { shared: run.spec.fleet, claims, leftGeneration: run.generation };
        const answers = await backlog.enqueue(run.id, number, batch.cursor, files, options);
        const nowMs = Date.now();
        batch.ackedMs = nowMs;
        // Redis took this batch, so it has all earlier ones; later ones may have been lost with it.
        this.#recent = this.#recent.filter((each) => each.number > number || each.ackedMs > nowMs - KEPT_MS);
        return answers;
      } catch (error) {
        if (!(error instanceof ForgottenError)) throw error;
        if (error.known === undefined) {
          if (this.#recent[0]?.number !== 1) throw error;
          await this.options.recreate();
          continue;
        }
        const before = this.#recent.some((each) => each.number === number - 1);
        if (!before || error.known >= number) throw error;
        await this.#register(number - 1);
      }
    }
  }
}

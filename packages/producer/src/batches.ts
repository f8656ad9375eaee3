import type { Ledger } from "@drover/shared/ledger";
import { type EnqueueAnswer, type EnqueueFile, ForgottenError, type Protocol } from "@drover/shared/protocol";

/** Redis may lose what it acknowledged within its last second or two: so much is kept to be sent again. */
const KEPT_MS = 5_000;

interface Batch {
  number: number;
  cursor: string;
  files: EnqueueFile[];
  sentMs: number;
}

/** Registers the batches of a run in order, and those again that Redis has forgotten. */
export class Batches {
  #recent: Batch[] = [];

  constructor(
    private readonly protocol: Protocol,
    private readonly ledger: Ledger,
    private readonly runId: string,
    private readonly fleet: boolean,
  ) {}

  /** @throws ForgottenError when Redis has lost more than is kept. */
  async send(number: number, cursor: string, files: EnqueueFile[]): Promise<EnqueueAnswer[]> {
    const nowMs = Date.now();
    this.#recent = this.#recent.filter((batch) => batch.sentMs > nowMs - KEPT_MS);
    this.#recent.push({ number, cursor, files, sentMs: nowMs });
    return this.#register(number);
  }

  /** After the last batch: sends again what Redis has forgotten since. */
  async confirm(): Promise<void> {
    const last = this.#recent.at(-1)?.number;
    const known = await this.ledger.registered(this.runId);
    if (last !== undefined && known.batch < last) await this.#register(last);
    if (!known.sealed) await this.ledger.seal(this.runId);
  }

  async #register(number: number): Promise<EnqueueAnswer[]> {
    for (;;) {
      const batch = this.#recent.find((each) => each.number === number) as Batch;
      try {
        const { runId, fleet } = this;
        return await this.protocol.enqueue(runId, number, batch.cursor, batch.files, fleet);
      } catch (error) {
        if (!(error instanceof ForgottenError)) throw error;
        const before = this.#recent.some((each) => each.number === number - 1);
        if (!before || error.known >= number) throw error;
        await this.#register(number - 1);
      }
    }
  }
}

import type { TransferJob } from "@drover/shared/job";
import { isSuccess, type Outcome } from "@drover/shared/outcome";
import prettyBytes from "pretty-bytes";
import { showDuration } from "./duration.js";

/** Time window in ms over which the rate is measured. */
const RATE_MS = 5_000;

/** A file in progress. */
export interface Active {
  name: string;
  attempt: number;
  transfer: { receivedBytes: number; sizeBytes: number | undefined } | undefined;
}

/** Counts files and bytes of a run as it goes, and measures how fast. */
export class Meter {
  readonly active = new Map<number, Active>();
  readonly #samples: { atMs: number; bytes: number; files: number }[] = [];
  #files = 0;
  #settled = 0;
  #failed = 0;
  #bytes = 0;
  #sealed = false;

  /** Bytes of the files that were copied. */
  get copiedBytes(): number {
    return this.#bytes;
  }

  queued(files: number): void {
    this.#files += files;
  }

  /** Files that had ended before this process took the run up. */
  endedBefore(files: number): void {
    this.#files += files;
    this.#settled += files;
    for (const sample of this.#samples) sample.files += files; // no progress of this process
  }

  sealed(): void {
    this.#sealed = true;
  }

  started(job: TransferJob, attempt: number): void {
    this.active.set(job.i, { name: job.d, attempt, transfer: undefined });
  }

  /** Of a file in another thread, the start may not have been told. */
  receiving(index: number, transfer: Active["transfer"]): void {
    const active = this.active.get(index);
    if (active) active.transfer = transfer;
    else this.active.set(index, { name: "", attempt: 1, transfer });
  }

  waiting(job: TransferJob): void {
    this.active.delete(job.i);
  }

  settled(outcome: Outcome): void {
    this.active.delete(outcome.index);
    this.#settled++;
    if (outcome.outcome === "copied") this.#bytes += outcome.bytes;
    else if (!isSuccess(outcome.outcome)) this.#failed++;
  }

  /** One line about the run: files, bytes, rate, time that is left, failures. Rates are those since the last few calls. */
  line(): string {
    const nowMs = performance.now();
    let bytes = this.#bytes;
    for (const { transfer } of this.active.values()) bytes += transfer?.receivedBytes ?? 0;
    this.#samples.push({ atMs: nowMs, bytes, files: this.#settled });
    while (this.#samples.length > 2 && nowMs - (this.#samples[0]?.atMs ?? 0) > RATE_MS) this.#samples.shift();
    const first = this.#samples[0] as { atMs: number; bytes: number; files: number };
    const seconds = Math.max((nowMs - first.atMs) / 1000, 0.001);
    const rate = Math.max(bytes - first.bytes, 0) / seconds;
    const filesPerSecond = (this.#settled - first.files) / seconds;
    const left = this.#files - this.#settled;
    const coming = [...this.active.values()].reduce((sum, { transfer }) => sum + bytesLeft(transfer), 0);
    const etaMs =
      Math.max(filesPerSecond > 0 ? left / filesPerSecond : 0, rate > 0 ? coming / rate : 0) * 1000;
    const eta = this.#sealed && left > 0 && etaMs > 0 ? ` · ETA ${showDuration(etaMs)}` : "";
    const failed = this.#failed > 0 ? ` · ${this.#failed} failed` : "";
    return `${this.#settled}/${this.#files}${this.#sealed ? "" : "+"} files · ${prettyBytes(bytes)} · ${prettyBytes(rate)}/s${eta}${failed}`;
  }
}

function bytesLeft(transfer: Active["transfer"]): number {
  return transfer?.sizeBytes === undefined ? 0 : Math.max(transfer.sizeBytes - transfer.receivedBytes, 0);
}

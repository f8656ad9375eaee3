import type { TransferJob } from "@drover/shared/job";
import { isSuccess, type Outcome } from "@drover/shared/outcome";
import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { createLogUpdate } from "log-update";
import prettyBytes from "pretty-bytes";
import { showDuration } from "./duration.js";

const REDRAW_MS = 120;
const MOST_ACTIVE = 6;
/** Time window in ms over which the rate is measured. */
const RATE_MS = 5_000;

interface Active {
  name: string;
  attempt: number;
  transfer: { receivedBytes: number; sizeBytes: number | undefined } | undefined;
}

/** The live display at the bottom of a terminal: files, bytes, rate, ETA, active files, open breakers. */
export class Progress {
  readonly #log = createLogUpdate(process.stdout, { showCursor: true });
  readonly #timer: NodeJS.Timeout;
  readonly #active = new Map<number, Active>();
  readonly #samples: { atMs: number; bytes: number; files: number }[] = [];
  #files = 0;
  #settled = 0;
  #failed = 0;
  #bytes = 0;
  #sealed = false;

  constructor(private readonly breakers: HostBreakers) {
    this.#timer = setInterval(() => this.draw(), REDRAW_MS).unref();
  }

  queued(files: number): void {
    this.#files += files;
  }

  sealed(): void {
    this.#sealed = true;
  }

  started(job: TransferJob, attempt: number): void {
    this.#active.set(job.i, { name: job.d, attempt, transfer: undefined });
  }

  receiving(index: number, transfer: Active["transfer"]): void {
    const active = this.#active.get(index);
    if (active) active.transfer = transfer;
  }

  waiting(job: TransferJob): void {
    this.#active.delete(job.i);
  }

  settled(outcome: Outcome): void {
    this.#active.delete(outcome.index);
    this.#settled++;
    if (outcome.outcome === "copied") this.#bytes += outcome.bytes;
    else if (!isSuccess(outcome.outcome)) this.#failed++;
  }

  clear(): void {
    this.#log.clear();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#log.clear();
    this.#log.done();
  }

  draw(): void {
    const nowMs = performance.now();
    let bytes = this.#bytes;
    for (const { transfer } of this.#active.values()) bytes += transfer?.receivedBytes ?? 0;
    this.#samples.push({ atMs: nowMs, bytes, files: this.#settled });
    while (this.#samples.length > 2 && nowMs - (this.#samples[0]?.atMs ?? 0) > RATE_MS) this.#samples.shift();
    const first = this.#samples[0] as { atMs: number; bytes: number; files: number };
    const seconds = Math.max((nowMs - first.atMs) / 1000, 0.001);
    const rate = Math.max(bytes - first.bytes, 0) / seconds;
    const filesPerSecond = (this.#settled - first.files) / seconds;
    const left = this.#files - this.#settled;
    const coming = [...this.#active.values()].reduce((sum, { transfer }) => sum + bytesLeft(transfer), 0);
    const etaMs =
      Math.max(filesPerSecond > 0 ? left / filesPerSecond : 0, rate > 0 ? coming / rate : 0) * 1000;
    const eta = this.#sealed && left > 0 && etaMs > 0 ? ` · ETA ${showDuration(etaMs)}` : "";
    const failed = this.#failed > 0 ? ` · ${this.#failed} failed` : "";
    const lines = [
      `${this.#settled}/${this.#files}${this.#sealed ? "" : "+"} files · ${prettyBytes(bytes)} · ${prettyBytes(rate)}/s${eta}${failed}`,
    ];
    const active = [...this.#active.values()];
    for (const { name, attempt, transfer } of active.slice(0, MOST_ACTIVE)) {
      const size = transfer?.sizeBytes
        ? ` ${Math.floor((100 * transfer.receivedBytes) / transfer.sizeBytes)}%`
        : "";
      lines.push(`  ↓ ${name}${size}${attempt > 1 ? ` (try ${attempt})` : ""}`);
    }
    if (active.length > MOST_ACTIVE) lines.push(`  … and ${active.length - MOST_ACTIVE} more`);
    for (const host of this.breakers.blockedHosts) {
      const until = Math.max(this.breakers.blockedUntil(host) - Date.now(), 0);
      lines.push(`  ⚡ circuit breaker open: ${host} for ${showDuration(until)}`);
    }
    this.#log(lines.join("\n"));
  }
}

function bytesLeft(transfer: Active["transfer"]): number {
  return transfer?.sizeBytes === undefined ? 0 : Math.max(transfer.sizeBytes - transfer.receivedBytes, 0);
}

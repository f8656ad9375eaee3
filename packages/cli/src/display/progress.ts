import type { HostBreakers } from "@drover/shared/protocol/host-breakers";
import { createLogUpdate } from "log-update";
import { paint } from "./color.js";
import { showDuration } from "./duration.js";
import type { Meter } from "./meter.js";

const REDRAW_MS = 120;
const MOST_ACTIVE = 6;

/** The live display at the bottom of a terminal: files, bytes, rate, ETA, active files, open breakers. */
export class Progress {
  readonly #log = createLogUpdate(process.stderr, { showCursor: true });
  readonly #timer: NodeJS.Timeout;

  constructor(
    private readonly meter: Meter,
    private readonly breakers: HostBreakers,
  ) {
    this.#timer = setInterval(() => this.draw(), REDRAW_MS).unref();
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
    const dim = (text: string) => paint("detail", text, process.stderr);
    const lines = [this.meter.line()];
    const active = [...this.meter.active.values()];
    for (const { name, attempt, transfer } of active.slice(0, MOST_ACTIVE)) {
      const size = transfer?.sizeBytes
        ? ` ${Math.floor((100 * transfer.receivedBytes) / transfer.sizeBytes)}%`
        : "";
      lines.push(dim(`  ↓ ${name}${size}${attempt > 1 ? ` (try ${attempt})` : ""}`));
    }
    if (active.length > MOST_ACTIVE) lines.push(dim(`  … and ${active.length - MOST_ACTIVE} more`));
    for (const host of this.breakers.blockedHosts) {
      const until = Math.max(this.breakers.blockedUntil(host) - Date.now(), 0);
      const line = `  ⚡ circuit breaker open: ${host} for ${showDuration(until)}`;
      lines.push(paint("warning", line, process.stderr));
    }
    this.#log(lines.join("\n"));
  }
}

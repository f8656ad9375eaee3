import type { RunSpec } from "../run.js";

/** A probe of a half-open breaker is given up after so long, however patient the run is. */
const MOST_PROBE_MS = 60_000;
/** A little more than a run's own wait, so that a breaker which opens for exactly that long is waited for. */
const SLACK_MS = 2_000;

/** How long a probe of a half-open breaker may take in a run, in milliseconds. */
export function probeMsOf(spec: RunSpec): number {
  return Math.min(spec.timeoutMs * 2, MOST_PROBE_MS);
}

export function hostBreakersOf(spec: RunSpec): HostBreakers {
  return new HostBreakers(spec.breakerWaitMs, probeMsOf(spec));
}

/**
 * What this process knows of blocked hosts in its run: the dispatcher feeds no files to a blocked host, and a file
 * whose host has been blocked for too long ends `blocked`.
 */
export class HostBreakers {
  readonly #blocked = new Map<string, { sinceMs: number; untilMs: number }>();
  readonly #listeners: ((host: string) => void)[] = [];

  /**
   * @param waitMs how long a run waits for an open breaker.
   * @param probeMs how long a half-open breaker's probes may take: they are waited for beyond `waitMs`.
   */
  constructor(
    private readonly waitMs: number,
    private readonly probeMs: number,
  ) {}

  /** What a host was blocked for: the last error that counted against it. */
  readonly #reasons = new Map<string, string>();

  recordFailure(host: string, message: string): void {
    if (host !== "") this.#reasons.set(host, message);
  }

  /** One line on why a host's files end `blocked`. */
  describe(host: string): string {
    const reason = this.#reasons.get(host);
    return `circuit breaker open for ${host}${reason === undefined ? "" : ` (last: ${reason})`}`;
  }

  /** @param listener told the host of which something else is known. */
  onChange(listener: (host: string) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * What a finished try says of its host.
   *
   * @param untilMs until when the breaker is open now (Unix ms), or 0.
   * @param passed the host let a file through.
   */
  report(host: string, untilMs: number, passed: boolean): void {
    if (host === "") return;
    const before = this.#blocked.get(host);
    if (untilMs > 0) this.#blocked.set(host, { sinceMs: before?.sinceMs ?? Date.now(), untilMs });
    else if (passed && before && before.untilMs <= Date.now()) this.#blocked.delete(host);
    else return;
    for (const listener of this.#listeners) listener(host);
  }

  /** A file was refused: whether the run still waits for this host. */
  mayWait(host: string, waitMs: number): boolean {
    const nowMs = Date.now();
    const before = this.#blocked.get(host);
    const sinceMs = before?.sinceMs ?? nowMs;
    const untilMs = Math.max(before?.untilMs ?? 0, nowMs + waitMs);
    this.#blocked.set(host, { sinceMs, untilMs });
    if (!before) for (const listener of this.#listeners) listener(host);
    const halfOpen = waitMs <= 1000 && before !== undefined && before.untilMs <= nowMs + waitMs;
    const patienceMs = this.waitMs + (this.waitMs > 0 ? SLACK_MS : 0) + (halfOpen ? this.probeMs : 0);
    return nowMs + waitMs <= sinceMs + patienceMs;
  }

  /** Until when a host is blocked (Unix ms), or 0. */
  blockedUntil(host: string): number {
    const blocked = this.#blocked.get(host);
    return blocked && blocked.untilMs > Date.now() ? blocked.untilMs : 0;
  }

  /** Whether the run has given this host up. */
  isGivenUp(host: string): boolean {
    const blocked = this.#blocked.get(host);
    if (!blocked) return false;
    const nowMs = Date.now();
    const end = blocked.sinceMs + this.waitMs + (this.waitMs > 0 ? SLACK_MS : 0);
    return blocked.untilMs > Math.max(end, nowMs);
  }

  /** Whether the host was blocked and has let nothing through since: it is fed a few files only. */
  isRecovering(host: string): boolean {
    return this.#blocked.has(host);
  }

  /** Hosts that are blocked now, for show. */
  get blockedHosts(): string[] {
    const nowMs = Date.now();
    return [...this.#blocked].filter(([, each]) => each.untilMs > nowMs).map(([host]) => host);
  }
}

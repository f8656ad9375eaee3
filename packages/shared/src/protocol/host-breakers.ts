import type { RunSpec } from "../run.js";

/** Time that a probe of a half-open breaker may take at most, in milliseconds, however patient the run is. */
export const MAX_PROBE_MS = 60_000;
/**
 * A run waits this much longer than it says, in milliseconds: a breaker that opens for exactly its wait is waited
 * for.
 */
const SLACK_MS = 2_000;
/** A breaker that asks for no longer wait than this, in milliseconds, may be half-open. */
const HALF_OPEN_WAIT_MS = 1_000;

/** Time that a probe of a half-open breaker may take in a run, in milliseconds. */
export function probeMsOf(spec: RunSpec): number {
  return Math.min(spec.timeoutMs * 2, MAX_PROBE_MS);
}

/** The breakers of a run's hosts. */
export function hostBreakersOf(spec: RunSpec): HostBreakers {
  return new HostBreakers(spec.breakerWaitMs, probeMsOf(spec));
}

/**
 * What this process knows of the circuit breakers of its run's hosts. The dispatcher queues no files of a blocked
 * host, and a file whose host has been blocked for too long ends `blocked`.
 */
export class HostBreakers {
  /** Hosts that were found blocked and have let nothing through since; Unix ms. */
  readonly #blocked = new Map<string, { sinceMs: number; untilMs: number }>();
  /** The last error that counted against each host. */
  readonly #reasons = new Map<string, string>();
  readonly #listeners: ((host: string) => void)[] = [];

  /**
   * @param waitMs time that the run waits for an open breaker, in milliseconds.
   * @param probeMs time that a half-open breaker's probes may take, in milliseconds: they are waited for beyond
   *   `waitMs`.
   */
  constructor(
    private readonly waitMs: number,
    private readonly probeMs: number,
  ) {}

  /** Notes an error that counted against a host, for {@link describe}. */
  recordFailure(host: string, message: string): void {
    if (host !== "") this.#reasons.set(host, message);
  }

  /** One line on why a host's files end `blocked`. */
  describe(host: string): string {
    const reason = this.#reasons.get(host);
    return `circuit breaker open for ${host}${reason === undefined ? "" : ` (last: ${reason})`}`;
  }

  /** @param listener is called with a host whenever another state of it is known. */
  onChange(listener: (host: string) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Takes in what a finished try says of its host.
   *
   * @param untilMs until when the breaker is open now (Unix ms), or 0.
   * @param passed whether the host let a file through.
   */
  report(host: string, untilMs: number, passed: boolean): void {
    if (host === "") return;
    const before = this.#blocked.get(host);
    if (untilMs > 0) this.#blocked.set(host, { sinceMs: before?.sinceMs ?? Date.now(), untilMs });
    else if (passed && before && before.untilMs <= Date.now()) this.#blocked.delete(host);
    else return;
    for (const listener of this.#listeners) listener(host);
  }

  /** Takes in that Redis knows the breaker of a host to be closed, be it that somebody closed it by hand. */
  closed(host: string): void {
    if (!this.#blocked.delete(host)) return;
    for (const listener of this.#listeners) listener(host);
  }

  /**
   * Takes in that a file was refused.
   *
   * @param waitMs after which it may ask again.
   * @returns whether the run waits for this host that long.
   */
  mayWait(host: string, waitMs: number): boolean {
    const nowMs = Date.now();
    const before = this.#blocked.get(host);
    const sinceMs = before?.sinceMs ?? nowMs;
    const untilMs = Math.max(before?.untilMs ?? 0, nowMs + waitMs);
    this.#blocked.set(host, { sinceMs, untilMs });
    if (!before) for (const listener of this.#listeners) listener(host);
    const halfOpen = waitMs <= HALF_OPEN_WAIT_MS && before !== undefined && before.untilMs <= nowMs + waitMs;
    const patienceMs = this.waitMs + (this.waitMs > 0 ? SLACK_MS : 0) + (halfOpen ? this.probeMs : 0);
    return nowMs + waitMs <= sinceMs + patienceMs;
  }

  /** Until when a host is blocked (Unix ms), or 0. */
  blockedUntil(host: string): number {
    const blocked = this.#blocked.get(host);
    return blocked && blocked.untilMs > Date.now() ? blocked.untilMs : 0;
  }

  /** Whether the run waits for this host no more. */
  isGivenUp(host: string): boolean {
    const blocked = this.#blocked.get(host);
    if (!blocked) return false;
    const nowMs = Date.now();
    const end = blocked.sinceMs + this.waitMs + (this.waitMs > 0 ? SLACK_MS : 0);
    return blocked.untilMs > Math.max(end, nowMs);
  }

  /** Whether the host was blocked and has let nothing through since: then only a few of its files are queued. */
  isRecovering(host: string): boolean {
    return this.#blocked.has(host);
  }

  /** Hosts that are blocked now, for display. */
  get blockedHosts(): string[] {
    const nowMs = Date.now();
    return [...this.#blocked].filter(([, each]) => each.untilMs > nowMs).map(([host]) => host);
  }
}

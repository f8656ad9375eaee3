import { TransferError } from "@drover/shared/errors";
import { type Admission, LEASE_MS } from "@drover/shared/protocol/admission";
import type { Share } from "../bytes/rate-limiter.js";

/**
 * Safety margin in ms by which a lease is trusted for less than its duration: for clock drift and a rename in
 * progress.
 */
const MARGIN_MS = 5_000;
const TICK_MS = 1_000;
const RENEW_EVERY_MS = LEASE_MS / 3;

/** One lease that this process holds. */
export class Lease {
  readonly #abort = new AbortController();
  #untilMonotonic = 0;
  #untilWall = 0;
  /** Resume record (JSON) to be saved in Redis at the next tick; "" if there is nothing new. */
  note = "";
  /** The file's share of its host's bandwidth, if that is limited. */
  share?: Share;
  /** Streams that the limit of its host leaves to the file. */
  mostStreams = Number.POSITIVE_INFINITY;

  /**
   * @param runId the run, if it alone wants the file; undefined if the lease must not be cancelled with a
   *   single run.
   */
  constructor(
    readonly key: string,
    readonly fence: string,
    askedAt: { monotonicMs: number; wallMs: number },
    readonly host = "",
    readonly runId?: string,
  ) {
    this.extend(askedAt);
  }

  /** Aborts when the lease cannot be trusted any more or the work must stop. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** @param askedAt time at which the granting command was sent. */
  extend(askedAt: { monotonicMs: number; wallMs: number }): void {
    this.#untilMonotonic = askedAt.monotonicMs + LEASE_MS - MARGIN_MS;
    this.#untilWall = askedAt.wallMs + LEASE_MS - MARGIN_MS;
  }

  /**
   * Whether the lease still holds. It checks both clocks: the monotonic one stops while a machine sleeps, the
   * other can be set back.
   */
  get trusted(): boolean {
    const inTime = performance.now() < this.#untilMonotonic && Date.now() < this.#untilWall;
    return inTime && (this.#cancelled || !this.signal.aborted);
  }

  abort(reason: Error): void {
    this.#abort.abort(reason);
  }

  #cancelled = false;

  /** Stops the work but keeps the lease, so that the file can be settled under it. */
  cancel(reason: TransferError): void {
    this.#cancelled = true;
    this.#abort.abort(reason);
  }

  /** @throws TransferError class `locked` if another worker may hold the destination by now. */
  check(): void {
    if (this.trusted && !this.#cancelled) return;
    throw this.signal.reason instanceof Error ? this.signal.reason : lost();
  }
}

/** The lease expired or was taken over. The file is retried, as the other worker may have finished it. */
export function lost(): TransferError {
  return new TransferError("locked", "lost the lease on the destination");
}

export function now(): { monotonicMs: number; wallMs: number } {
  return { monotonicMs: performance.now(), wallMs: Date.now() };
}

/** All leases of this process, renewed with one call. */
export class Leases {
  readonly #held = new Set<Lease>();
  #timer: NodeJS.Timeout | undefined;
  #renewing = false;
  #lastRenewal = performance.now();
  #stopped: Error | undefined;

  constructor(private readonly admission: Admission) {}

  hold(
    key: string,
    fence: string,
    askedAt: { monotonicMs: number; wallMs: number },
    host = "",
    runId?: string,
  ): Lease {
    const lease = new Lease(key, fence, askedAt, host, runId);
    if (this.#stopped) lease.abort(this.#stopped);
    this.#held.add(lease);
    this.#timer ??= setInterval(() => void this.#tick(), TICK_MS).unref();
    return lease;
  }

  /** Whether this process holds the lease of the fence. */
  holds(fence: string): boolean {
    for (const lease of this.#held) if (lease.fence === fence) return true;
    return false;
  }

  drop(lease: Lease): void {
    this.#held.delete(lease);
  }

  /**
   * Asks Redis at once whether a lease is still ours.
   *
   * @param note resume record (JSON) to save before the work continues; "" for none.
   * @throws TransferError class `locked` if another worker has the lease.
   */
  async confirm(lease: Lease, note = ""): Promise<void> {
    const askedAt = now();
    if (note !== "") lease.note = "";
    const [ours] = await this.admission.renew([
      { lease: lease.key, host: lease.host, fence: lease.fence, staged: note },
    ]);
    if (!ours) {
      lease.abort(lost());
      throw lost();
    }
    lease.extend(askedAt);
  }

  /** Stops all work under current and future leases. */
  abortAll(reason: Error): void {
    this.#stopped = reason;
    for (const lease of this.#held) lease.abort(reason);
  }

  /**
   * Cancels the files of a run that are in progress.
   *
   * @param key of the only lease that is meant. Default: all of the run.
   */
  cancelHeld(runId: string, key?: string): void {
    const reason = new TransferError("cancelled", "cancelled", { permanent: true });
    for (const lease of this.#held)
      if (lease.runId === runId && (key === undefined || lease.key === key)) lease.cancel(reason);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #tick(): Promise<void> {
    for (const lease of this.#held) if (!lease.trusted) lease.abort(lost());
    const all = performance.now() - this.#lastRenewal >= RENEW_EVERY_MS;
    const due = [...this.#held].filter((lease) => (all || lease.note !== "") && !lease.signal.aborted);
    if (due.length === 0 || this.#renewing) return;
    const askedAt = now();
    const asked = due.map((lease) => ({
      lease: lease.key,
      host: lease.host,
      fence: lease.fence,
      staged: lease.note,
    }));
    for (const lease of due) lease.note = "";
    this.#renewing = true;
    try {
      const answers = await this.admission.renew(asked);
      if (all) this.#lastRenewal = askedAt.monotonicMs;
      due.forEach((lease, at) => {
        if (answers[at]) lease.extend(askedAt);
        else if (this.#held.has(lease)) lease.abort(lost());
      });
    } catch {
      // Redis is away: the next tick tries again, and leases not renewed in time stop being trusted above.
      for (const [at, lease] of due.entries()) lease.note ||= asked[at]?.staged ?? "";
    } finally {
      this.#renewing = false;
    }
  }
}

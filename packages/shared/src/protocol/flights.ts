import type { TransferError, Verdict } from "../errors.js";
import { shortHash } from "../ids.js";
import type { TransferJob } from "../job.js";
import type { RunSpec } from "../run.js";
import { storageOf } from "../storage/registry.js";

/** What a failed attempt says of its host to breaker and limits; `slow` is a failure that asks the whole fleet for less. */
export type HostVerdict = Verdict | "slow";

/** The flight id of a file of one run alone. */
export function flightHash(runId: string, source: string, destination: string, generation: number): string {
  return shortHash("copy", runId, source, destination, String(generation));
}

/** What of a job its flight depends on. */
type FlightJob = Omit<TransferJob, "i" | "r">;

/**
 * The flights of one run's files. A flight carries a file once for everybody who waits for it: in a fleet, runs that ask
 * for the same file on the same terms share one; a run that one process works on by itself shares none.
 */
export class Flights {
  constructor(
    private readonly runId: string,
    private readonly spec: RunSpec,
  ) {}

  /** Whether other runs may wait for this run's files. */
  get shared(): boolean {
    return this.spec.fleet;
  }

  /**
   * The flight id of a file.
   *
   * @param lease hash of the destination.
   */
  of(job: FlightJob, lease: string): string {
    const { spec } = this;
    if (!this.shared || spec.ownFlights || job.k || job.o || job.g || job.op) return this.own(job);
    const terms = JSON.stringify([
      job.x,
      spec.maxFileSizeBytes,
      spec.durable,
      storageOf(job.s).flightTerms(spec),
      spec.checkDestination,
      ...(spec.ignoreTimes ? ["ignoreTimes"] : []),
      // Nothing for others: producers and workers of earlier versions must come to the same id.
      ...(spec.guarded ? ["guarded"] : []),
      ...(spec.s3Objects === undefined ? [] : [{ s3Objects: spec.s3Objects }]),
      ...(spec.whenGone === undefined ? [] : [spec.whenGone]),
      ...(spec.permissions === undefined ? [] : [{ permissions: spec.permissions }]),
      ...(spec.leave === undefined ? [] : [{ leave: spec.leave }]),
      ...(job.m === undefined ? [] : [{ mode: job.m }]),
      ...(job.a === undefined ? [] : [{ access: job.a }]),
    ]);
    return shortHash("copy", job.s, lease, terms);
  }

  /** The id of the flight that a file has for this run alone. */
  own(job: FlightJob): string {
    return flightHash(this.runId, job.s, job.d, job.g ?? 0);
  }

  /** The id under which the run keeps the secret location of a file's source. */
  secretOf(job: FlightJob): string {
    return flightHash(this.runId, job.s, job.d, 0);
  }

  /**
   * A file that waits for a flight, as the flight's value in Redis names it: run and index, or the index alone where
   * the flight is not shared. The value lists them with commas between.
   */
  waiter(index: number): string {
    return this.shared ? `${this.runId}:${index}` : String(index);
  }

  /** The verdict of a failed attempt. Only a fleet has limits to lower: elsewhere each file waits as the host asks. */
  verdictOf(error: TransferError): HostVerdict {
    return this.shared && error.throttled ? "slow" : error.verdict;
  }
}

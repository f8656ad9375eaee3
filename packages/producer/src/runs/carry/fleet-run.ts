import { setTimeout as sleep } from "node:timers/promises";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import type { RunCounts } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { RunLostError } from "@drover/shared/protocol/backlog";
import { type HostBreakers, hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import { MOST_READ, OutcomeStream } from "@drover/shared/protocol/outcome-stream";
import { SecretStore } from "@drover/shared/protocol/secret-store";
import type { Run, RunSecrets } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import { openTree } from "@drover/shared/storage/registry";
import { withCustomerKeys } from "@drover/shared/storage/s3/object/customer-key";
import { openCheck } from "../../compare/open-check.js";
import type { Batches } from "../../enqueue/batches.js";
import { type GivenFiles, RunExpansion } from "./expand-run.js";
import { IndexSet } from "./index-set.js";
import { dropKept } from "./piped-list.js";
import type { RunEnd, RunEvents, RunHandle, RunResult } from "./run-handle.js";

/** Interval in ms at which Redis is polled. */
const LOOK_MS = 50;
/** Interval in ms at which the expanding process renews its hold on the run. */
const HOLD_EVERY_MS = 5_000;
/**
 * Time in ms during which batches are confirmed after the expansion: Redis may lose writes that it
 * acknowledged within its last one or two seconds.
 */
const CONFIRM_MS = 10_000;
/** Time limit in ms of WAITAOF, with which Redis reports that its writes are on disk. */
const WAITAOF_MS = 2_000;
/** Wait in ms without WAITAOF: Redis writes to disk every second. */
const EVERYSEC_MS = 1_200;

export interface FleetRunOptions {
  /** Given for a run that is expanded here; undefined for one that is only followed. */
  secrets?: RunSecrets | undefined;
  /** The run's list if it comes through a pipe. */
  stdin?: NodeJS.ReadableStream | undefined;
  /** Its files, if they were found before it was submitted. */
  given?: GivenFiles | undefined;
}

/** A run whose files a fleet's workers carry. The submitting process expands it; any process may follow it. */
export class FleetRun implements RunHandle {
  readonly breakers: HostBreakers;
  readonly stopping = "";
  readonly #stop = new AbortController();
  /** Indexes of reported files. Redis may deliver an outcome twice after it lost writes. */
  readonly #told = new IndexSet();
  readonly #outcomes: OutcomeStream;
  /** Whether all files are submitted. */
  #expanded: boolean;
  /** Number of files that were reported to be registered, if another process registers them. */
  #found = 0;
  #toldSealed = false;

  constructor(
    private readonly engine: Engine,
    readonly run: Run,
    private readonly options: FleetRunOptions,
  ) {
    this.breakers = hostBreakersOf(run.spec);
    this.#outcomes = new OutcomeStream(engine.redis, engine.keys, run, PROCESS_NAME);
    this.#expanded = run.sealed;
  }

  async follow(events: RunEvents, stop: AbortSignal): Promise<RunResult> {
    stop.addEventListener("abort", () => this.#stop.abort(), { once: true });
    if (stop.aborted) this.#stop.abort();
    await this.#catchUp(events);
    const watching = this.#watch(events);
    watching.catch(() => {}); // awaited below
    const expansion = await this.#expandIfOurs(events);
    if (this.options.secrets && !expansion.listing) events.sealed();
    const counts = await this.#untilOver(expansion, events);
    this.#stop.abort();
    await watching;
    const { state, deletionRefused, stoppedBecause } = await this.engine.ledger.get(this.run.id);
    if (state === "done" || state === "cancelled" || this.#expanded) await this.#dropList();
    if (!counts) {
      const end: RunEnd = this.#expanded ? "goes-on" : "half-submitted";
      return {
        counts: await this.engine.ledger.counts(this.run.id),
        end,
        deletionRefused: "",
        stoppedBecause,
      };
    }
    const untold = counts.files - this.#told.size;
    if (this.options.secrets && this.run.batch === 0 && untold > 0)
      events.warn(`${untold} files were not shown, for Redis could not be reached for long; all are counted`);
    const known = { counts, deletionRefused, stoppedBecause };
    if (state === "cancelled") return { ...known, end: "cancelled" };
    return expansion.listing
      ? { ...known, end: "incomplete", listing: expansion.listing }
      : { ...known, end: "done" };
  }

  /**
   * Submits all files of the run and leaves the run to the fleet.
   *
   * @param stop ends that before all are submitted: the run can be resumed then. Default: nothing does.
   * @returns the batches to confirm with {@link untilDurable}; undefined if the run was cancelled meanwhile.
   * @throws ListingError if a source could not be listed completely.
   */
  async submitAll(events: RunEvents, stop?: AbortSignal): Promise<Batches | undefined> {
    stop?.addEventListener("abort", () => this.#stop.abort(), { once: true });
    if (stop?.aborted) this.#stop.abort();
    return await this.#expand(this.options.secrets as RunSecrets, events);
  }

  /**
   * Resolves when all submitted files are on Redis's disk, as far as Redis can tell.
   *
   * @param untilOnDisk resolves when what was written until now is. Default: asks Redis, whose connection answers nothing
   *   else meanwhile.
   */
  async untilDurable(batches: Batches | undefined, untilOnDisk = () => this.#untilOnDisk()): Promise<void> {
    await untilOnDisk();
    await batches?.confirm();
    await this.engine.ledger.leave(this.run.id); // Redis may have forgotten that it was left
    if (this.#expanded) await this.#dropList();
  }

  async #untilOnDisk(): Promise<void> {
    try {
      await this.engine.redis.call("WAITAOF", 1, 0, WAITAOF_MS);
    } catch {
      await sleep(EVERYSEC_MS); // Redis before 7.2 has no WAITAOF
    }
  }

  /** Removes the copy of a list, which may hold secrets. Whoever only follows a run has no part in it. */
  async #dropList(): Promise<void> {
    const { listIsStdin, listIsStored, list } = this.run.spec;
    if (!this.options.secrets) return;
    const { redis, keys } = this.engine;
    if (listIsStored) await new SecretStore(redis, keys).dropList(this.run.id);
    else if (listIsStdin && list !== undefined) dropKept(list);
  }

  async #expandIfOurs(events: RunEvents): Promise<{ batches?: Batches | undefined; listing?: ListingError }> {
    const { secrets } = this.options;
    if (!secrets) return {};
    if (this.run.sealed) {
      await this.engine.ledger.leave(this.run.id); // nothing is left to find or to remove
      return {};
    }
    try {
      return { batches: await this.#expand(secrets, events) };
    } catch (error) {
      if (error instanceof ListingError) return { listing: error };
      throw error;
    }
  }

  /** @returns the counts of a run that is over; undefined if following was stopped. */
  async #untilOver(
    { batches, listing }: { batches?: Batches | undefined; listing?: ListingError },
    events: RunEvents,
  ): Promise<RunCounts | undefined> {
    const { ledger } = this.engine;
    const { id } = this.run;
    // Counted by answers: time without Redis makes nothing durable.
    let confirmations = batches ? CONFIRM_MS / (LOOK_MS * 2) : 0;
    while (!this.#stop.signal.aborted) {
      const isConfirmed = confirmations-- > 0;
      if (isConfirmed) await batches?.confirm();
      let run: Run;
      try {
        run = await ledger.get(id);
      } catch (error) {
        if (isConfirmed && error instanceof SettingsError) continue; // forgotten since: it is made anew
        throw error;
      }
      if (batches && run.owner === PROCESS_NAME) await ledger.leave(id); // Redis had forgotten that it was left
      const counts = await ledger.counts(id);
      if (!this.options.secrets) this.#tellFound(run.sealed, counts.files, events);
      const settled = counts.settled === counts.files;
      if (settled && run.sealed && run.state === "running") await ledger.finishFleet(id); // there may be no worker left to do it
      if (settled && (listing !== undefined || run.state === "done" || run.state === "cancelled"))
        return counts;
      await sleep(LOOK_MS * 2);
    }
    return undefined;
  }

  /** @returns the batches to confirm; undefined if the run was cancelled meanwhile. */
  async #expand(secrets: RunSecrets, events: RunEvents): Promise<Batches | undefined> {
    const { run, engine } = this;
    const { ledger } = engine;
    const { signal } = this.#stop;
    const tree = openTree(run.spec);
    const spec = withCustomerKeys(run.spec, secrets.customerKeys);
    const check = await openCheck(spec, tree, signal, events.warn);
    let lost = false;
    const hold = async () => {
      lost = !(await ledger.hold(run.id));
      if (lost) this.#stop.abort();
    };
    const holding = setInterval(() => void hold().catch(() => {}), HOLD_EVERY_MS); // Redis may be away: the next interval tries again
    const expansion = new RunExpansion({
      engine,
      run,
      secrets,
      tree,
      stdin: this.options.stdin,
      given: this.options.given,
      check,
      signal,
      host: {
        onQueued: (_batch, filesByHost) => {
          for (const files of filesByHost.values()) events.queued(files);
        },
        onSettled: (outcome) => {
          this.#told.add(outcome.index);
          events.queued(1);
          events.settled(outcome);
        },
        room: this.#backlogRoom(),
        calm: () => sleep(LOOK_MS * 2),
        warn: (message) => events.warn(message),
      },
    });
    try {
      const batches = await expansion.run();
      if (lost) throw RunLostError.takenOver(run.id);
      this.#expanded = !signal.aborted;
      return batches;
    } catch (error) {
      if (!(error instanceof RunLostError)) throw error;
      if ((await ledger.get(run.id)).state !== "cancelled") throw error;
      return undefined;
    } finally {
      clearInterval(holding);
      await check?.close();
      tree.close();
      await ledger.leave(run.id).catch(() => {}); // otherwise the hold expires
    }
  }

  /**
   * Waits until the number of open files is below the high-water mark. Redis is asked only when the mark may
   * be reached.
   */
  #backlogRoom(): (files: number) => Promise<void> {
    const { run, engine } = this;
    let left = 0;
    return async (files) => {
      left -= files;
      while (left < files && !this.#stop.signal.aborted) {
        const open = await engine.ledger.openFiles(run.id);
        if (open === undefined) return; // cancelled or forgotten: the next batch reports it
        left = run.spec.backlogHighWater - open;
        if (left < files) await sleep(LOOK_MS);
      }
    };
  }

  /**
   * Reports how far the run is: the outcomes that are still kept, and how many files had ended beside these. All that
   * end afterwards are reported one by one.
   */
  async #catchUp(events: RunEvents): Promise<void> {
    const { ledger } = this.engine;
    await this.#tell(events); // from now on, outcomes are kept for this process
    const { files, settled } = await ledger.counts(this.run.id);
    const ended = settled === 0 ? new Uint8Array() : await ledger.settledBytes(this.run.id, 0, files);
    while ((await this.#tell(events)) > 0);
    const endedBefore = this.#told.countMissing(ended);
    events.endedBefore(endedBefore);
    events.queued(files - endedBefore);
    this.#found = files;
  }

  /** Reports what the process that expands the run has found since. */
  #tellFound(sealed: boolean, files: number, events: RunEvents): void {
    if (files > this.#found) events.queued(files - this.#found);
    this.#found = Math.max(files, this.#found);
    if (sealed && !this.#toldSealed) events.sealed();
    this.#toldSealed ||= sealed;
  }

  /** Reports outcomes as they arrive. */
  async #watch(events: RunEvents): Promise<void> {
    const { signal } = this.#stop;
    // Outcomes are read in large groups, because each read costs Redis as much as a file does.
    while (!signal.aborted)
      if ((await this.#tell(events)) < MOST_READ) await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
    while ((await this.#tell(events)) > 0);
    await this.#outcomes.leave();
  }

  /** @returns the number of outcomes read. */
  async #tell(events: RunEvents): Promise<number> {
    const outcomes = await this.#outcomes.read();
    for (const [index, outcome] of outcomes) if (this.#told.add(index)) events.settled({ ...outcome, index });
    return outcomes.length;
  }
}

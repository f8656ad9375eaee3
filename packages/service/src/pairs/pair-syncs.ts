import type { Carried, CarryOptions } from "@drover/producer/pair/carry-steps";
import type { PairRequest } from "@drover/producer/pair/pair-session";
import { resolveConflicts, type Take } from "@drover/producer/pair/resolve-conflicts";
import { rollback } from "@drover/producer/pair/rollback";
import { type PairEvents, type PairNumbers, syncPair } from "@drover/producer/pair/sync-pair";
import { SILENT } from "@drover/producer/runs/carry/run-handle";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import type { SyncResult } from "@drover/producer/sync-action/results";
import type { SyncContext } from "@drover/producer/sync-action/sync-tree";
import { messageOf, SettingsError } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import type { ServiceContext } from "../context.js";

/** What is known of a sync of a pair once its run was submitted. */
export interface BegunSync {
  /** Undefined where nothing was to be carried, and in a dry run. */
  run: string | undefined;
  planned: PairNumbers | undefined;
  left: { path: string; why: string }[];
}

/** Paths that are left as they are that an answer names. */
const MOST_LEFT = 1_000;

/**
 * Syncs of pairs that were asked for over the API. Each is answered once it is planned and its run submitted; this process
 * then follows it to its end. If it dies, the next sync of the pair takes up what is left.
 */
export class PairSyncs {
  readonly #following = new Set<Promise<unknown>>();

  constructor(private readonly context: ServiceContext) {}

  /** @throws PairGuardError, SettingsError, TransferError, ListingError before the first change. */
  sync(planned: PlannedRun, request: PairRequest, dryRun: boolean): Promise<BegunSync> {
    const { events, known } = this.#watched(planned.spec.root);
    return this.#begin(
      (options) => syncPair(this.context.engine, planned, request, { ...options, events, dryRun }),
      known,
    );
  }

  /**
   * Begins a sync for a program: of its templates, or its settings. What follows the run is done by this process, too.
   *
   * @throws as {@link sync}.
   */
  syncFor(local: string, work: (context: SyncContext) => Promise<SyncResult>): Promise<BegunSync> {
    const { engine } = this.context;
    const { events, known } = this.#watched(local);
    return this.#begin(async (options) => {
      const { runs } = await work({ ...options, engine, events });
      return { run: runs[0] };
    }, known);
  }

  /** Takes in what is told of a sync before its run begins. */
  #watched(local: string): { events: PairEvents; known: () => Omit<BegunSync, "run"> } {
    let numbers: PairNumbers | undefined;
    const left: BegunSync["left"] = [];
    const events: PairEvents = {
      ...SILENT,
      warn: (message) => this.context.log.warn({ pair: local }, redactText(message)),
      planned: (found) => {
        numbers = found;
      },
      left: ({ name: path, why }) => {
        if (left.length < MOST_LEFT) left.push({ path, why });
      },
      listed() {},
      wouldDo() {},
    };
    return { events, known: () => ({ planned: numbers, left }) };
  }

  /** @throws as {@link sync}. */
  resolve(
    planned: PlannedRun,
    request: PairRequest,
    what: { paths: readonly string[] | undefined; take: Take },
  ): Promise<BegunSync> {
    return this.#begin(
      (options) => resolveConflicts(this.context.engine, planned, request, what, options),
      () => ({ planned: undefined, left: [] }),
    );
  }

  /** @throws as {@link sync}. */
  rollback(planned: PlannedRun, request: PairRequest, runId: string): Promise<BegunSync> {
    return this.#begin(
      (options) =>
        rollback(this.context.engine, planned, request, runId, { ...options, dryRun: false, wouldDo() {} }),
      () => ({ planned: undefined, left: [] }),
    );
  }

  /** Stops following: the fleet goes on. */
  async stop(): Promise<void> {
    await Promise.allSettled(this.#following);
  }

  async #begin(
    work: (options: CarryOptions & { signal: AbortSignal }) => Promise<Pick<Carried, "run">>,
    known: () => Omit<BegunSync, "run">,
  ): Promise<BegunSync> {
    const { config, log, stopping } = this.context;
    const submitted = Promise.withResolvers<string>();
    const working = work({
      startPool: onlyFleets,
      stateDir: config.stateDir,
      keepRuns: config.keepRuns,
      events: { ...SILENT, warn: (message) => log.warn(redactText(message)) },
      submitted: submitted.resolve,
      signal: stopping,
    });
    this.#following.add(working);
    const following = working.finally(() => this.#following.delete(working));
    const run = await Promise.race([submitted.promise, following.then((carried) => carried.run)]);
    // From now on nobody waits for it.
    following.catch((error) => {
      if (!stopping.aborted)
        log.warn({ run, error: redactText(messageOf(error)) }, "sync of a pair broke off");
    });
    return { run, ...known() };
  }
}

function onlyFleets(): never {
  throw new SettingsError("the service syncs pairs by a fleet alone");
}

import type { Engine } from "@drover/shared/engine";
import { messageOf } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { RunCounts } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import type { EnqueueFile } from "@drover/shared/protocol/backlog";
import { Backlog } from "@drover/shared/protocol/backlog";
import { Catalog } from "@drover/shared/protocol/catalog";
import { recordRun } from "@drover/shared/protocol/record-run";
import { SecretStore } from "@drover/shared/protocol/secret-store";
import { redactText } from "@drover/shared/redact";
import type { Run, RunSecrets, RunSpec } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import type { DestinationCheck } from "@drover/shared/storage/storage";
import type { Tree } from "@drover/shared/storage/tree";
import { trace } from "@drover/shared/tracing";
import type { Revalidator } from "../../compare/revalidator.js";
import { removeExtraneous } from "../../delete/remove-extraneous.js";
import { Renames } from "../../delete/renames.js";
import { Batches } from "../../enqueue/batches.js";
import { Registrar, type RegistrationEvents } from "../../enqueue/register.js";
import type { Cursor } from "../../expand/cursor.js";
import type { Entry } from "../../expand/entry.js";
import { expand } from "../../expand/expand.js";
import { HeaderNames } from "../../expand/header-names.js";
import { cursorOf, openRunList } from "./run-list.js";

/** Files per call to Redis. */
const BATCH_FILES = 500;
/** Interval in ms at which found files are registered even if the batch is not full. */
const LINGER_MS = 100;
/** Interval in ms at which the cursor is saved while nothing is found. */
const SAVE_CURSOR_MS = 1_000;

export interface ExpansionOptions {
  engine: Engine;
  run: Run;
  secrets: RunSecrets;
  tree: Tree;
  /**
   * The run's list if it comes through a pipe; otherwise undefined, and the list is opened from the run's
   * spec.
   */
  stdin: NodeJS.ReadableStream | undefined;
  /** Files that were found already, instead of those of the sources. */
  given?: GivenFiles | undefined;
  revalidator?: Revalidator;
  check: DestinationCheck | undefined;
  /** Aborts the expansion; the run can be resumed at the saved cursor. */
  signal: AbortSignal;
  host: ExpansionHost;
}

/**
 * The files of a run that were found before it was submitted, in batches. Those of a phase are registered when all of the
 * phase before have ended.
 *
 * @param runId of the run that they become files of.
 */
export type GivenFiles = (runId: string, spec: RunSpec, tree: Tree) => AsyncGenerator<EnqueueFile[]>[];

/** Callbacks of the process that expands a run, whether it carries the files or follows the run. */
export interface ExpansionHost extends RegistrationEvents {
  /** Resolves when the backlog has room for that many more files. */
  room(files: number): Promise<void>;
  /** Resolves when files were settled, or after a moment. */
  calm(): Promise<void>;
  warn(message: string): void;
}

/**
 * Expands a run's sources from the saved cursor and registers the files. If the run deletes extraneous files,
 * their removal is registered after everything else is settled.
 */
export class RunExpansion {
  readonly #catalog: Catalog;
  readonly #secrets: SecretStore;
  readonly #batches: Batches;
  readonly #registrar: Registrar;
  /** Whether two files of the run could have the same destination. Files of a single listing cannot. */
  readonly #claims: boolean;
  readonly #batchFiles: number;
  readonly #names: HeaderNames | undefined;
  #pending: Entry[] = [];
  #reached: Cursor | undefined;
  #savedMs = performance.now();
  #sending: Promise<void> = Promise.resolve();
  #broken: unknown;

  constructor(private readonly options: ExpansionOptions) {
    const { engine, run, secrets, tree, revalidator, check, host } = options;
    const { redis, keys, ledger } = engine;
    const { spec } = run;
    this.#claims = spec.sources.length > 1 || spec.list !== undefined;
    this.#batchFiles = Math.min(BATCH_FILES, spec.backlogHighWater);
    this.#catalog = new Catalog(redis, keys);
    this.#secrets = new SecretStore(redis, keys);
    this.#batches = new Batches({
      backlog: new Backlog(redis, keys, PROCESS_NAME),
      ledger,
      secrets: this.#secrets,
      run,
      claims: this.#claims,
      recreate: () => recordRun(ledger, spec, secrets, run.id),
    });
    const comparison = { spec, tree, catalog: this.#catalog, revalidator, check };
    if (spec.namesFromHeader) this.#names = new HeaderNames(spec, secrets.headers, options.signal);
    this.#registrar = new Registrar(run.id, comparison, this.#batches, host);
  }

  /**
   * @returns the batches, which the caller confirms for a while.
   * @throws ListingError if a source could not be listed completely: the files found are registered, the run
   *   is not sealed. RunLostError if the run was cancelled or another process has taken it.
   */
  async run(): Promise<Batches> {
    const { run } = this.options;
    const expanding = trace("find files", run.spec.traceparent);
    try {
      const batches = await this.#run();
      expanding.end(() => ({ "drover.run": run.id }));
      return batches;
    } catch (error) {
      expanding.end(() => ({ "drover.run": run.id }), redactText(messageOf(error)));
      throw error;
    }
  }

  async #run(): Promise<Batches> {
    const { engine, run, secrets, tree, signal, given } = this.options;
    const { ledger } = engine;
    if (given) {
      await this.#registerGiven(given(run.id, run.spec, tree));
      if (!signal.aborted) await this.#batches.seal();
      return this.#batches;
    }
    await this.#catalog.register(tree);
    const renames = await this.#findRenames();
    this.#registrar.renames = renames;
    const incomplete = await this.#registerAll().finally(async () => {
      await renames?.close();
      await this.#names?.close();
    });
    if (signal.aborted) return this.#batches;
    if (incomplete) throw incomplete;
    if (secrets.logins) await this.#secrets.dropLogins(run.id);
    if (this.#claims)
      await ledger.forgetClaims(run.id, run.batch === 0 ? this.#registrar.claimBuckets : undefined);
    if (run.spec.delete) {
      const counts = await this.#settled();
      if (!counts) return this.#batches;
      const why = await this.#remove(counts);
      if (signal.aborted) return this.#batches;
      if (why !== "") await ledger.noteDeletionRefused(run.id, why);
    }
    await this.#catalog.register(tree); // again: Redis may have forgotten it, or somebody dropped it
    await this.#batches.seal();
    return this.#batches;
  }

  async #registerGiven(phases: AsyncGenerator<EnqueueFile[]>[]): Promise<void> {
    const { run, signal, host } = this.options;
    const cursor: Cursor = { sources: run.spec.sources.length, listByte: 0 };
    for (const phase of phases) {
      for await (const files of phase) {
        if (signal.aborted) return;
        await host.room(files.length);
        await this.#batches.send(JSON.stringify(cursor), files, new Map());
        failpoint("enqueue");
        const byHost = new Map<string, number>();
        for (const { host: of } of files) byHost.set(of, (byHost.get(of) ?? 0) + 1);
        host.onQueued(this.#batches.number, byHost);
      }
      if (phase !== phases.at(-1) && !(await this.#settled())) return;
    }
  }

  /** @returns why not all files were found. */
  async #registerAll(): Promise<ListingError | undefined> {
    let incomplete: ListingError | undefined;
    const timer = setInterval(() => void this.#send().catch(() => {}), LINGER_MS); // thrown below as #broken
    try {
      await this.#take().catch((error) => {
        if (error instanceof ListingError)
          incomplete = error; // the files listed so far are carried
        else if (!this.options.signal.aborted) throw error;
      });
      await this.#send(true);
      if (this.#broken !== undefined) throw this.#broken;
    } finally {
      clearInterval(timer);
    }
    return incomplete;
  }

  async #take(): Promise<void> {
    const { run, secrets, stdin, signal, host } = this.options;
    let taken = 0;
    await host.room(this.#batchFiles);
    for await (const found of expand({
      spec: run.spec,
      sources: secrets.sources,
      list: stdin ?? openRunList(run),
      baseUrl: secrets.baseUrl,
      logins: secrets.logins,
      from: cursorOf(run),
      signal,
      warn: (message) => host.warn(message),
    })) {
      failpoint("expand");
      if (signal.aborted || this.#broken !== undefined) return;
      this.#reached = found.cursor;
      if ("passed" in found) continue;
      this.#pending.push(found);
      if (++taken < this.#batchFiles) continue;
      taken = 0;
      await this.#send();
      await host.room(this.#batchFiles);
    }
  }

  /** Registers the files found since the last call; batches go one after the other. */
  #send(end = false): Promise<void> {
    const entries = this.#pending;
    const cursor = this.#reached;
    const nowMs = performance.now();
    if (entries.length === 0 && !end && nowMs - this.#savedMs < SAVE_CURSOR_MS) return this.#sending;
    this.#savedMs = nowMs;
    this.#pending = [];
    this.#reached = undefined;
    this.#sending = this.#sending.then(async () => {
      if (cursor === undefined || this.#broken !== undefined) return;
      const named = this.#names ? await this.#names.name(entries) : entries;
      await this.#registrar.register(named, cursor);
    });
    this.#sending.catch((error) => {
      this.#broken ??= error;
    });
    return this.#sending;
  }

  /** Waits until all registered files are settled. @returns undefined if the run is stopped before. */
  async #settled(): Promise<RunCounts | undefined> {
    const { engine, run, signal, host } = this.options;
    while (!signal.aborted) {
      if (run.spec.fleet) await this.#batches.confirm();
      const counts = await engine.ledger.counts(run.id);
      if (counts.settled >= counts.files) return signal.aborted ? undefined : counts;
      await host.calm();
    }
    return undefined;
  }

  #findRenames(): Promise<Renames | undefined> {
    const { run, secrets, tree, signal, host } = this.options;
    const { sources } = secrets;
    const trees = { spec: run.spec, sources, tree, signal, warn: (message: string) => host.warn(message) };
    return Renames.find(trees, this.#catalog);
  }

  /** @returns why nothing is removed, or "". */
  #remove(counts: RunCounts): Promise<string> {
    const { run, secrets, tree, signal, host } = this.options;
    return removeExtraneous({
      runId: run.id,
      spec: run.spec,
      sources: secrets.sources,
      tree,
      batches: this.#batches,
      counts,
      signal,
      host,
    });
  }
}

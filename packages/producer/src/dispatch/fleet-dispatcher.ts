import { SettingsError } from "@drover/shared/errors";
import { Admission } from "@drover/shared/protocol/admission";
import { Backlog } from "@drover/shared/protocol/backlog";
import { dispatchPause } from "@drover/shared/protocol/dispatch-pause";
import { BREAKER, HOST_LIMIT } from "@drover/shared/protocol/fields";
import {
  type FileCancellation,
  fileCancellations,
  forgetCancellation,
} from "@drover/shared/protocol/file-cancellations";
import { hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import { DEFAULT_LIMIT } from "@drover/shared/protocol/host-limits";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Ledger } from "@drover/shared/protocol/ledger";
import { stopIfDue } from "@drover/shared/protocol/run-limits";
import { fileRuns } from "@drover/shared/protocol/run-retention";
import { pipelined, resent } from "@drover/shared/redis/script";
import { destinationOf } from "@drover/shared/storage/registry";
import { observe } from "@drover/shared/telemetry";
import type { Redis } from "ioredis";
import { Census } from "./census.js";
import { FleetJobs } from "./fleet-jobs.js";
import { Chunk, type DispatchedRun, Flow, hostOfChunk, jobsOf, type Pending, spansOf } from "./flow.js";
import { Sweeper } from "./sweeper.js";
import { WINDOW_FILES } from "./window.js";

/** The clocks of Redis and of this machine are thought no further apart than this, in milliseconds. */
const CLOCKS_APART_MS = 60_000;
/** Most files in BullMQ at once, over all hosts. */
const MOST_QUEUED = 20_000;
/** Most chunks of a flow that are read at once. */
const MOST_READ = 64;
/**
 * Time in ms after which files that have not ended and are nowhere, neither in the backlog nor in the queue, are looked
 * for.
 */
const LOST_AFTER_MS = 10_000;
/** Limits of runs are looked at with this interval, in ms. */
const LIMITS_EVERY_MS = 500;
/** Files that are to be cancelled are looked for with this interval, in ms. */
const CANCELLATIONS_EVERY_MS = 250;
/** Priority at which tags are reset. BullMQ's limit is 2^21 - 1. */
const HIGHEST_PRIORITY = 2_000_000;

export interface FleetDispatcherOptions {
  redis: Redis;
  keys: Keys;
  ledger: Ledger;
  owner: string;
  log(message: string, fields?: Record<string, unknown>): void;
}

/**
 * The work of a fleet's leader. It feeds the backlogs of all runs into BullMQ (a window per run and host,
 * fair turns, nothing for blocked hosts), finds lost or removed jobs, and ends runs. All its state is read
 * from Redis and every step may be repeated, so another leader can take over at any time.
 */
export class FleetDispatcher {
  readonly #runs = new Map<string, DispatchedRun>();
  readonly #jobs: FleetJobs;
  readonly #sweeper: Sweeper;
  readonly #census: Census;

  readonly #backlog: Backlog;
  #started = false;
  #limitsMs = 0;
  #cancellationsMs = 0;
  #paused = false;

  constructor(private readonly options: FleetDispatcherOptions) {
    const { redis, keys, ledger, log } = options;
    this.#backlog = new Backlog(redis, keys, options.owner);
    this.#jobs = new FleetJobs(redis, keys, this.#backlog);
    this.#census = new Census({ redis, keys, ledger, backlog: this.#backlog });
    this.#sweeper = new Sweeper({ redis, keys, ledger, backlog: this.#backlog, jobs: this.#jobs, log });
  }

  async close(): Promise<void> {
    await this.#jobs.close();
  }

  /** Does one round. @returns whether there was work, so that the next round should follow soon. */
  async tick(): Promise<boolean> {
    if (!this.#started) await this.#lookForRuns();
    this.#started = true;
    await this.#lookAtLimits();
    await this.#lookAtRuns();
    await this.#lookAtCancelledFiles();
    await this.#lookAtSettled();
    const busy = await this.#feed();
    await this.#sweeper.sweep(this.#flows(), (id) => this.#runs.get(id));
    await this.#census.take(this.#runs.values(), this.#paused);
    return busy || this.#flows().some((flow) => flow.inQueue > 0);
  }

  #flows(): Flow[] {
    return [...this.#runs.values()].flatMap((run) => [...run.flows.values()]);
  }

  /** Finds runs that go on and are not among the active ones: somebody deleted the key with those. */
  async #lookForRuns(): Promise<void> {
    const { ledger } = this.options;
    await fileRuns(this.options);
    const runs = (await ledger.unfinished()).filter(
      ({ spec, state }) => spec.fleet && (state === "running" || state === "interrupted"),
    );
    await ledger.activate(runs.map((run) => run.id));
  }

  /** Cancels runs that have reached limits of their own. */
  async #lookAtLimits(): Promise<void> {
    const nowMs = Date.now();
    if (nowMs - this.#limitsMs < LIMITS_EVERY_MS) return;
    this.#limitsMs = nowMs;
    const mayBeDue = [...this.#runs.values()].filter(
      ({ spec: { deadlineMs = Infinity, stopAfterFailures, budgets } }) =>
        deadlineMs <= nowMs || stopAfterFailures !== undefined || budgets !== undefined,
    );
    await Promise.all(
      mayBeDue.map(async ({ id }) => {
        const why = await stopIfDue(this.options, id);
        if (why !== undefined) this.options.log("run stops by itself", { run: id, why });
      }),
    );
  }

  /** Reads new runs and new chunks, and ends finished runs. */
  async #lookAtRuns(): Promise<void> {
    const { ledger } = this.options;
    const active = new Set(await ledger.active());
    const ids = [...new Set([...active, ...this.#runs.keys()])];
    const standings = await ledger.standings(ids);
    await ledger.activate(ids.filter((id, at) => !active.has(id) && standings[at]?.ended === false));
    for (const [at, id] of ids.entries()) {
      const standing = standings[at];
      const run = standing && (this.#runs.get(id) ?? (await this.#open(id)));
      if (!run) {
        await this.options.redis.srem(this.options.keys.active(), id);
        this.#forget(id);
        continue;
      }
      if (standing.chunks !== run.seen) await this.#lookAtBacklog(run);
      if (standing.cancelled) await this.#settleBacklog(run, undefined, "cancelled");
      const rests = [...run.flows.values()].some((flow) => flow.hasMore || flow.inQueue > 0);
      if (!rests && (standing.sealed || standing.cancelled) && (await ledger.finishFleet(id))) {
        this.options.log("run ended", { run: id });
        observe("runs.seconds", Math.max(Date.now() - run.startedMs, 0) / 1_000);
        this.#forget(id);
      } else await this.#lookForLost(run, rests || standing.chunks > 0);
    }
  }

  /**
   * Looks for files that have not ended although nothing is left to do: those of which Redis has forgotten that they
   * had, which are carried again; those that another run was to carry and does not; and those that Redis has lost.
   */
  async #lookForLost(run: DispatchedRun, isBusy: boolean): Promise<void> {
    const nowMs = Date.now();
    if (isBusy) run.busyMs = nowMs;
    if (nowMs - run.busyMs < LOST_AFTER_MS) return;
    run.busyMs = nowMs;
    if ((await this.#readInFlight(run)) > 0) return;
    const joined = await this.#backlog.joined(run.id);
    for (const [chunk, files] of joined)
      await this.#backlog.leaveJoined(run.id, chunk, await this.#jobs.joinedFiles(run, files));
    const lost = joined.length > 0 ? 0 : await this.options.ledger.settleLost(run.id);
    if (lost > 0)
      this.options.log("files of a run were lost by Redis: they count as failed", { run: run.id, lost });
  }

  #forget(id: string): void {
    this.#runs.delete(id);
  }

  async #open(id: string): Promise<DispatchedRun | undefined> {
    const { redis, keys, ledger, owner } = this.options;
    const found = await ledger.get(id).catch((error) => {
      if (!(error instanceof SettingsError)) throw error; // otherwise the run is gone or of another version
    });
    if (!found) return undefined;
    const { spec, startedMs } = found;
    const run: DispatchedRun = {
      id,
      spec,
      startedMs,
      admission: new Admission(redis, keys, owner, 0),
      breakers: hostBreakersOf(spec),
      tree: destinationOf(spec.root).namesOf(spec.root, spec),
      flows: new Map(),
      seen: 0,
      busyMs: Date.now(),
      shared: new Set(),
    };
    await this.#readInFlight(run);
    this.#runs.set(id, run);
    return run;
  }

  /** Reads chunks in flight that are not known here. @returns how many those are. */
  async #readInFlight(run: DispatchedRun): Promise<number> {
    let read = 0;
    for (const [id, files] of await this.#backlog.inFlight(run.id)) {
      const { chunks } = this.#flow(run, hostOfChunk(id));
      if (chunks.has(id)) continue;
      const chunk = new Chunk(id, []);
      chunk.isInFlight = true;
      chunk.addedMs = Date.now();
      for (const job of jobsOf(run.id, files))
        chunk.pending.set(job.i, { job, priority: 1, addedMs: Date.now() });
      chunks.set(id, chunk);
      read++;
    }
    return read;
  }

  #flow(run: DispatchedRun, host: string): Flow {
    let flow = run.flows.get(host);
    if (!flow) {
      flow = new Flow(run.id, host);
      run.flows.set(host, flow);
    }
    return flow;
  }

  async #lookAtBacklog(run: DispatchedRun): Promise<void> {
    const chunks = await this.#backlog.chunkIds(run.id);
    run.seen = chunks.length;
    for (const flow of run.flows.values()) flow.waiting = [];
    for (const chunk of chunks) {
      const flow = this.#flow(run, hostOfChunk(chunk));
      if (!flow.chunks.has(chunk)) flow.waiting.push(chunk);
    }
  }

  /** Ends files that are to be cancelled and that no worker carries. Workers see to those that they carry. */
  async #lookAtCancelledFiles(): Promise<void> {
    const nowMs = Date.now();
    if (nowMs - this.#cancellationsMs < CANCELLATIONS_EVERY_MS) return;
    this.#cancellationsMs = nowMs;
    const { redis, keys } = this.options;
    for (const file of await fileCancellations(redis, keys)) {
      const run = this.#runs.get(file.run);
      if (!run || (await redis.getbit(keys.done(run.id), file.index)) === 1) {
        await forgetCancellation(redis, keys, file);
        continue;
      }
      const chunk = await this.#chunkOf(run, file);
      if (!chunk) continue; // it moves: the next look finds it
      await this.#jobs.giveUp(run, chunk, "cancelled", file.index);
      if (chunk.rest.length === 0 && !chunk.isInFlight) await this.#markInFlight(run, [chunk]);
    }
  }

  async #chunkOf(run: DispatchedRun, file: FileCancellation): Promise<Chunk | undefined> {
    const flow = this.#flow(run, hostOfChunk(file.chunk));
    const at = flow.waiting.indexOf(file.chunk);
    if (at >= 0) {
      flow.waiting.splice(at, 1);
      const [files = []] = await this.#backlog.chunks(run.id, [file.chunk]);
      flow.chunks.set(file.chunk, new Chunk(file.chunk, jobsOf(run.id, files)));
    }
    return [...flow.chunks.values()].find(
      ({ pending, rest }) => pending.has(file.index) || rest.some(({ i }) => i === file.index),
    );
  }

  /** Drops settled files. */
  async #lookAtSettled(): Promise<void> {
    const { redis, keys } = this.options;
    const spans = [...this.#runs.values()].flatMap((run) => spansOf(run));
    if (spans.length > 0) {
      const answers = await resent(redis, () =>
        Promise.all(
          spans.map(({ runId, first, last }) =>
            redis.getrangeBuffer(keys.done(runId), first >> 3, last >> 3),
          ),
        ),
      );
      for (const [at, { first, chunks }] of spans.entries())
        for (const chunk of chunks) chunk.drop(first, answers[at] as Buffer);
    }
    for (const flow of this.#flows()) {
      for (const chunk of flow.chunks.values()) {
        if (chunk.pending.size > 0 || !chunk.isInFlight) continue;
        flow.chunks.delete(chunk.id);
        await this.#backlog.dropInFlight(flow.runId, chunk.id);
      }
    }
  }

  async #isPaused(): Promise<boolean> {
    const { redis, keys, log } = this.options;
    const pause = await dispatchPause(redis, keys);
    const isPaused = pause !== undefined;
    if (isPaused !== this.#paused) log(isPaused ? "dispatch is paused" : "dispatch goes on", { ...pause });
    this.#paused = isPaused;
    return isPaused;
  }

  /** Adds files to BullMQ up to the windows. The flow with the lowest start tag goes first. */
  async #feed(): Promise<boolean> {
    const flows = this.#flows().filter((flow) => flow.hasMore);
    if (flows.length === 0 || (await this.#isPaused())) return false;
    const blocked = await this.#lookAtBreakers(flows);
    const oldest = Math.min(...this.#flows().map((flow) => flow.oldestTag));
    const now = Number.isFinite(oldest) ? oldest : 0;
    if (Math.max(...flows.map((flow) => flow.nextTag)) >= HIGHEST_PRIORITY) {
      if (Number.isFinite(oldest)) return true; // once BullMQ is empty, the tags restart at 0
      for (const flow of this.#flows()) flow.nextTag = 0;
    }
    let fed = false;
    let left = MOST_QUEUED - this.#flows().reduce((sum, flow) => sum + flow.inQueue, 0);
    flows.sort((a, b) => a.nextTag - b.nextTag);
    for (const flow of flows) {
      const run = this.#runs.get(flow.runId) as DispatchedRun;
      if (run.breakers.isGivenUp(flow.host)) {
        await this.#settleBacklog(run, flow.host, "blocked");
        continue;
      }
      if (blocked.has(flow.host)) continue;
      flow.nextTag = Math.max(flow.nextTag, now);
      const cap = run.spec.maxWorkers > 0 ? run.spec.maxWorkers - this.#inRun(run) : WINDOW_FILES;
      const before = flow.inQueue;
      const room = Math.min(flow.window.room(before), cap, left);
      if (room > 0) fed = (await this.#feedFlow(run, flow, room)) || fed;
      left -= flow.inQueue - before;
    }
    return fed;
  }

  #inRun(run: DispatchedRun): number {
    return [...run.flows.values()].reduce((sum, flow) => sum + flow.inQueue, 0);
  }

  /** @returns hosts whose breaker is open. */
  async #lookAtBreakers(flows: Flow[]): Promise<Set<string>> {
    const { redis, keys } = this.options;
    const hosts = [...new Set(flows.map((flow) => flow.host))].filter((host) => host !== "");
    const answers = await pipelined(redis, () => {
      const pipeline = redis.pipeline();
      for (const host of hosts)
        pipeline
          .hmget(keys.breaker(host), BREAKER.state, BREAKER.openUntilMs, BREAKER.openedMs)
          .hmget(keys.limit(host), HOST_LIMIT.files, HOST_LIMIT.adaptedFiles);
      return pipeline.hget(keys.limit(DEFAULT_LIMIT), HOST_LIMIT.files);
    });
    const open = new Set<string>();
    const nowMs = Date.now();
    for (const [at, host] of hosts.entries()) {
      const [state, until, opened] = answers[at * 2] as (string | null)[];
      const [files, adapted] = answers[at * 2 + 1] as (string | null)[];
      const limit = Number(adapted ?? files ?? answers.at(-1) ?? 0);
      // One that opens in the future was open before the clock was set back: a file that asks for the host puts it right.
      const untilMs = state === "o" && Number(opened ?? 0) <= nowMs + CLOCKS_APART_MS ? Number(until) : 0;
      if (untilMs > nowMs) open.add(host);
      for (const flow of flows) {
        if (flow.host !== host) continue;
        const { breakers } = this.#runs.get(flow.runId) as DispatchedRun;
        flow.window.limitTo(limit > 0 ? limit : undefined);
        if (state === null) breakers.closed(host);
        else breakers.report(host, untilMs, false);
        if (state === null) flow.window.grow();
        else flow.window.probe();
      }
    }
    return open;
  }

  async #feedFlow(run: DispatchedRun, flow: Flow, room: number): Promise<boolean> {
    let left = room;
    let toRead = 1;
    while (left > 0) {
      if (![...flow.chunks.values()].some((each) => each.rest.length > 0)) {
        const read = await this.#read(run, flow, toRead);
        if (read === undefined) break;
        // With many hosts, chunks are small: the next read fetches about as many chunks as fill the room.
        toRead = Math.min(Math.ceil((left * toRead) / Math.max(read, 1)), MOST_READ);
      }
      const ended: Chunk[] = [];
      const taken: [Chunk, Pending[]][] = [];
      for (const chunk of flow.chunks.values()) {
        if (chunk.isInFlight) continue;
        const jobs = chunk.rest.splice(0, left);
        left -= jobs.length;
        taken.push([chunk, jobs.map((job) => ({ job, priority: ++flow.nextTag, addedMs: Date.now() }))]);
        if (chunk.rest.length === 0) ended.push(chunk);
        if (left === 0) break;
      }
      await this.#jobs.add(taken.flatMap(([, jobs]) => jobs));
      for (const [chunk, jobs] of taken) {
        for (const each of jobs) chunk.pending.set(each.job.i, each);
        chunk.addedMs = Date.now();
      }
      await this.#markInFlight(run, ended);
    }
    return left < room;
  }

  /** Reads the next chunks of a flow. @returns their number of files; undefined if there are no more chunks. */
  async #read(run: DispatchedRun, flow: Flow, count: number): Promise<number | undefined> {
    const ids = flow.waiting.splice(0, count);
    if (ids.length === 0) return undefined;
    let files = 0;
    for (const [at, found] of (await this.#backlog.chunks(run.id, ids)).entries()) {
      const id = ids[at] as string;
      flow.chunks.set(id, new Chunk(id, jobsOf(run.id, found)));
      files += found.length;
    }
    return files;
  }

  async #markInFlight(run: DispatchedRun, chunks: Chunk[]): Promise<void> {
    if (chunks.length === 0) return;
    await this.#backlog.markInFlight(run.id, ...chunks.map((chunk) => chunk.id));
    run.seen -= chunks.length;
    for (const chunk of chunks) chunk.isInFlight = true;
  }

  /**
   * Settles what is left in a run's backlog without carrying it. A file that other runs wait for is still
   * carried.
   */
  async #settleBacklog(
    run: DispatchedRun,
    host: string | undefined,
    outcome: "cancelled" | "blocked",
  ): Promise<void> {
    for (const flow of run.flows.values()) {
      if (host !== undefined && flow.host !== host) continue;
      while ((await this.#read(run, flow, 1)) !== undefined);
      for (const chunk of flow.chunks.values()) {
        await this.#jobs.giveUp(run, chunk, outcome);
        if (!chunk.isInFlight) await this.#markInFlight(run, [chunk]);
      }
    }
  }
}

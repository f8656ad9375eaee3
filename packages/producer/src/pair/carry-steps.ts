import type { Engine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import { shortHash } from "@drover/shared/ids";
import type { NewJob } from "@drover/shared/job";
import { isSuccess, type Outcome, type RunCounts } from "@drover/shared/outcome";
import { type Ancestor, decodeAncestor } from "@drover/shared/pair/ancestor";
import type { PairStore } from "@drover/shared/pair/store";
import type { EnqueueFile } from "@drover/shared/protocol/backlog";
import { flightHash } from "@drover/shared/protocol/flights";
import type { RunSpec } from "@drover/shared/run";
import { below, hostOf } from "@drover/shared/storage/registry";
import type { Spool } from "../delete/spool.js";
import type { RunEnd, RunEvents } from "../runs/carry/run-handle.js";
import { type SubmitOptions, submit } from "../runs/carry/submit.js";
import { writeMarkers } from "./marker.js";
import type { PlannedStep } from "./pair-plan.js";
import type { PairSession } from "./pair-session.js";
import { pruneBackups } from "./prune-backups.js";

/** Files per call to Redis. */
const BATCH = 500;
const KEEP_BACKUPS_MS = 30 * 24 * 3_600_000;

export interface CarryOptions extends Pick<SubmitOptions, "startPool" | "stateDir" | "keepRuns" | "live"> {
  events: RunEvents;
  /** Called with the id of the run once it was submitted. */
  submitted?(runId: string): void;
  /** How long what runs have replaced is kept, in milliseconds. Default: 30 days. */
  keepBackupsMs?: number;
}

/** How steps were carried out. */
export interface Carried {
  /** Id of the run; undefined where there was nothing to carry. */
  run: string | undefined;
  counts: RunCounts | undefined;
  /** `done` where there was no run. */
  end: RunEnd;
}

/**
 * Carries out steps as one run: notes that it begins, follows it, and notes what it left. A run that breaks off is gone on with
 * by the next sync.
 *
 * @param notes ancestors to be set without a step, before it: encoded in base64, "" to drop one.
 */
export async function carrySteps(
  engine: Engine,
  session: PairSession,
  { steps, notes }: { steps: Spool<PlannedStep>; notes?: Spool<[name: string, ancestor: string]> },
  options: CarryOptions,
): Promise<Carried> {
  const { record, store, sides, marked, adopts, runId, planned, signal } = session;
  const { events } = options;
  const isFirst = record.lastRun === undefined || adopts !== undefined;
  const unmarked = marked.filter((side) => adopts !== undefined || record.marked?.[side] === undefined);
  if (adopts !== undefined) {
    await dropAncestors(store);
    record.generation = adopts;
  }
  if (unmarked.length > 0) {
    // Before the record: a pair that is recorded has its markers, whenever this process is killed.
    await writeMarkers(record, sides, unmarked, signal);
  }
  if (steps.count > 0 || isFirst) {
    record.lastRun = runId;
    delete record.lastEndedMs;
    delete record.lastFailed;
  }
  await store.setRecord(record);
  if (notes) await setNotes(session, notes);
  if (steps.count === 0) {
    await noteEnd(session, false, events);
    return { run: undefined, counts: undefined, end: "done" };
  }
  await store.beginUndo(runId);
  if (session.owes) {
    await session.owes.owe(steps.all());
    const { hook } = session.owes;
    events.warn(`the program is not told of changed ${hook} now: the next drover ${hook} does that`);
  }
  const offset = session.clockOffsetMs();
  if (offset !== undefined) planned.spec.pair.clockOffsetMs = offset;
  const { startPool, stateDir, keepRuns, live } = options;
  const handle = await submit(engine, planned, {
    startPool,
    stateDir,
    runId,
    given: (id, spec, tree) => phasesOf(steps, id, spec, tree),
    ...(keepRuns === undefined ? {} : { keepRuns }),
    ...(live === undefined ? {} : { live }),
    warn: (message) => events.warn(message),
  });
  options.submitted?.(handle.run.id);
  const solved: string[] = [];
  const settled = (outcome: Outcome) => {
    const isListed = outcome.pair?.action === "listed";
    if (isSuccess(outcome.outcome) && outcome.pair?.conflict && !isListed) solved.push(outcome.name);
    events.settled(outcome);
  };
  const followed = await handle.follow(withSettled(events, settled), signal);
  await store.dropConflicts(solved);
  const isOver = followed.end === "done" || followed.end === "cancelled";
  // Whoever has taken the pair for dead notes what becomes of it.
  if (isOver && (await session.isHeld())) {
    if (followed.counts.failed > 0) record.lastFailed = true;
    await noteEnd(session, true, events);
    await pruneBackups(session, options.keepBackupsMs ?? KEEP_BACKUPS_MS, (message) => events.warn(message));
  }
  return { run: handle.run.id, counts: followed.counts, end: followed.end };
}

async function dropAncestors(store: PairStore): Promise<void> {
  for await (const page of store.ancestors())
    await store.setAncestors(page.map(([name]) => [name, undefined]));
}

/** The events with another `settled`. */
function withSettled(events: RunEvents, settled: RunEvents["settled"]): RunEvents {
  return {
    queued: (files) => events.queued(files),
    endedBefore: (files) => events.endedBefore(files),
    sealed: () => events.sealed(),
    started: (job, attempt) => events.started(job, attempt),
    receiving: (index, progress) => events.receiving(index, progress),
    waiting: (job) => events.waiting(job),
    retrying: (job, attempt, error, delayMs) => events.retrying(job, attempt, error, delayMs),
    settled,
    warn: (message) => events.warn(message),
  };
}

/**
 * Notes that a sync has ended. Where a marker cannot be written, the sync counts as broken off, and the next one goes on: what it
 * did to files stands.
 *
 * @param hasWritten whether it may have changed a side.
 */
async function noteEnd(
  session: PairSession,
  hasWritten: boolean,
  events: Pick<RunEvents, "warn">,
): Promise<void> {
  const { record, store, sides, marked, generation, signal } = session;
  // A run that broke off may have written markers alone.
  if (hasWritten || generation > record.generation) {
    const next = { ...record, generation: Math.max(generation, record.generation) + 1 };
    try {
      await writeMarkers(next, sides, marked, signal);
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      events.warn(`the end of this sync cannot be noted, the next one goes on with it: ${error.message}`);
      return;
    }
    Object.assign(record, next);
  }
  record.lastEndedMs = Date.now();
  await store.setRecord(record);
}

async function setNotes(
  { store }: PairSession,
  noted: Spool<[name: string, ancestor: string]>,
): Promise<void> {
  let notes: [string, Ancestor | undefined][] = [];
  for await (const [name, ancestor] of noted.all()) {
    notes.push([name, ancestor === "" ? undefined : decodeAncestor(Buffer.from(ancestor, "base64"))]);
    if (notes.length < BATCH) continue;
    await store.setAncestors(notes);
    notes = [];
  }
  await store.setAncestors(notes);
}

/** The files of a run, in two phases: what frees a name, then what may need it. */
function phasesOf(
  steps: Spool<PlannedStep>,
  runId: string,
  spec: RunSpec,
  tree: { leaseOf(name: string): string },
): AsyncGenerator<EnqueueFile[]>[] {
  const { remote } = spec.pair as NonNullable<RunSpec["pair"]>;
  const fileOf = ({ name, step, side }: PlannedStep): EnqueueFile => {
    // Where one path has a step for each side, their sources tell them apart.
    const s = side === "local" ? below(spec.root, name) : below(remote, name);
    const job: NewJob = { op: "pair", s, d: name, p: step };
    const flight = flightHash(runId, job.s, name, 0);
    return {
      kind: "queued",
      host: hostOf(job.s, spec),
      destination: tree.leaseOf(name),
      source: shortHash(job.s),
      job: JSON.stringify(job),
      bytes: 0,
      failure: "",
      flight,
      ownFlight: flight,
    };
  };
  const inPhase = async function* (phase: PlannedStep["phase"]): AsyncGenerator<EnqueueFile[]> {
    let files: EnqueueFile[] = [];
    for await (const step of steps.all()) {
      if (step.phase !== phase) continue;
      if (files.push(fileOf(step)) < Math.min(BATCH, spec.backlogHighWater)) continue;
      yield files;
      files = [];
    }
    if (files.length > 0) yield files;
  };
  return [inPhase(1), inPhase(2)];
}

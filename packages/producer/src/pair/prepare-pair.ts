import type { Engine } from "@drover/shared/engine";
import { SettingsError, TransferError } from "@drover/shared/errors";
import { newRunId, shortHash } from "@drover/shared/ids";
import type { NewJob } from "@drover/shared/job";
import { type Ancestor, decodeAncestor } from "@drover/shared/pair/ancestor";
import type { PairTerms, Side } from "@drover/shared/pair/decide";
import { openSide } from "@drover/shared/pair/open-side";
import { usableOffset } from "@drover/shared/pair/path-state";
import type { FileLook, PairSide, PairSides } from "@drover/shared/pair/side";
import { allPairs, type PairRecord, PairStore } from "@drover/shared/pair/store";
import { isBelow } from "@drover/shared/paths";
import type { EnqueueFile } from "@drover/shared/protocol/backlog";
import { flightHash } from "@drover/shared/protocol/flights";
import type { RunSpec } from "@drover/shared/run";
import { below, destinationOf, hostOf, storageOf } from "@drover/shared/storage/registry";
import { wantedBy } from "../expand/wanted.js";
import type { GivenFiles } from "../runs/expand-run.js";
import type { PlannedRun } from "../runs/plan.js";
import { checkPlan, type PairLimits } from "./guards.js";
import { checkMarkers, writeMarkers } from "./marker.js";
import { PairLease } from "./pair-lease.js";
import { type PairPlan, type PlannedStep, planPair } from "./plan-pair.js";

/** Files per call to Redis. */
const BATCH = 500;

/** What is asked of a sync of a pair, beside what any run is asked. */
export interface PairRequest {
  terms: PairTerms;
  limits: PairLimits;
  /** Whether both sides are taken as they are although they are not what was synced: nothing is deleted then. */
  adopt: boolean;
  /** Where replaced and deleted versions are kept. Default: below the state directory, and beside the remote side. */
  backupDirs: Partial<Record<Side, string>>;
  /** Absolute path of the state directory. */
  stateDir: string;
  /** How long another sync of the pair is waited for, in milliseconds. */
  waitMs: number;
  /** Whether names of conflict copies end in what was added. */
  suffixed: boolean;
}

/** A sync that is planned and passed its guards. Nothing was changed yet. */
export interface PreparedPair {
  record: PairRecord;
  store: PairStore;
  plan: PairPlan;
  /** The run that carries the plan out. */
  run: { planned: PlannedRun; runId: string; given: GivenFiles };
  /** Notes what needs no run, and that the run begins. */
  begin(): Promise<void>;
  /** Notes that the run has ended, unless it broke off. */
  end(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Plans a sync of a pair: takes its lease, looks at its markers, lists both sides, decides, and asks the guards.
 *
 * @param planned a run with the local side as its root and the remote one as its only source.
 * @param onLost called when another process has taken the pair.
 * @throws PairGuardError if a guard stops it; SettingsError for sides that overlap; TransferError, ListingError if a side
 *   cannot be listed completely.
 */
export async function preparePair(
  engine: Engine,
  planned: PlannedRun,
  request: PairRequest,
  signal: AbortSignal,
): Promise<PreparedPair> {
  const { redis, keys } = engine;
  const local = planned.spec.root;
  const remote = remoteOf(planned.spec);
  checkApart(local, remote, request);
  const stop = new AbortController();
  const within = AbortSignal.any([signal, stop.signal]);
  const take = (id: string) =>
    PairLease.take(redis, keys.pair(id, "lease"), request.waitMs, () =>
      stop.abort(new Error("another process has taken the pair")),
    );
  // First that of the two sides, which may be no pair yet: two processes must not make two pairs of them.
  const sidesLease = await take(shortHash("sides", local, remote, endpointOf(remote, planned.spec)));
  const { id } =
    (await findPair(engine, local, remote, planned.spec)) ?? newPair(local, remote, planned.spec);
  const store = new PairStore(redis, keys, id);
  let lease: PairLease;
  try {
    lease = await take(id);
  } catch (error) {
    await sidesLease.release();
    throw error;
  }
  // Whoever had it may have changed the record.
  const known = await store.record();
  const record = known ?? { ...newPair(local, remote, planned.spec), id };
  const sides: PairSides = {
    local: openSide(local, planned.spec, within),
    remote: openSide(remote, planned.spec, within),
  };
  let plan: PairPlan | undefined;
  const close = async () => {
    plan?.close();
    await Promise.all([sides.local.close(), sides.remote.close()]);
    await lease.release();
    await sidesLease.release();
  };
  try {
    const marked = markedSides(request.terms);
    const { isAdopted, generation } = known?.lastRun
      ? await checkMarkers(record, sides, marked, { adopt: request.adopt, signal: within })
      : { isAdopted: false, generation: record.generation };
    if (!isAdopted && known?.lastRun && known.lastEndedMs === undefined)
      await recover(engine, known, store, sides, within);
    const runId = newRunId();
    const clockOffsetMs = () => usableOffset(sides.remote.clockOffsetMs() - sides.local.clockOffsetMs());
    const examiner = { sides, terms: request.terms, clockOffsetMs, signal: within };
    plan = await planPair(examiner, isAdopted ? NOTHING_KNOWN : store, wantedBy(planned.spec));
    checkPlan(plan, request.limits);
    const offset = clockOffsetMs();
    const spec: RunSpec = {
      ...planned.spec,
      pair: {
        id: record.id,
        remote,
        ...request.terms,
        backupDirs: backupDirsOf(record.id, runId, remote, request),
        ...(offset === undefined ? {} : { clockOffsetMs: offset }),
        ...(request.suffixed ? { suffixed: true } : {}),
      },
    };
    const { steps } = plan;
    return {
      record,
      store,
      plan,
      run: {
        planned: { ...planned, spec },
        runId,
        given: (id, runSpec, tree) => phasesOf(steps, id, runSpec, tree),
      },
      async begin() {
        if (isAdopted) {
          await dropAncestors(store);
          // No other state of the pair has this one.
          record.generation = generation + 1;
        }
        await begin(record, { store, plan: plan as PairPlan, sides, marked, runId, isAdopted }, within);
      },
      async end() {
        // Whoever has taken the pair for dead notes what becomes of it.
        const begun = { store, plan: plan as PairPlan, sides, marked, generation };
        if (await lease.isHeld()) await end(record, begun, signal);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The side of a pair that is not the root of its run: the run's only source. */
function remoteOf({ sources }: RunSpec): string {
  return (sources[0] as string).replace(/(?<=[^/])\/$/, "");
}

/** @throws SettingsError if a side, or a backup, is within another side. */
function checkApart(local: string, remote: string, { backupDirs }: PairRequest): void {
  if (storageOf(local) === storageOf(remote)) {
    const { contains } = destinationOf(local);
    if (contains(local, remote) || contains(remote, local))
      throw new SettingsError(`${local} and ${remote} overlap: a pair has two trees of its own`);
  }
  for (const [name, dir] of Object.entries(backupDirs)) {
    if (dir === undefined) continue;
    const own = name === "local" ? local : remote;
    if (storageOf(dir) !== storageOf(own))
      throw new SettingsError(`the backup of ${own} must be in the same kind of storage, not ${dir}`);
    for (const side of [local, remote])
      if (storageOf(dir) === storageOf(side) && isBelow(dir, side))
        throw new SettingsError(`the backup ${dir} is within ${side}: choose one outside of both sides`);
  }
}

async function findPair(
  { redis, keys }: Engine,
  local: string,
  remote: string,
  spec: RunSpec,
): Promise<PairRecord | undefined> {
  const endpoint = endpointOf(remote, spec);
  return (await allPairs(redis, keys)).find(
    (pair) => pair.local === local && pair.remote === remote && pair.endpoint === endpoint,
  );
}

function newPair(local: string, remote: string, spec: RunSpec): PairRecord {
  return {
    id: shortHash("pair", local, remote, newRunId()),
    local,
    remote,
    endpoint: endpointOf(remote, spec),
    createdMs: Date.now(),
    generation: 0,
  };
}

function endpointOf(remote: string, { s3 }: RunSpec): string {
  return storageOf(remote).name === "s3" ? (s3?.endpoint ?? "") : "";
}

/** The sides that get a marker: those that the pair may write to. */
function markedSides({ direction }: PairTerms): Side[] {
  return direction === "pull" ? ["local"] : direction === "push" ? ["remote"] : ["local", "remote"];
}

function backupDirsOf(
  id: string,
  runId: string,
  remote: string,
  { backupDirs, stateDir }: PairRequest,
): Record<Side, string> {
  const below1 = (dir: string, ...parts: string[]) => below(dir, [...parts, runId].join("/"));
  const local = below1(backupDirs.local ?? `${stateDir}/backups`, id, "local");
  if (backupDirs.remote !== undefined) return { local, remote: below1(backupDirs.remote, id) };
  if (storageOf(remote).name !== "s3") return { local, remote: below1(`${stateDir}/backups`, id, "remote") };
  const bucket = /^s3:\/\/[^/]+/i.exec(remote)?.[0] as string;
  return { local, remote: below1(`${bucket}/.drover-backups`, id) };
}

/** What is known of a pair that is synced for the first time, or as if it were. */
const NOTHING_KNOWN: Pick<PairStore, "ancestors"> = { async *ancestors() {} };

async function dropAncestors(store: PairStore): Promise<void> {
  for await (const page of store.ancestors())
    await store.setAncestors(page.map(([name]) => [name, undefined]));
}

/**
 * Takes up what a run left that broke off: where a side holds what the run was about to write, both sides were equal, and an
 * edit that came after that is a plain change.
 */
async function recover(
  engine: Engine,
  { lastRun }: PairRecord,
  store: PairStore,
  sides: PairSides,
  signal: AbortSignal,
): Promise<void> {
  const runId = lastRun as string;
  await stopLast(engine, runId);
  for await (const page of store.undo(runId)) {
    const found: [string, Ancestor][] = [];
    const noted = await store.ancestorsOf(page.map(([name]) => name));
    for (const [at, [name, entry]] of page.entries()) {
      if (entry.sha256 === "" || noted[at]?.sha256 === entry.sha256) continue;
      const look = await lookFor(name, entry.sha256, sides[entry.side], signal);
      if (!look) continue;
      const { sha256 } = entry;
      const before = decodeAncestor(Buffer.from(entry.before, "base64"));
      const { mode } = look.mode === undefined ? { mode: before?.mode } : look;
      found.push([
        name,
        { sha256, sizeBytes: look.sizeBytes, ...(mode === undefined ? {} : { mode }), local: "", remote: "" },
      ]);
    }
    await store.setAncestors(found);
  }
}

/** Looks whether a side holds a version. Users may edit it meanwhile: then it is another one. */
async function lookFor(
  name: string,
  sha256: string,
  side: PairSide,
  signal: AbortSignal,
): Promise<FileLook | undefined> {
  const look = await side.look(name, signal);
  if (look.is !== "file") return undefined;
  try {
    const found = (await side.digest(name, look, "sha256", signal)) ?? (await side.read(name, look, signal));
    return found === sha256 ? look : undefined;
  } catch (error) {
    if (error instanceof TransferError && /^(changed|not-found)$/.test(error.class)) return undefined;
    throw error;
  }
}

/** Workers of a fleet may still carry what a process submitted that died. */
async function stopLast({ ledger }: Engine, runId: string): Promise<void> {
  try {
    const { state } = await ledger.get(runId);
    if (state === "running") await ledger.cancel(runId);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error; // it is forgotten
  }
}

interface Begun {
  store: PairStore;
  plan: PairPlan;
  sides: PairSides;
  marked: readonly Side[];
}

async function begin(
  record: PairRecord,
  { store, plan, sides, marked, runId, isAdopted }: Begun & { runId: string; isAdopted: boolean },
  signal: AbortSignal,
): Promise<void> {
  const isFirst = record.lastRun === undefined;
  if (plan.steps.count > 0 || isFirst || isAdopted) {
    record.lastRun = runId;
    delete record.lastEndedMs;
    // A pair that is recorded has its markers, whenever this process is killed.
    if (isFirst || isAdopted) await writeMarkers(record, sides, marked, signal);
    await store.setRecord(record);
  }
  if (plan.steps.count > 0) await store.beginUndo(runId);
  let notes: [string, Ancestor | undefined][] = [];
  for await (const [name, ancestor] of plan.notes.all()) {
    notes.push([name, ancestor === "" ? undefined : decodeAncestor(Buffer.from(ancestor, "base64"))]);
    if (notes.length < BATCH) continue;
    await store.setAncestors(notes);
    notes = [];
  }
  await store.setAncestors(notes);
  const listed = new Set<string>();
  for await (const conflict of plan.conflicts.all()) {
    listed.add(conflict.path);
    await store.listConflict(conflict);
  }
  const solved = (await store.conflicts()).map(({ path }) => path).filter((path) => !listed.has(path));
  await store.dropConflicts(solved);
}

async function end(
  record: PairRecord,
  { store, plan, sides, marked, generation }: Begun & { generation: number },
  signal: AbortSignal,
): Promise<void> {
  // A run that broke off may have written markers alone.
  if (plan.steps.count > 0 || generation > record.generation) {
    record.generation = Math.max(generation, record.generation) + 1;
    await writeMarkers(record, sides, marked, signal);
  }
  record.lastEndedMs = Date.now();
  await store.setRecord(record);
}

/** The files of a run, in two phases: what frees a name, then what may need it. */
function phasesOf(
  steps: PairPlan["steps"],
  runId: string,
  spec: RunSpec,
  tree: { leaseOf(name: string): string },
): AsyncGenerator<EnqueueFile[]>[] {
  const { remote } = spec.pair as NonNullable<RunSpec["pair"]>;
  const fileOf = ({ name, step }: PlannedStep): EnqueueFile => {
    const job: NewJob = { op: "pair", s: below(remote, name), d: name, p: step };
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

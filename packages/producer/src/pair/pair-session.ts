import { randomBytes } from "node:crypto";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { newRunId, shortHash } from "@drover/shared/ids";
import type { PairTerms, Side } from "@drover/shared/pair/decide";
import { openSide } from "@drover/shared/pair/open-side";
import { usableOffset } from "@drover/shared/pair/path-state";
import type { PairSide, PairSides } from "@drover/shared/pair/side";
import { allPairs, type PairRecord, PairStore } from "@drover/shared/pair/store";
import { isBelow } from "@drover/shared/paths";
import type { RunSpec } from "@drover/shared/run";
import { below, destinationOf, storageOf } from "@drover/shared/storage/registry";
import type { Wanted } from "../expand/patterns.js";
import type { PlannedRun } from "../runs/plan/plan.js";
import type { PairLimits } from "./guards.js";
import { checkMarkers } from "./marker.js";
import { type Hook, OwedHooks } from "./owed-hooks.js";
import { PairLease } from "./pair-lease.js";
import type { PairPlan } from "./pair-plan.js";
import { recover } from "./recover.js";

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
  /**
   * What the sync does itself for the program that reads the local side, or that nothing is wanted. Default: what any earlier sync
   * did is owed, and left to the next one that does.
   */
  hook?: Hook | "none";
  /** Which paths are of the pair, made of what the patterns of the run want. Default: these. */
  wanted?: (byPatterns: Wanted) => Wanted;
  /** Looks at the plan when it passed its guards, and may take steps out of it; called while the pair's lease is held. */
  review?: (review: PairReview) => Promise<void>;
}

/** What a plan is reviewed with. */
export interface PairReview {
  record: PairRecord;
  plan: PairPlan;
  sides: PairSides;
  signal: AbortSignal;
}

/** A pair that this process holds: nobody else syncs it meanwhile. */
export interface PairSession {
  record: PairRecord;
  store: PairStore;
  sides: PairSides;
  /** Sides that get a marker: those that the sync may write to. */
  marked: readonly Side[];
  /**
   * The generation that the pair gets because its sides are taken as they are, as if they were synced for the first time;
   * undefined where they are what they were.
   */
  adopts: number | undefined;
  /** See Examiner: asked for when an answer of the service has told its time. */
  clockOffsetMs(): number | undefined;
  /** The latest generation that Redis or a marker has: that of a marker, where a run broke off right after it wrote that. */
  generation: number;
  /** Id of the run that is made of what it does. */
  runId: string;
  /** The run, without its files. */
  planned: PlannedRun & { spec: { pair: NonNullable<RunSpec["pair"]> } };
  /** Aborted when it is to stop, and when another process has taken the pair. */
  signal: AbortSignal;
  /** What is owed to the program that reads the local side, and is left to a sync that does it; undefined for nothing. */
  owes: OwedHooks | undefined;
  /** Whether nobody else has taken the pair. */
  isHeld(): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * Takes the lease of a pair, looks whether its sides are those that were synced, and takes up what a run left that broke off.
 *
 * @param planned a run with the local side as its root and the remote one as its only source.
 * @throws PairGuardError if another process holds the pair, or the sides are not what they were; SettingsError for sides that
 *   overlap.
 */
export async function openPairSession(
  engine: Engine,
  planned: PlannedRun,
  request: PairRequest,
  asked: AbortSignal,
): Promise<PairSession> {
  const { redis, keys } = engine;
  const local = planned.spec.root;
  const remote = remoteOf(planned.spec);
  checkApart(local, remote, request);
  const stop = new AbortController();
  const signal = AbortSignal.any([asked, stop.signal]);
  // By the sides, since two processes may sync them for the first time.
  const leaseKey = keys.pair(shortHash(local, remote, endpointOf(remote, planned.spec)), "lease");
  const lease = await PairLease.take(redis, leaseKey, request.waitMs, () =>
    stop.abort(new Error("another process has taken the pair")),
  );
  const sides: PairSides = {
    local: openSide(local, planned.spec, signal),
    remote: openSide(remote, planned.spec, signal),
  };
  const close = async () => {
    await Promise.all([sides.local.close(), sides.remote.close()]);
    await lease.release();
  };
  try {
    const record =
      (await findPair(engine, local, remote, planned.spec)) ?? newPair(local, remote, planned.spec);
    const store = new PairStore(redis, keys, record.id);
    const marked = markedSides(request.terms);
    const { adopt } = request;
    const { adopts, generation } = await takeUp(engine, { record, store, sides }, { marked, adopt, signal });
    const clockOffsetMs = () => usableOffset(sides.remote.clockOffsetMs() - sides.local.clockOffsetMs());
    const runId = newRunId();
    record.backupDirs = { ...record.backupDirs, ...request.backupDirs };
    if (request.suffixed) record.suffixed = true;
    const { hook } = request;
    if (hook !== undefined && hook !== "none") record.hook = hook;
    const owes =
      record.hook && hook === undefined ? new OwedHooks(redis, keys, record.id, record.hook) : undefined;
    const pair: NonNullable<RunSpec["pair"]> = {
      id: record.id,
      remote,
      ...request.terms,
      backupDirs: backupDirsOf(record, runId, request.stateDir),
      ...((await keepsVersions(record, sides.remote, signal)) ? { versioned: true } : {}),
      ...(record.suffixed ? { suffixed: true } : {}),
    };
    const spec = { ...planned.spec, pair };
    const isHeld = () => lease.isHeld();
    return {
      record,
      store,
      sides,
      marked,
      adopts,
      generation,
      clockOffsetMs,
      runId,
      planned: { ...planned, spec },
      signal,
      owes,
      isHeld,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Looks at the markers of a pair that was synced before, and takes up what a run left that broke off.
 *
 * @returns as the session has them.
 */
async function takeUp(
  engine: Engine,
  { record, store, sides }: Pick<PairSession, "record" | "store" | "sides">,
  { marked, adopt, signal }: { marked: readonly Side[]; adopt: boolean; signal: AbortSignal },
): Promise<Pick<PairSession, "adopts" | "generation">> {
  if (record.lastRun === undefined) return { adopts: undefined, generation: record.generation };
  const { isAdopted, generation } = await checkMarkers(record, sides, marked, { adopt, signal });
  // No other state of the pair has this one.
  if (isAdopted) return { adopts: generation + 1, generation };
  if (record.lastEndedMs === undefined || record.lastFailed)
    await recover(engine, record.lastRun, { store, sides }, signal);
  return { adopts: undefined, generation };
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
    // Part of names of files: lower case alone, for file systems that do not tell cases apart.
    id: randomBytes(8).toString("hex"),
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

/** Whether the bucket keeps what is replaced, and nobody has named another place. */
async function keepsVersions(
  { backupDirs }: PairRecord,
  { versions }: PairSide,
  signal: AbortSignal,
): Promise<boolean> {
  return backupDirs?.remote === undefined && versions !== undefined && (await versions.areKept(signal));
}

/** Where a run keeps what it replaces: in a directory of its own. */
function backupDirsOf(
  { id, remote, backupDirs = {} }: PairRecord,
  runId: string,
  stateDir: string,
): Record<Side, string> {
  const ofRun = (dir: string, ...parts: string[]) => below(dir, [...parts, runId].join("/"));
  const local = ofRun(backupDirs.local ?? `${stateDir}/backups`, id, "local");
  if (backupDirs.remote !== undefined) return { local, remote: ofRun(backupDirs.remote, id) };
  if (storageOf(remote).name !== "s3") return { local, remote: ofRun(`${stateDir}/backups`, id, "remote") };
  const bucket = /^s3:\/\/[^/]+/i.exec(remote)?.[0] as string;
  return { local, remote: ofRun(`${bucket}/.drover-backups`, id) };
}

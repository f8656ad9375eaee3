import type { Engine } from "@drover/shared/engine";
import { type DispatchPause, dispatchPause } from "@drover/shared/protocol/dispatch-pause";
import { type FleetState, fleetState } from "@drover/shared/protocol/fleet-state";
import { aliveWorkers, type WorkerPresence } from "@drover/shared/protocol/worker-registry";
import { memoryOf, type RedisMemory } from "@drover/shared/redis/memory";
import type { Queue } from "bullmq";

/** Runs that are looked at, the oldest that have not ended. */
const MOST_RUNS = 1_000;

/** How a fleet stands, all of it at about one moment. */
export interface Overview {
  atMs: number;
  /** Jobs by state. `waiting` has those with a priority too. */
  queue: { waiting: number; active: number; delayed: number };
  /** What the fleet's leader says; undefined while there is none. */
  leader: FleetState | undefined;
  /** Files that are accepted and have not ended, of the runs that are looked at. */
  openFiles: number;
  /** Since when the file whose turn is next has waited (Unix ms); undefined where none waits. */
  waitingSinceMs: number | undefined;
  workers: WorkerPresence[];
  runs: { running: number; interrupted: number };
  pause: DispatchPause | undefined;
  redis: RedisMemory;
}

/** Looks at a fleet. @param queue the fleet's. */
export async function overviewOf(engine: Engine, queue: Queue): Promise<Overview> {
  const { redis, keys, ledger } = engine;
  const [jobs, leader, workers, pause, runs, memory] = await Promise.all([
    queue.getJobCounts("wait", "prioritized", "active", "delayed"),
    fleetState(redis, keys),
    aliveWorkers(redis, keys),
    dispatchPause(redis, keys),
    ledger.unfinished(MOST_RUNS),
    memoryOf(redis),
  ]);
  const ofFleet = runs.filter(({ spec }) => spec.fleet);
  const counts = await ledger.countsOf(ofFleet.map(({ id }) => id));
  const open = counts.map(({ files, settled }) => Math.max(files - settled, 0));
  const of = (state: string) => jobs[state] ?? 0;
  const waiting = of("wait") + of("prioritized");
  const nextMs = waiting > 0 ? await nextSinceMs(queue) : undefined;
  // Without a leader nothing comes into the queue: the oldest run waits.
  const oldest = ofFleet.find((_, at) => (open[at] as number) > 0);
  return {
    atMs: Date.now(),
    queue: { waiting, active: of("active"), delayed: of("delayed") },
    leader,
    openFiles: open.reduce((sum, files) => sum + files, 0),
    waitingSinceMs: nextMs ?? (leader === undefined ? oldest?.startedMs : undefined),
    workers,
    runs: {
      running: runs.filter(({ state }) => state === "running").length,
      interrupted: runs.filter(({ state }) => state === "interrupted").length,
    },
    pause,
    redis: memory,
  };
}

/** Since when the job that is taken next is in the queue (Unix ms). */
async function nextSinceMs(queue: Queue): Promise<number | undefined> {
  const next = await Promise.all([queue.getWaiting(0, 0), queue.getPrioritized(0, 0)]);
  const [since] = next
    .flat()
    .map((job) => job.timestamp)
    .sort((a, b) => a - b);
  return since;
}

/** Files that wait for a worker: in the queue, or in the backlog. */
export function waitingFiles({ leader, openFiles, queue }: Overview): number {
  // What is in the queue may be of runs that are not looked at, or not there any more.
  return leader === undefined ? Math.max(openFiles, queue.waiting) : queue.waiting + leader.backlogFiles;
}

export function oldestWaitingMs({ atMs, waitingSinceMs }: Overview): number {
  return waitingSinceMs === undefined ? 0 : Math.max(atMs - waitingSinceMs, 0);
}

/** Sums over the workers. */
export function carried(workers: WorkerPresence[]) {
  const sum = (of: (worker: WorkerPresence) => number) =>
    workers.reduce((all, worker) => all + of(worker), 0);
  return {
    /** Files that can be carried at once, by those that take more. */
    capacity: sum(({ draining, concurrency }) => (draining ? 0 : concurrency)),
    files: sum(({ files, carrying }) => files ?? carrying.length),
    filesPerSecond: sum(({ perSecond }) => perSecond.files),
    bytesPerSecond: sum(({ perSecond }) => perSecond.bytes),
  };
}

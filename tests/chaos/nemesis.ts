import type { Loss } from "./redis-under-fire.js";
import { Rng } from "./rng.js";

/** A process that can be hurt, and the link to Redis of its own: a worker's number, or who submits and follows runs. */
export type Target = number | "producer";

/** What is done to the fleet, and by whom it is used. */
export type Action = { readonly atMs: number } & (
  | { does: "submit"; run: string; names: readonly string[]; detached: boolean }
  | { does: "publish"; names: readonly string[] }
  /** kill -9. A worker is started again, a run resumed. */
  | { does: "kill"; target: Target; forMs: number }
  /** SIGSTOP and SIGCONT. */
  | { does: "pause"; target: Target; forMs: number }
  /** kill -9, with a loss as if its machine had died. */
  | { does: "crash-redis"; forMs: number; loss?: Loss }
  | { does: "cut-link"; target: Target }
  | { does: "refuse-link"; target: Target; forMs: number }
  /** A black hole that ends with all that was sent arriving, or with a reset. */
  | { does: "hold-link"; target: Target; forMs: number; ends: "release" | "cut" }
  | { does: "slow-link"; target: Target; forMs: number; latencyMs: number; bytesPerSecond: number }
  /** Somebody takes jobs out of the queue. `from` picks them among those that are there. */
  | { does: "remove-jobs"; count: number; from: number }
  /** Somebody retries jobs that are done or failed. */
  | { does: "retry-jobs"; count: number; from: number }
);
export type Fault = Exclude<Action, { does: "submit" | "publish" }>;

export interface ScheduleOptions {
  readonly seed: number;
  readonly names: readonly string[];
  readonly workers: number;
  /** When the last fault begins, at most. */
  readonly spanMs: number;
  /** Mean time between faults. */
  readonly faultEveryMs: number;
  readonly publishEveryMs: number;
  /** Runs beside the first, which has all files and starts at once. */
  readonly runs: number;
  /** How long a process stands still, at most. */
  readonly mostPauseMs: number;
}

const WEIGHTS: readonly (readonly [Fault["does"], number])[] = [
  ["kill", 6],
  ["pause", 3],
  ["crash-redis", 2],
  ["cut-link", 2],
  ["refuse-link", 1],
  ["hold-link", 3],
  ["slow-link", 2],
  ["remove-jobs", 2],
  ["retry-jobs", 1],
];

/** Everything that will be done, by time. The same options give the same schedule. */
export function schedule(options: ScheduleOptions): Action[] {
  const { seed, names, spanMs, runs } = options;
  const rng = new Rng(seed, "runs");
  const actions: Action[] = [{ atMs: 0, does: "submit", run: "run 0", names, detached: false }];
  for (let run = 1; run <= runs; run++) {
    actions.push({
      ...{ atMs: rng.int(0, spanMs), does: "submit", run: `run ${run}` },
      ...{
        names: rng.some(names, rng.pick([0.2, 0.6, 1])),
        detached: rng.chance(0.4) && options.workers > 0,
      },
    });
  }
  const versions = new Rng(seed, "versions");
  for (const atMs of times(versions, options.publishEveryMs, spanMs)) {
    actions.push({ atMs, does: "publish", names: versions.some(names, 0.06) });
  }
  return [...actions, ...faults(options)].sort((one, other) => one.atMs - other.atMs);
}

function faults(options: ScheduleOptions): Fault[] {
  const rng = new Rng(options.seed, "faults");
  const targets: Target[] = [...Array(options.workers).keys(), "producer"];
  /** Until when something is being done to a process, a link or Redis: one thing at a time. */
  const busy = new Map<string, number>();
  const actions: Fault[] = [];
  for (const atMs of times(rng, options.faultEveryMs, options.spanMs)) {
    // All numbers are drawn whatever they are needed for, so that one more kind of fault does not change the rest.
    const action = fault(rng, atMs, rng.pick(targets), options);
    const on = resource(action);
    if ((busy.get(on) ?? 0) > atMs || (options.workers === 0 && action.does === "remove-jobs")) continue;
    busy.set(on, atMs + ("forMs" in action ? action.forMs + 200 : 0));
    actions.push(action);
  }
  return actions;
}

function fault(rng: Rng, atMs: number, target: Target, { mostPauseMs }: ScheduleOptions): Fault {
  const does = weighted(rng);
  const short = rng.int(100, 1_500);
  const long = rng.int(500, mostPauseMs);
  const [one, two, from] = [rng.fraction(), rng.fraction(), rng.next()] as const;
  switch (does) {
    case "kill":
      return { atMs, does, target, forMs: short };
    case "pause":
      return { atMs, does, target, forMs: long };
    case "crash-redis": {
      const loss = { lostMs: Math.round(one * 1_500), tornBytes: Math.round(two * 400) };
      return { atMs, does, forMs: short, ...(one < 0.5 ? {} : { loss }) };
    }
    case "cut-link":
      return { atMs, does, target };
    case "refuse-link":
      return { atMs, does, target, forMs: short };
    case "hold-link":
      return { atMs, does, target, forMs: long, ends: one < 0.5 ? "release" : "cut" };
    case "slow-link": {
      const [latencyMs, bytesPerSecond] = [Math.round(1 + one * 150), Math.round(20_000 + two * 500_000)];
      return { atMs, does, target, forMs: long, latencyMs, bytesPerSecond };
    }
    case "remove-jobs":
    case "retry-jobs":
      return { atMs, does, count: 1 + Math.round(one * 4), from };
  }
}

function weighted(rng: Rng): Fault["does"] {
  const all = WEIGHTS.reduce((sum, [, weight]) => sum + weight, 0);
  let draw = rng.fraction() * all;
  for (const [does, weight] of WEIGHTS) {
    draw -= weight;
    if (draw < 0) return does;
  }
  throw new Error("weights do not add up");
}

/** Times at random, so far apart in the mean. */
function times(rng: Rng, everyMs: number, untilMs: number): number[] {
  const all: number[] = [];
  for (let at = 0; ; ) {
    at += Math.round(-Math.log(1 - rng.fraction()) * everyMs);
    if (at >= untilMs) return all;
    all.push(at);
  }
}

function resource(action: Fault): string {
  if (!("target" in action)) return "redis";
  return action.does.endsWith("link") ? `link ${action.target}` : `process ${action.target}`;
}

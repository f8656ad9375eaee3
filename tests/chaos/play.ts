import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, report, type Violation } from "./checker.js";
import { History, showEvent } from "./history.js";
import { type Action, type ScheduleOptions, schedule } from "./nemesis.js";
import { Sampler } from "./observers.js";
import type { Submission } from "./submission.js";
import { type ChaosFile, planFiles, VersionedOrigin } from "./versioned-origin.js";
import { World } from "./world.js";

export interface PlayOptions extends Omit<ScheduleOptions, "names"> {
  readonly files: number;
  /** Of these, how many have 70 MiB or more. */
  readonly large: number;
  readonly concurrency: number;
  /** Most time before an answer of the origin. */
  readonly latencyMs: number;
  /** A run that has not ended so long after the last fault is stuck. */
  readonly boundMs: number;
  readonly mostMiB: number;
}

/** What `make test` plays: some seconds of faults, then as long as the leases of the dead last. */
export const SHORT: Omit<PlayOptions, "seed"> = {
  ...{ files: 300, large: 0, workers: 3, concurrency: 6, latencyMs: 200 },
  ...{ spanMs: 7_000, faultEveryMs: 500, publishEveryMs: 500, runs: 2, mostPauseMs: 2_500 },
  ...{ boundMs: 100_000, mostMiB: 400 },
};

/** What `make chaos` plays: processes stand still for longer than a lease lasts. */
export const LONG: Omit<PlayOptions, "seed"> = {
  ...{ files: 3_000, large: 3, workers: 4, concurrency: 8, latencyMs: 250 },
  ...{ spanMs: 90_000, faultEveryMs: 2_500, publishEveryMs: 2_000, runs: 5, mostPauseMs: 45_000 },
  ...{ boundMs: 300_000, mostMiB: 400 },
};

export interface Played {
  readonly options: PlayOptions;
  readonly actions: readonly Action[];
  readonly history: History;
  readonly violations: readonly Violation[];
  readonly logs: readonly { name: string; text: string }[];
}

/** Looks at a run that does not end, before it is resumed. */
const RESUME_EVERY = 20;

/**
 * Plays a seed: files, versions and faults are those of the seed, their timing is as exact as a machine lets it be.
 * First the fleet works under fire; then the faults end, and every run has to; then one more sync brings everything
 * to the last version; then all that was seen is checked.
 *
 * @param history where it is written down; what is there when this throws is for those who have to find out why.
 * @param signal stops it, with everything that it has started.
 */
export async function play(
  options: PlayOptions,
  history = new History(),
  signal?: AbortSignal,
): Promise<Played> {
  const { seed, boundMs, mostMiB } = options;
  const files = planFiles({ seed, count: options.files, large: options.large });
  const kinds = new Map(files.map(({ name, kind }) => [name, kind]));
  const actions = schedule({ ...options, names: files.map(({ name }) => name) });
  const origin = await VersionedOrigin.start(seed, files, options.latencyMs);
  origin.onAnswer((answered) => history.add({ is: "get", ...answered }));
  const world = await World.start(options, origin, history);
  signal?.addEventListener("abort", () => void world.dispose());
  const sampler = new Sampler(world.root, files, seed, history);
  const syncOnce = async (run: string) => {
    world.submit(run, files, false);
    await settle(world, world.submissions.slice(-1), sampler, history, boundMs);
  };
  try {
    sampler.start();
    await perform(actions, world, origin, history);
    await world.heal();
    history.add({ is: "quiet" });
    await settle(world, world.submissions, sampler, history, boundMs);
    await syncOnce("last sync");
    // What is staged by the dead stays for a day where Redis has forgotten that they held a lease.
    if (history.of("action").some(({ forgets }) => forgets) && world.ageLeftovers() > 0) {
      for (const { name } of files.filter(({ kind }) => kind === "steady"))
        history.add({ is: "published", name, version: origin.publish(name) });
      history.add({ is: "quiet" });
      await syncOnce("a day later");
    }
    await world.lookForSecrets();
    await sampler.stop();
    await world.close();
    return { options, actions, history, violations: check(history, { kinds, mostMiB }), logs: world.logs() };
  } catch (error) {
    keep({ options, actions, history, violations: [], logs: world.logs() });
    throw error;
  } finally {
    await sampler.stop();
    await world.dispose();
    await origin.stop();
  }
}

/** Where a play that failed is kept. */
export function directoryOf(seed: number): string {
  return join("reports/chaos", `${seed}`);
}

async function perform(
  actions: readonly Action[],
  world: World,
  origin: VersionedOrigin,
  history: History,
): Promise<void> {
  const startedMs = history.nowMs();
  const faults: Promise<void>[] = [];
  const find = (name: string) => origin.files.get(name) as ChaosFile;
  for (const action of actions) {
    const waitMs = startedMs + action.atMs - history.nowMs();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    if (action.does === "submit") world.submit(action.run, action.names.map(find), action.detached);
    else if (action.does === "publish") {
      for (const name of action.names) history.add({ is: "published", name, version: origin.publish(name) });
    } else {
      const fault = world.suffer(action);
      fault.catch(() => {}); // awaited below
      faults.push(fault);
      await world.lookForSecrets();
    }
  }
  await Promise.all(faults);
}

/** Waits until the runs have ended, each taken up again that has not, and writes down what became of them. */
async function settle(
  world: World,
  submissions: readonly Submission[],
  sampler: Sampler,
  history: History,
  boundMs: number,
): Promise<void> {
  const endMs = history.nowMs() + boundMs;
  const left = () => endMs - history.nowMs();
  await Promise.all(submissions.map((submission) => within(submission.over, left())));
  for (const submission of submissions) {
    let facts = await world.look(submission);
    for (let looks = 1; facts.state !== "done" && facts.state !== "lost" && left() > 0; looks++) {
      // Redis may have forgotten that it was done; the fleet finds out by itself, unless its producer is needed.
      if (looks % RESUME_EVERY === 0) await within(submission.resume("it does not end"), left());
      else await new Promise((resolve) => setTimeout(resolve, 1_000));
      facts = await world.look(submission);
    }
    history.add({ is: "status", run: submission.run, facts });
    submission.giveUp();
  }
  await sampler.scan();
}

async function within(promise: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms));
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}

/** Keeps everything that is known of a play: schedule, history, logs, and what the checker says. */
export function keep(played: Played, directory = directoryOf(played.options.seed)): void {
  const { options, actions, history, violations, logs } = played;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  history.save(directory);
  const lines = history.events.map((event) => `${showEvent(event)}\n`);
  writeFileSync(join(directory, "history.txt"), lines.join(""));
  writeFileSync(join(directory, "schedule.json"), JSON.stringify({ options, actions }, null, 1));
  writeFileSync(join(directory, "report.txt"), `${report(violations, history, 50)}\n`);
  for (const [at, { name, text }] of logs.entries()) {
    writeFileSync(join(directory, `${at}-${name.replace(/[^a-z0-9]+/gi, "-")}.log`), text);
  }
}

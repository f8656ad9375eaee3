import { setTimeout as sleep } from "node:timers/promises";
import { openCheck } from "@drover/producer/compare/check-s3";
import type { Batches } from "@drover/producer/enqueue/batches";
import { requeueFailed } from "@drover/producer/enqueue/requeue";
import { ListingError } from "@drover/producer/expand/listing-error";
import { produce } from "@drover/producer/runs/expand-run";
import { IndexSet } from "@drover/producer/runs/index-set";
import { cursorOf, openRunList } from "@drover/producer/runs/run-list";
import { SettingsError } from "@drover/shared/errors";
import { isBelow } from "@drover/shared/paths";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Backlog, RunLostError } from "@drover/shared/protocol/backlog";
import { hostBreakersOf } from "@drover/shared/protocol/host-breakers";
import { type parseHostLimit, setHostLimits } from "@drover/shared/protocol/host-limits";
import { MOST_READ, OutcomeStream } from "@drover/shared/protocol/outcome-stream";
import { pruneRuns } from "@drover/shared/protocol/run-retention";
import { aliveWorkers } from "@drover/shared/protocol/worker-registry";
import { type Run, type RunSecrets, type RunSpec, rootsWritten } from "@drover/shared/run";
import { openTree } from "@drover/shared/storage/registry";
import type { CarryResult } from "./carry-run.js";
import { type Format, formatOf, Report } from "./display/report.js";
import { type Engine, openEngine } from "./engine.js";
import { EXIT } from "./exit.js";
import { reportError, setLive, warn } from "./output.js";
import type { Plan } from "./plan-sync.js";
import { conclude, watchRedis } from "./run-here.js";
import type { Settings } from "./settings/settings.js";

const LOOK_MS = 50;
/** How often who expands a run says that it is there. */
const HOLD_EVERY_MS = 5_000;
/** Redis may forget what it acknowledged within its last second or two: for so long it is asked. */
const CONFIRM_MS = 10_000;

/** `drover sync … --redis URL`: hands a run to the fleet and follows it. */
export async function submit(
  plan: Plan,
  settings: Settings,
  detach: boolean,
  limits: ReturnType<typeof parseHostLimit>[],
): Promise<number> {
  const engine = await openEngine(settings);
  try {
    await lookForWorkers(engine, plan.spec);
    await setHostLimits(engine.redis, engine.keys, limits);
    await pruneRuns(engine);
    let stdin: NodeJS.ReadableStream | undefined;
    if (plan.pipe !== undefined) {
      const { keepPipe } = await import("@drover/producer/runs/piped-list");
      const kept = keepPipe(plan.pipe, settings["state-dir"] as string);
      plan.spec.list = kept.path;
      stdin = kept.stream;
    }
    const id = await engine.ledger.create(plan.spec, plan.secrets);
    const run = await engine.ledger.get(id);
    if (detach) {
      const report = new Report("ndjson", undefined); // of what needs no worker nothing is printed
      const follower = new Follower(engine, run, report, true);
      const batches = await follower.expand(plan.secrets, stdin).catch(asListing);
      process.stdout.write(`${id}\n`);
      if (batches instanceof ListingError) {
        reportError(
          `${batches.message}; not everything was found: ${batches.remedy ?? `drover resume ${id} lists on`}`,
        );
        return EXIT.some;
      }
      await untilDurable(engine, batches);
      return EXIT.ok;
    }
    return await follow(engine, run, plan.format, plan.title, plan.secrets, stdin);
  } finally {
    engine.close();
  }
}

/** `drover resume` and `drover retry` of a fleet's run. */
export async function goOnInFleet(
  engine: Engine,
  run: Run,
  secrets: RunSecrets,
  format: Format,
  retry: boolean,
): Promise<number> {
  await lookForWorkers(engine, run.spec);
  if (retry) {
    const backlog = new Backlog(engine.redis, engine.keys, PROCESS_NAME);
    await requeueFailed(run, engine.ledger, backlog);
  }
  const title = retry ? `Retrying run ${run.id}...` : `Resuming run ${run.id}...`;
  return follow(engine, run, format, title, secrets);
}

/** `drover wait RUN`. */
export async function wait(
  id: string,
  settings: Settings,
  flags: { json?: boolean; ndjson?: boolean },
): Promise<number> {
  const format = formatOf(flags);
  const engine = await openEngine(settings);
  try {
    const run = await engine.ledger.get(id);
    if (!run.spec.fleet)
      throw new SettingsError(`run ${id} is no fleet's: the command that began it carries it`);
    return await follow(engine, run, format, `Waiting for run ${id}...`);
  } finally {
    engine.close();
  }
}

async function lookForWorkers(engine: Engine, spec: RunSpec): Promise<void> {
  const workers = await aliveWorkers(engine.redis, engine.keys);
  if (workers.length === 0) {
    warn("no worker of this fleet is alive: the files wait until one is started (drover worker)");
    return;
  }
  let serving = workers;
  for (const root of rootsWritten(spec)) {
    serving = serving.filter(({ roots }) => roots.some((each) => isBelow(root, each)));
    if (serving.length > 0) continue;
    const roots = [...new Set(workers.flatMap((worker) => worker.roots))].join(", ");
    const [flag, where] =
      root === spec.root ? ["an --artifact-root", root] : ["a --backup-dir", `${spec.root} and to ${root}`];
    throw new SettingsError(`no worker writes to ${where}: choose ${flag} below ${roots}`);
  }
}

/** Where Redis can say so, everything is on its disk; else it has been given the second that it may take. */
async function untilDurable(engine: Engine, batches: Batches): Promise<void> {
  try {
    await engine.redis.call("WAITAOF", 1, 0, 2_000);
  } catch {
    await sleep(1_200); // before 7.2 it cannot say
  }
  await batches.confirm();
}

/** @param secrets of a run that is to be expanded; without them it is only watched. */
async function follow(
  engine: Engine,
  run: Run,
  format: Format,
  title: string,
  secrets?: RunSecrets,
  stdin?: NodeJS.ReadableStream,
): Promise<number> {
  const terminal = format === "human" && process.stdout.isTTY && process.env.TERM !== "dumb";
  const progress = terminal
    ? new (await import("./display/progress.js")).Progress(hostBreakersOf(run.spec))
    : undefined;
  setLive(progress);
  const report = new Report(format, progress);
  const follower = new Follower(engine, run, report, false, progress);
  let signals = 0;
  const onSignal = () => {
    if (++signals > 1) process.exit(EXIT.interrupted);
    follower.stop();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  report.start(title);
  const unwatch = watchRedis(engine);
  try {
    const result = await follower.run(secrets, stdin);
    await report.end(result.counts);
    if (result.end !== "stopped") return conclude(run, result);
    const left = follower.expanded
      ? `the run goes on: drover wait ${run.id} follows it, drover cancel ${run.id} stops it`
      : `not everything was submitted: drover resume ${run.id} goes on`;
    warn(left);
    return EXIT.interrupted;
  } catch (error) {
    report.breakOff();
    throw error;
  } finally {
    unwatch();
    progress?.stop();
    setLive(undefined);
    if (signals === 0) {
      process.off("SIGINT", onSignal); // else a second one may still come
      process.off("SIGTERM", onSignal);
    }
  }
}

/** A listing that broke off is an end, too. @throws whatever else it was. */
function asListing(error: unknown): ListingError {
  if (error instanceof ListingError) return error;
  throw error;
}

type Display = InstanceType<typeof import("./display/progress.js").Progress>;

/** Expands a fleet's run, where that is its part, and sees it through to its end. */
class Follower {
  readonly #stop = new AbortController();
  /** Files that were told of: Redis may tell of one twice, after it has forgotten. */
  readonly #told = new IndexSet();
  readonly #outcomes: OutcomeStream;
  expanded: boolean;

  constructor(
    private readonly engine: Engine,
    private readonly of: Run,
    private readonly report: Report,
    private readonly quiet: boolean,
    private readonly progress?: Display,
  ) {
    this.#outcomes = new OutcomeStream(engine.redis, engine.keys, of.id, PROCESS_NAME);
    this.expanded = of.sealed;
  }

  stop(): void {
    this.#stop.abort();
  }

  async run(secrets: RunSecrets | undefined, stdin: NodeJS.ReadableStream | undefined): Promise<CarryResult> {
    const { ledger } = this.engine;
    const { id } = this.of;
    this.progress?.queued((await ledger.counts(id)).files);
    const watching = this.#watch();
    watching.catch(() => {}); // awaited below
    const expanding = secrets !== undefined && !this.of.sealed;
    const expanded = expanding ? await this.expand(secrets, stdin).catch(asListing) : undefined;
    if (secrets && !expanding) await ledger.leave(id); // nothing is to be found any more, or to be removed
    const listing = expanded instanceof ListingError ? expanded : undefined;
    const batches = expanded instanceof ListingError ? undefined : expanded;
    if (!listing) this.progress?.sealed();
    const confirmUntilMs = performance.now() + CONFIRM_MS;
    while (!this.#stop.signal.aborted) {
      if (batches && performance.now() < confirmUntilMs) await batches.confirm();
      const run = await ledger.get(id);
      const counts = await ledger.counts(id);
      const settled = counts.settled === counts.files;
      if (settled && run.sealed && run.state === "running") await ledger.finishFleet(id); // no worker may be left
      const over = settled && (listing !== undefined || run.state === "done" || run.state === "cancelled");
      if (over) {
        this.#stop.abort();
        await watching;
        const untold = counts.files - this.#told.size;
        if (secrets && this.of.batch === 0 && untold > 0)
          warn(`${untold} files were not shown, for Redis could not be reached for long; all are counted`);
        const { deletionRefused } = run;
        if (run.state === "cancelled") return { counts, end: "cancelled", deletionRefused };
        return listing
          ? { counts, end: "incomplete", deletionRefused, listing }
          : { counts, end: "done", deletionRefused };
      }
      await sleep(LOOK_MS * 2);
    }
    await watching;
    return { counts: await ledger.counts(id), end: "stopped", deletionRefused: "" };
  }

  /** Submits what is not submitted yet. @returns what is to be confirmed. */
  async expand(secrets: RunSecrets, stdin: NodeJS.ReadableStream | undefined): Promise<Batches> {
    const { redis, keys, ledger } = this.engine;
    const run = this.of;
    const { spec } = run;
    const backlog = new Backlog(redis, keys, PROCESS_NAME);
    const tree = openTree(spec);
    const check = openCheck(spec, tree, this.#stop.signal, warn);
    let left = 0;
    let lost = false;
    const hold = async () => {
      lost = !(await ledger.hold(run.id));
      if (lost) this.stop();
    };
    const holding = setInterval(() => void hold().catch(() => {}), HOLD_EVERY_MS); // Redis may be away: said again
    try {
      const batches = await produce({
        check,
        runId: run.id,
        redis,
        keys,
        backlog,
        ledger,
        tree,
        input: {
          spec,
          sources: secrets.sources,
          list: stdin ?? openRunList(run),
          from: cursorOf(run),
          signal: this.#stop.signal,
          warn,
        },
        batch: run.batch,
        signal: this.#stop.signal,
        recreate: () => ledger.create(spec, secrets, run.id),
        onQueued: (_batch, hosts) => {
          for (const files of hosts.values()) this.progress?.queued(files);
        },
        onSettled: (outcome) => {
          this.#told.add(outcome.index);
          this.progress?.queued(1);
          if (!this.quiet) this.report.outcome(outcome);
        },
        room: async (files) => {
          left -= files;
          while (left < files && !this.#stop.signal.aborted) {
            const open = await ledger.openFiles(run.id);
            if (open === undefined) return; // cancelled or forgotten: the next batch tells
            left = spec.backlogHighWater - open;
            if (left < files) await sleep(LOOK_MS);
          }
        },
        quiet: () => sleep(LOOK_MS * 2),
      });
      if (lost) throw RunLostError.takenOver(run.id);
      this.expanded = !this.#stop.signal.aborted;
      return batches;
    } catch (error) {
      if (!(error instanceof RunLostError)) throw error;
      const now = await ledger.get(run.id);
      if (now.state !== "cancelled") throw error;
      return new (await import("@drover/producer/enqueue/batches")).Batches(
        backlog,
        ledger,
        run.id,
        true,
        true,
        now.batch,
        () => Promise.reject(error),
      );
    } finally {
      clearInterval(holding);
      await check?.close();
      tree.close();
      await ledger.leave(run.id).catch(() => {}); // then it is free after a while
    }
  }

  /** Shows outcomes as they come. */
  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    // Many at once: every look costs Redis as much as a file does.
    while (!signal.aborted)
      if ((await this.#tell()) < MOST_READ) await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
    while ((await this.#tell()) > 0);
    await this.#outcomes.leave();
  }

  /** @returns how many were told of. */
  async #tell(): Promise<number> {
    const outcomes = await this.#outcomes.read();
    for (const [index, outcome] of outcomes) {
      if (!this.#told.add(index)) continue;
      this.progress?.settled(outcome);
      this.report.outcome({ ...outcome, index });
    }
    return outcomes.length;
  }
}

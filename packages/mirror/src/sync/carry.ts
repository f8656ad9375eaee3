import type { Asked } from "@drover/producer/expand/list-line";
import { listTextOf } from "@drover/producer/expand/list-text";
import { cancelRun } from "@drover/producer/runs/cancel";
import { type RunResult, SILENT } from "@drover/producer/runs/carry/run-handle";
import { submit } from "@drover/producer/runs/carry/submit";
import { prepareDestination } from "@drover/producer/runs/plan/destination";
import { type PlannedRun, planRun } from "@drover/producer/runs/plan/plan";
import { SettingsError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { isSuccess, type Outcome } from "@drover/shared/outcome";
import { writtenMsOf } from "@drover/shared/storage/s3/source";
import type { MirrorConfig } from "../config.js";
import { locationOf, type MirrorContext, planWhole, requestTo, sourceIdOf } from "../context.js";
import { asksOtherPermissions, permissionsOf } from "../state/asked-permissions.js";
import { isLive, type WantedEntry } from "../state/entry.js";
import type { Holding } from "../state/holding.js";
import { type Pair, pairsOf } from "../state/pairs.js";

/** Files in one run of a list. */
const MOST_PER_RUN = 20_000;
/** Outcomes that are kept in the state together. */
const BATCH = 500;
/** Failures that are told one by one. */
const MOST_TOLD = 1_000;

/** What was done at the destination. */
export interface Carried {
  runs: string[];
  copied: number;
  /** Files that were moved from where they were before a rename; nothing was transferred. */
  moved: number;
  removed: number;
  unchanged: number;
  failed: number;
  /** Files whose permissions were changed as events asked, and those whose destination does not keep them. */
  permitted: number;
  unkept: number;
  /** The first failures. */
  failures: { path: string; class: string; message: string }[];
  /** Why a run did not come to its end; "" if all did. */
  broken: string;
}

export function nothingCarried(): Carried {
  return {
    ...{ runs: [], copied: 0, moved: 0, removed: 0, unchanged: 0, failed: 0, permitted: 0, unkept: 0 },
    ...{ failures: [], broken: "" },
  };
}

/** Carries all of the source by one run. */
export async function carryWhole(context: MirrorContext, holding: Holding, carried: Carried): Promise<void> {
  await carry(context, holding, context.whole, carried);
  await backUp(context, holding, carried, undefined);
}

/**
 * Looks at every path that is pending, by runs that copy what is there and remove what is gone. What succeeds is pending no
 * more, unless an event has come meanwhile.
 *
 * @param wants which of the pending paths. Default: all.
 */
export async function carryPending(
  context: MirrorContext,
  holding: Holding,
  carried: Carried,
  wants: (entry: WantedEntry | undefined) => boolean = () => true,
): Promise<void> {
  const { state } = context;
  const upTo = Number((await state.fields()).generation ?? 0);
  let paths = new Set<string>();
  const flush = async () => {
    const some = [...paths];
    paths = new Set();
    if (some.length === 0) return;
    const { copiedFrom } = await carryPaths(context, holding, carried, { paths: some, upTo, moves: true });
    // What could not be moved is copied by now, so its former copy may go.
    if (copiedFrom.length > 0)
      await carryPaths(context, holding, carried, { paths: copiedFrom, upTo, moves: false });
  };
  for await (const page of state.pending(upTo)) {
    const entries = await state.lookUp(page);
    for (const [at, path] of page.entries()) if (wants(entries[at])) paths.add(path);
    if (paths.size >= MOST_PER_RUN) await flush();
  }
  await flush();
}

/** Paths that one run looks at. */
interface PathsToCarry {
  paths: string[];
  /** Generation of the state. */
  upTo: number;
  /** Whether files that were renamed may be moved. */
  moves: boolean;
}

/**
 * @returns former paths of files that were to be moved and were copied instead; they are not looked at yet.
 */
async function carryPaths(
  context: MirrorContext,
  holding: Holding,
  carried: Carried,
  { paths, upTo, moves }: PathsToCarry,
): Promise<{ copiedFrom: string[] }> {
  const { config } = context;
  const pairs = await pairsOf(context, paths);
  const movedFrom = moves ? await findMoves(context, pairs) : new Map<string, string>();
  const former = new Set(movedFrom.values());
  const files = pairs
    .filter(({ path }) => !former.has(path))
    .map(({ path, wanted }) => ({
      path,
      asks: {
        permissions: isLive(wanted) ? permissionsOf(wanted) : {},
        from: fromOf(config, movedFrom.get(path)),
      },
    }));
  const asking = new Set(
    pairs.filter(({ wanted, applied }) => asksOtherPermissions(wanted, applied)).map(({ path }) => path),
  );
  const planned = await planPaths(context, files, config.root, "remove");
  const isBackedUp = config.backup !== undefined;
  const copiedFrom: string[] = [];
  let batch: Outcome[] = [];
  let writing = Promise.resolve();
  const keep = (outcomes: Outcome[]) => {
    writing = writing.then(async () => {
      const kept = await keepOutcomes(context, holding, outcomes, { upTo, asking });
      carried.permitted += kept.permitted;
      carried.unkept += kept.unkept;
    });
    writing.catch(() => {}); // awaited below
  };
  await carry(context, holding, planned, carried, (outcome) => {
    if (!isSuccess(outcome.outcome)) return;
    batch.push(outcome);
    const from = movedFrom.get(outcome.name);
    if (from !== undefined && outcome.movedFrom === from)
      batch.push({ ...outcome, name: from, outcome: "deleted", verifiedBy: null });
    else if (from !== undefined) copiedFrom.push(from);
    if (isBackedUp || batch.length < BATCH) return;
    keep(batch);
    batch = [];
  });
  failpoint("mirror-applied");
  // Before they are pending no more: else what a sync that dies here has copied would be kept nowhere. What an earlier one
  // copied is found unchanged.
  const present = isBackedUp ? batch.filter((outcome) => !isGone(outcome)).map(({ name }) => name) : [];
  if (present.length > 0) await backUp(context, holding, carried, present);
  for (let at = 0; at < batch.length; at += BATCH) keep(batch.slice(at, at + BATCH));
  await writing;
  return { copiedFrom };
}

/**
 * Files that an event told to have been renamed, and whose former copy is there and not wanted: by path, where they were.
 */
async function findMoves(context: MirrorContext, pairs: readonly Pair[]): Promise<Map<string, string>> {
  const renamed = pairs.flatMap(({ path, wanted }) =>
    isLive(wanted) && wanted.movedFrom !== undefined && wanted.movedFrom !== path
      ? [{ path, from: wanted.movedFrom }]
      : [],
  );
  const moves = new Map<string, string>();
  const taken = new Set<string>();
  const formers = await pairsOf(
    context,
    renamed.map(({ from }) => from),
  );
  for (const [at, { path, from }] of renamed.entries()) {
    const { wanted, applied } = formers[at] as Pair;
    const isOurs = applied !== undefined && applied.source === sourceIdOf(context, from);
    if (!isOurs || isLive(wanted) || taken.has(from)) continue;
    taken.add(from);
    moves.set(path, from);
  }
  return moves;
}

function fromOf(config: MirrorConfig, path: string | undefined): Asked["from"] {
  return path === undefined ? undefined : { source: locationOf(config, path), destination: path };
}

async function planPaths(
  { config }: MirrorContext,
  wanted: readonly { path: string; asks?: Asked }[],
  root: string,
  whenGone: "leave" | "remove",
): Promise<PlannedRun> {
  const files = wanted.map(({ path, asks }) => ({
    source: locationOf(config, path),
    destination: path,
    asks,
  }));
  return await planRun({
    ...requestTo(config, root),
    whenGone,
    selection: { listText: listTextOf(files) },
    destination: { root },
  });
}

/** Keeps the versions that were copied in the second bucket, too. */
async function backUp(
  context: MirrorContext,
  holding: Holding,
  carried: Carried,
  paths: string[] | undefined,
): Promise<void> {
  const { config } = context;
  if (config.backup === undefined) return;
  const planned =
    paths === undefined
      ? await planWhole(config, config.backup)
      : await planPaths(
          context,
          paths.map((path) => ({ path })),
          config.backup,
          "leave",
        );
  const kept = nothingCarried();
  await carry(context, holding, planned, kept);
  carried.runs.push(...kept.runs);
  carried.failed += kept.failed;
  carried.failures.push(...kept.failures.map((each) => ({ ...each, message: `backup: ${each.message}` })));
  if (kept.broken !== "") carried.broken = `backup: ${kept.broken}`;
}

async function carry(
  context: MirrorContext,
  { signal, fence }: Holding,
  planned: PlannedRun,
  carried: Carried,
  settled: (outcome: Outcome) => void = () => {},
): Promise<RunResult> {
  const { engine, state, startPool, keepRuns, config, warn } = context;
  await endFormer(context);
  await prepareDestination(planned);
  const options = { startPool, stateDir: config.request.stateDir, keepRuns, warn };
  const handle = await submit(engine, planned, options);
  const { id } = handle.run;
  carried.runs.push(id);
  await state.change(fence, { fields: { run: id } });
  const result = await handle.follow(
    {
      ...SILENT,
      warn,
      settled(outcome) {
        if (outcome.movedFrom !== undefined) carried.moved++;
        else if (outcome.outcome === "copied") carried.copied++;
        else if (outcome.outcome === "deleted") carried.removed++;
        else if (outcome.outcome === "unchanged") carried.unchanged++;
        else {
          carried.failed++;
          const { class: cls = outcome.outcome, message = outcome.outcome } = outcome.error ?? {};
          if (carried.failures.length < MOST_TOLD)
            carried.failures.push({ path: outcome.name || outcome.source, class: cls, message });
        }
        settled(outcome);
      },
    },
    signal,
  );
  signal.throwIfAborted();
  if (result.end === "cancelled") carried.broken = `run ${id} was cancelled`;
  else if (result.end !== "done") carried.broken = `run ${id}: ${result.listing?.message ?? result.end}`;
  await state.change(fence, { fields: { run: "" } });
  return result;
}

/** Ends the run of a sync that died: its files are pending, and this one looks at them. */
async function endFormer({ engine, state, startPool }: MirrorContext): Promise<void> {
  const { run } = await state.fields();
  if (!run) return;
  try {
    await cancelRun(engine, run, startPool);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error; // it is forgotten
  }
}

/** Whether the source does not have the object any more. */
function isGone({ outcome, verifiedBy }: Outcome): boolean {
  return outcome === "deleted" || (outcome === "unchanged" && verifiedBy === null);
}

/**
 * Has the wanted state say what was found at the source, and what was looked at pending no more, unless the second bucket lacks
 * it.
 */
async function keepOutcomes(
  { state, catalog, tree, backupTree }: MirrorContext,
  { fence }: Holding,
  outcomes: Outcome[],
  { upTo, asking }: { upTo: number; asking: ReadonlySet<string> },
): Promise<{ permitted: number; unkept: number }> {
  const paths = outcomes.map(({ name }) => name);
  const olds = await state.lookUp(paths);
  const applied = await catalog.lookUp(tree.id, paths);
  const backedUp = backupTree && (await catalog.lookUp(backupTree.id, paths));
  const settled: string[] = [];
  const entries = new Map<string, WantedEntry | undefined>();
  const kept = { permitted: 0, unkept: 0 };
  outcomes.forEach((outcome, at) => {
    const { name, permissionsLost } = outcome;
    const old = olds[at];
    const entry = applied[at];
    if (isGone(outcome)) {
      settled.push(name);
      if (!isLive(old)) return;
      const { event, listing } = old;
      const gone = { isGone: true, sizeBytes: 0, mtimeMs: old.mtimeMs, version: "", sha256: "", listing };
      entries.set(name, event === undefined ? undefined : { ...gone, event });
      return;
    }
    if (!backedUp || backedUp[at]?.version === entry?.version) settled.push(name);
    if (asking.has(name)) kept[permissionsLost ? "unkept" : "permitted"]++;
    if (entry === undefined || (isLive(old) && old.version === entry.version)) return;
    const { mode, owner, grants, event, movedFrom, listing = 0 } = old ?? {};
    entries.set(name, {
      ...{
        isGone: false,
        sizeBytes: entry.sizeBytes,
        mtimeMs: writtenMsOf(entry.version) ?? old?.mtimeMs ?? 0,
      },
      ...{ version: entry.version, sha256: "", listing },
      ...(mode === undefined ? {} : { mode }),
      ...(owner === undefined ? {} : { owner }),
      ...(grants === undefined ? {} : { grants }),
      ...(event === undefined ? {} : { event }),
      ...(movedFrom === undefined ? {} : { movedFrom }),
    });
  });
  // The catalog has changed, too: the next export looks at all of them.
  await state.change(fence, { entries, settled, upTo, touched: paths });
  return kept;
}

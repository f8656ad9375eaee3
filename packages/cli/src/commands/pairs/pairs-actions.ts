import { findPairBy, pairOfRun } from "@drover/producer/pair/find-pair";
import { PairGuardError } from "@drover/producer/pair/guards";
import type { PairRequest } from "@drover/producer/pair/pair-session";
import { resolveConflicts, TAKES } from "@drover/producer/pair/resolve-conflicts";
import { rollback } from "@drover/producer/pair/rollback";
import { type PlannedRun, planRun } from "@drover/producer/runs/plan/plan";
import { type Engine, openEngine } from "@drover/shared/engine";
import { TransferError } from "@drover/shared/errors";
import type { Side } from "@drover/shared/pair/decide";
import { openSide } from "@drover/shared/pair/open-side";
import { allPairs, type PairConflict, type PairRecord, PairStore } from "@drover/shared/pair/store";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import prettyBytes from "pretty-bytes";
import { paint } from "../../display/color.js";
import { PairReport } from "../../display/pair-report.js";
import { EXIT } from "../../exit.js";
import { printable, reportError, warn } from "../../output.js";
import { withDestination } from "../../settings/destination.js";
import { OptionError } from "../../settings/option-error.js";
import { type PairFlags, pairRequestOf } from "../../settings/pair-request.js";
import { requestOf } from "../../settings/run-request.js";
import type { Resolved } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import { displayOf } from "../options.js";

interface OutputFlags {
  json?: boolean;
}

async function withEngine<T>({ values }: Resolved, work: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await openEngine({ redis: values.redis, stateDir: values["state-dir"] as string });
  try {
    return await work(engine);
  } finally {
    engine.close();
  }
}

/** Lists all pairs. @returns the exit code. */
export function listPairs(flags: OutputFlags, resolved: Resolved): Promise<number> {
  return withEngine(resolved, async ({ redis, keys }) => {
    const pairs = await allPairs(redis, keys);
    const shown = [];
    for (const pair of pairs) {
      const store = new PairStore(redis, keys, pair.id);
      const conflicts = (await store.conflicts()).length;
      shown.push({ ...json(pair), conflicts, undoable_runs: (await store.undoable()).length });
    }
    if (flags.json) print(`${JSON.stringify(shown, undefined, 2)}`);
    else if (shown.length === 0) print("no pair was synced yet: drover bisync DIR s3://bucket/prefix");
    for (const each of flags.json ? [] : shown) {
      const notes = [
        each.last_ended === null ? "broke off: the next sync goes on" : `synced ${each.last_ended}`,
        ...(each.conflicts > 0 ? [`${each.conflicts} conflicts`] : []),
      ];
      print(`${each.pair}  ${printable(each.local)} ↔ ${printable(each.remote)}  (${notes.join(", ")})`);
    }
    return EXIT.ok;
  });
}

/** Shows one pair. @returns the exit code. */
export function showPair(text: string, flags: OutputFlags, resolved: Resolved): Promise<number> {
  return withEngine(resolved, async (engine) => {
    const record = await findPairBy(engine, text, process.cwd());
    const store = new PairStore(engine.redis, engine.keys, record.id);
    const runs = await store.undoable();
    const conflicts = await store.conflicts();
    const kept = { files: 0, bytes: 0 };
    for (const { runId } of runs) {
      for await (const page of store.undo(runId)) {
        for (const { backup, former, version, more = [] } of page) {
          kept.files += more.length; // of their sizes nothing is known
          // What a bucket keeps by itself is not Drover's.
          if (backup === "" || version !== undefined) continue;
          kept.files++;
          kept.bytes += Number(former.slice(0, former.indexOf(":")));
        }
      }
    }
    let files = 0;
    for await (const page of store.ancestors()) files += page.length;
    const shown = {
      ...json(record),
      files,
      conflicts: conflicts.length,
      kept_versions: kept.files,
      kept_bytes: kept.bytes,
      undoable_runs: runs.map(({ runId, startedMs }) => ({
        run: runId,
        started: new Date(startedMs).toISOString(),
      })),
    };
    if (flags.json) {
      print(JSON.stringify(shown, undefined, 2));
      return EXIT.ok;
    }
    print(`pair       ${record.id}`);
    print(`local      ${printable(record.local)}`);
    print(`remote     ${printable(record.remote)}`);
    print(
      `synced     ${shown.last_ended ?? "broke off: the next sync goes on"} (${record.generation} times)`,
    );
    print(`files      ${files}`);
    print(`conflicts  ${conflicts.length}${conflicts.length > 0 ? `: drover conflicts ${record.id}` : ""}`);
    print(`backups    ${kept.files} versions, ${prettyBytes(kept.bytes)}`);
    for (const { run, started } of shown.undoable_runs)
      print(`run        ${run} of ${started}: drover rollback ${run}`);
    return EXIT.ok;
  });
}

/** Forgets a pair. @returns the exit code. */
export function forgetPair(text: string, resolved: Resolved): Promise<number> {
  return withEngine(resolved, async (engine) => {
    const record = await findPairBy(engine, text, process.cwd());
    const { spec } = await planOf(record, {}, resolved);
    const { signal } = new AbortController();
    for (const side of Object.keys(record.marked ?? {}) as Side[]) {
      const opened = openSide(record[side], spec, signal);
      try {
        await opened.removeOwn(`.drover-pair-${record.id}`, signal);
      } catch (error) {
        if (!(error instanceof TransferError)) throw error;
        warn(`the marker in ${record[side]} stays: ${error.message}`);
      } finally {
        await opened.close();
      }
    }
    await new PairStore(engine.redis, engine.keys, record.id).forget();
    print(`pair ${record.id} is forgotten; its files and backups stay`);
    return EXIT.ok;
  });
}

/** Lists the conflicts of a pair. @returns the exit code: 1 if there are any. */
export function showConflicts(text: string, flags: OutputFlags, resolved: Resolved): Promise<number> {
  return withEngine(resolved, async (engine) => {
    const record = await findPairBy(engine, text, process.cwd());
    const conflicts = await new PairStore(engine.redis, engine.keys, record.id).conflicts();
    if (flags.json) print(JSON.stringify(conflicts.map(conflictJson), undefined, 2));
    else if (conflicts.length === 0) print("no conflict waits");
    for (const conflict of flags.json ? [] : conflicts) {
      const { path, reason, local, remote } = conflict;
      print(`${paint("warning", "!")} ${printable(path)} (${reason.replaceAll("_", " ")})`);
      for (const [side, version] of [["local", local] as const, ["remote", remote] as const])
        print(
          `    ${side.padEnd(7)} ${version ? `${version.sizeBytes} B, ${new Date(version.mtimeMs).toISOString()}` : "deleted"}`,
        );
    }
    return conflicts.length > 0 ? EXIT.some : EXIT.ok;
  });
}

/** Resolves conflicts. @returns the exit code. */
export function resolvePair(
  text: string,
  paths: string[],
  flags: PairFlags & { all?: boolean; take: string },
  resolved: Resolved,
): Promise<number> {
  const take = TAKES.find((each) => each === flags.take);
  if (take === undefined)
    throw new OptionError(`--take must be one of ${TAKES.join(", ")}, not ${JSON.stringify(flags.take)}`);
  if (flags.all ? paths.length > 0 : paths.length === 0)
    throw new OptionError("name the conflicts to resolve, or --all: drover conflicts lists them");
  return withEngine(resolved, async (engine) => {
    const record = await findPairBy(engine, text, process.cwd());
    return await carry(record, flags, resolved, async (planned, request, options) => {
      // A version that is not the listed one any more must not be decided about: it is listed again.
      const asked = { ...request, terms: { ...request.terms, strategy: "manual" as const } };
      return await resolveConflicts(
        engine,
        planned,
        asked,
        { paths: flags.all ? undefined : paths, take },
        options,
      );
    });
  });
}

/** Takes a run back. @returns the exit code. */
export function rollbackRun(runId: string, flags: PairFlags, resolved: Resolved): Promise<number> {
  return withEngine(resolved, async (engine) => {
    const record = await pairOfRun(engine, runId);
    return await carry(record, flags, resolved, (planned, request, options, report) =>
      rollback(engine, planned, request, runId, {
        ...options,
        dryRun: flags.dryRun ?? false,
        wouldDo: (step) => report.wouldDo(step),
      }),
    );
  });
}

type Options = Parameters<typeof resolveConflicts>[4];

/** Opens a recorded pair for a run of steps, and shows them. */
async function carry(
  record: PairRecord,
  flags: PairFlags,
  resolved: Resolved,
  work: (
    planned: PlannedRun,
    request: PairRequest,
    options: Options,
    report: PairReport,
  ) => ReturnType<typeof resolveConflicts> | ReturnType<typeof rollback>,
): Promise<number> {
  const { format } = displayOf(flags);
  const planned = await planOf(record, flags, resolved);
  const own = pairRequestOf({}, resolved);
  const request = { ...own, terms: { ...own.terms, ...record.terms, backups: "all" as const } };
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  const report = new PairReport(format);
  try {
    const stateDir = resolved.values["state-dir"] as string;
    const options = { startPool: startLocalPool, stateDir, events: report, signal: stop.signal };
    const carried = await work(planned, request, options, report);
    return await report.endSteps(record.id, carried);
  } catch (error) {
    if (!(error instanceof PairGuardError) && !(error instanceof TransferError)) throw error;
    await report.stopped(error);
    reportError(`${error.message}; nothing was changed`);
    return EXIT.some;
  } finally {
    unlisten();
  }
}

async function planOf(record: PairRecord, flags: PairFlags, resolved: Resolved): Promise<PlannedRun> {
  const remote = record.endpoint === "" ? record.remote : `${record.remote}/`;
  const request = requestOf([remote], labelOf(flags), withDestination(resolved, "DIR", record.local));
  const { spec, ...planned } = await planRun(request);
  const { s3Objects } = record;
  return { ...planned, spec: { ...spec, ...(s3Objects ? { s3Objects } : {}) } };
}

function labelOf({ label }: PairFlags): { label?: string } {
  return label === undefined ? {} : { label };
}

function json(record: PairRecord) {
  return {
    pair: record.id,
    local: record.local,
    remote: record.remote,
    created: new Date(record.createdMs).toISOString(),
    generation: record.generation,
    last_run: record.lastRun ?? null,
    last_ended: record.lastEndedMs === undefined ? null : new Date(record.lastEndedMs).toISOString(),
  };
}

function conflictJson({ path, reason, local, remote, listedMs }: PairConflict) {
  const version = (of: PairConflict["local"]) =>
    of ? { size: of.sizeBytes, mtime: new Date(of.mtimeMs).toISOString(), stamp: of.stamp } : null;
  return {
    path,
    reason,
    local: version(local),
    remote: version(remote),
    listed: new Date(listedMs).toISOString(),
  };
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

import { dropKept } from "@drover/producer/runs/piped-list";
import { checkRunList } from "@drover/producer/runs/run-list";
import { SettingsError } from "@drover/shared/errors";
import { forgetRunsOlderThan } from "@drover/shared/protocol/run-retention";
import type { Run, RunCounts } from "@drover/shared/run";
import { formatOf, Report, showDuration, successful } from "../display/report.js";
import { openEngine } from "../engine.js";
import { EXIT, exitCode } from "../exit.js";
import { printable, warn } from "../output.js";
import type { Settings } from "../settings/settings.js";

interface OutputFlags {
  json?: boolean;
  ndjson?: boolean;
}

function summary(run: Run, counts: RunCounts) {
  return {
    run: run.id,
    state: run.state,
    started: new Date(run.startedMs).toISOString(),
    ended: run.endedMs === undefined ? null : new Date(run.endedMs).toISOString(),
    root: run.spec.root,
    sources: run.spec.sources.length,
    list: run.spec.list ?? null,
    ...counts,
    bytes: run.bytes,
    ...(run.deletionRefused === "" ? {} : { undeleted: run.deletionRefused }),
  };
}

/** `drover runs`: the latest runs, newest first. */
export async function runs(settings: Settings, flags: OutputFlags): Promise<number> {
  const engine = await openEngine(settings);
  try {
    const rows = [];
    for (const run of await engine.ledger.list()) rows.push(summary(run, await engine.ledger.counts(run.id)));
    if (flags.json) {
      process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
      return EXIT.ok;
    }
    if (rows.length === 0) process.stdout.write("no runs yet\n");
    for (const row of rows) {
      const open = row.files - row.settled;
      const parts = [`${successful(row)}/${row.files} successful`];
      for (const outcome of ["failed", "blocked", "locked", "cancelled"] as const)
        if (row[outcome] > 0) parts.push(`${row[outcome]} ${outcome}`);
      if (open > 0) parts.push(`${open} open`);
      if (row.undeleted !== undefined) parts.push("nothing deleted");
      process.stdout.write(
        `${row.run}  ${row.state.padEnd(11)}  ${row.started}  ${parts.join(", ")}  -> ${row.root}\n`,
      );
    }
    return EXIT.ok;
  } finally {
    engine.close();
  }
}

/** `drover status RUN`: its counts, and what did not succeed. */
export async function status(id: string, settings: Settings, flags: OutputFlags): Promise<number> {
  const engine = await openEngine(settings);
  try {
    const run = await engine.ledger.get(id);
    const row = summary(run, await engine.ledger.counts(id));
    if (flags.json) process.stdout.write(`${JSON.stringify(row).slice(0, -1)},"failures":[`);
    else {
      const took = (run.endedMs ?? Date.now()) - run.startedMs;
      process.stdout.write(
        `run ${row.run}: ${row.state}, started ${row.started}, ${showDuration(took)}\n` +
          `to ${row.root}\n` +
          `${row.files} ${row.files === 1 ? "file" : "files"}${run.sealed ? "" : " so far"}: ${row.copied} copied, ${row.unchanged} unchanged, ` +
          `${run.spec.delete ? `${row.deleted} deleted, ` : ""}${row.failed} failed, ${row.blocked} blocked, ${row.locked} locked, ${row.cancelled} cancelled, ` +
          `${row.files - row.settled} open\n` +
          (run.deletionRefused === "" ? "" : `nothing was deleted: ${run.deletionRefused}\n`),
      );
    }
    let first = true;
    for await (const page of engine.ledger.failures(id)) {
      for (const failure of page) {
        const { error } = failure;
        if (flags.json) {
          const text = JSON.stringify({ source: failure.job.s, destination: failure.job.d, error });
          process.stdout.write(`${first ? "" : ","}${text}`);
          first = false;
        } else process.stdout.write(`${printable(`✗ ${failure.job.s} (${error.message})`)}\n`);
      }
    }
    if (flags.json) process.stdout.write("]}\n");
    else if (run.state === "interrupted") process.stdout.write(`drover resume ${id} goes on with it\n`);
    else if (row.settled > successful(row)) process.stdout.write(`drover retry ${id} tries these again\n`);
    return EXIT.ok;
  } finally {
    engine.close();
  }
}

/** `drover gc`: forgets runs that ended, or were interrupted, long ago. */
export async function gc(days: string, settings: Settings): Promise<number> {
  const age = Number(days);
  if (days.trim() === "" || !(age >= 0)) throw new SettingsError("--older-than must be a number of days");
  const engine = await openEngine(settings);
  try {
    const { runs, lists } = await forgetRunsOlderThan(engine, age * 86_400_000);
    for (const list of lists) dropKept(list);
    process.stdout.write(`${runs} ${runs === 1 ? "run" : "runs"} forgotten\n`);
    return EXIT.ok;
  } finally {
    engine.close();
  }
}

/** `drover resume RUN` goes on where a run was interrupted; `drover retry RUN` takes up what failed, too. */
export async function goOn(
  id: string,
  retry: boolean,
  settings: Settings,
  flags: OutputFlags,
): Promise<number> {
  const format = formatOf(flags);
  const engine = await openEngine(settings);
  try {
    const run = await engine.ledger.get(id);
    if (run.state === "cancelled" && !retry)
      throw new SettingsError(`run ${id} was cancelled: drover retry ${id} takes it up again`);
    const counts = await engine.ledger.counts(id);
    const clean = successful(counts) === counts.files && run.deletionRefused === "";
    if (run.state === "done" && (!retry || clean)) {
      const report = new Report(format, undefined);
      report.start(`Run ${id} is done: nothing is left to ${retry ? "retry" : "resume"}`);
      await report.end(counts);
      if (run.deletionRefused !== "") warn(`nothing was deleted in ${run.spec.root}: ${run.deletionRefused}`);
      return exitCode(counts, false, run.deletionRefused);
    }
    checkRunList(run); // before anything is said of going on
    const secrets = await engine.ledger.secrets(id);
    await engine.ledger.take(run);
    if (run.deletionRefused !== "") await engine.ledger.reopenDeletion(id);
    const taken = await engine.ledger.get(id);
    if (run.spec.fleet) {
      const { goOnInFleet } = await import("../fleet-run.js");
      return await goOnInFleet(engine, taken, secrets, format, retry);
    }
    const title = retry ? `Retrying run ${id}...` : `Resuming run ${id}...`;
    const { runHere } = await import("../run-here.js");
    return await runHere(engine, taken, secrets, { format, title }, { retry });
  } finally {
    engine.close();
  }
}

/** `drover cancel RUN`: whoever carries it stops; what is not settled ends `cancelled`. */
export async function cancel(id: string, settings: Settings): Promise<number> {
  const engine = await openEngine(settings);
  try {
    const run = await engine.ledger.get(id);
    if (run.state === "done" || run.state === "cancelled") {
      process.stdout.write(`run ${id} is ${run.state} already\n`);
      return EXIT.ok;
    }
    if (run.state === "running" || run.spec.fleet) {
      await engine.ledger.cancel(id);
      process.stdout.write(`run ${id} is being cancelled\n`);
      return EXIT.ok;
    }
    // Nobody works on it: settle here what is open.
    await engine.ledger.take(run);
    await engine.ledger.cancel(id);
    const taken = await engine.ledger.get(id);
    const { carryRun } = await import("../carry-run.js");
    const { hostBreakersOf } = await import("@drover/shared/protocol/host-breakers");
    const nothing = () => {};
    const watcher = {
      queued: nothing,
      sealed: nothing,
      started: nothing,
      receiving: nothing,
      waiting: nothing,
      dropped: nothing,
      retrying: nothing,
      settled: nothing,
      warn: nothing,
    };
    await carryRun({
      engine,
      run: { ...taken, sealed: true },
      secrets: { headers: {}, sources: [] },
      stdin: undefined,
      retry: false,
      breakers: hostBreakersOf(taken.spec),
      watcher,
      live: false,
      stop: new AbortController().signal,
    });
    process.stdout.write(`run ${id} is cancelled\n`);
    return EXIT.ok;
  } finally {
    engine.close();
  }
}

import type { MirrorConfig } from "@drover/mirror/config";
import { type MirrorContext, openMirror } from "@drover/mirror/context";
import { readEventFile } from "@drover/mirror/events/event-file";
import { EventStream } from "@drover/mirror/events/event-stream";
import { importState } from "@drover/mirror/export/import";
import { exportTo } from "@drover/mirror/export/state-file";
import { whileHolding } from "@drover/mirror/state/holding";
import { statusOf } from "@drover/mirror/status";
import type { SyncReport } from "@drover/mirror/sync/report";
import { deliverReports, type PostReport } from "@drover/mirror/sync/report-deliveries";
import { incrementalSync, initialSync, reconcile } from "@drover/mirror/sync/sync";
import { toStandardOutput } from "@drover/producer/catalog/export";
import { postJson } from "@drover/service/webhooks/post";
import { signatureOf } from "@drover/service/webhooks/signature";
import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { startLocalPool } from "@drover/worker/runtime/local-worker-pool";
import { EXIT } from "../../exit.js";
import { progressLine, warn } from "../../output.js";
import { mirrorConfigOf } from "../../settings/mirror-settings.js";
import type { Resolved } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import { withEngine } from "../engine.js";

export interface MirrorFlags {
  mirror?: string;
  json?: boolean;
}

const SYNCS = { "initial-sync": initialSync, "incremental-sync": incrementalSync, reconcile };

/** Opens the mirror of the settings while `use` runs. */
export async function withMirror<T>(
  { mirror }: Pick<MirrorFlags, "mirror">,
  resolved: Resolved,
  use: (context: MirrorContext) => Promise<T>,
): Promise<T> {
  const config = mirrorConfigOf(mirror, resolved);
  return await withEngine(resolved.values, async (engine) => use(await opened(engine, config, resolved)));
}

/** Opens a mirror whose files this process carries, unless a fleet does. */
export async function opened(
  engine: Engine,
  config: MirrorConfig,
  resolved: Resolved,
): Promise<MirrorContext> {
  return await openMirror({
    engine,
    config,
    startPool: startLocalPool,
    keepRuns: resolved.values["keep-runs"],
    tell: progressLine,
    warn,
  });
}

/** `drover mirror initial-sync`, `incremental-sync`, `reconcile` */
export async function syncMirror(
  name: keyof typeof SYNCS,
  flags: MirrorFlags,
  resolved: Resolved,
): Promise<number> {
  return await withMirror(flags, resolved, async (context) => {
    const stop = new AbortController();
    const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
    try {
      const report = await syncOnce(context, SYNCS[name], stop.signal);
      if (report === undefined) return EXIT.interrupted;
      process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report));
      return exitCodeOf(report);
    } catch (error) {
      if (stop.signal.aborted) return EXIT.interrupted;
      throw error;
    } finally {
      unlisten();
    }
  });
}

/** Runs a sync once no other process syncs the mirror, and tries to deliver its report. */
export async function syncOnce(
  context: MirrorContext,
  sync: (typeof SYNCS)[keyof typeof SYNCS],
  stop: AbortSignal,
): Promise<SyncReport | undefined> {
  const { engine, config } = context;
  const wait = (holder: string) => warn(`the mirror ${config.name} is being synced by ${holder}: waiting`);
  const report = await whileHolding(engine, config.name, { stop, wait }, (holding) => sync(context, holding));
  if (report !== undefined) await deliverReports(engine, config.name, postReport(config), warn);
  return report;
}

/** Posts reports as webhooks are posted; their addresses are the operator's own. */
export function postReport({ reportSecret }: MirrorConfig): PostReport {
  const guard = new AddressGuard(["0.0.0.0/0", "::/0"]);
  return async (url, report, body) => {
    const id = `msg_${report}`;
    const timestamp = Math.floor(Date.now() / 1000);
    return await postJson(
      url,
      body,
      {
        "webhook-id": id,
        "webhook-timestamp": String(timestamp),
        ...(reportSecret === undefined
          ? {}
          : { "webhook-signature": signatureOf(reportSecret, id, timestamp, body) }),
      },
      guard,
    );
  };
}

function exitCodeOf(report: SyncReport): number {
  if (report.status === "success") return EXIT.ok;
  if (report.status === "error") return EXIT.settings;
  const arrived = report.operations_executed + report.operations.unchanged;
  return arrived === 0 && report.operations_failed > 0 ? EXIT.none : EXIT.some;
}

/** A report for people. */
export function reportText(report: SyncReport): string {
  const { sync, status, operations, changes, reconciled } = report;
  const lines = [
    `${sync} sync of ${report.mirror}: ${status} in ${report.duration_seconds.toFixed(1)} s`,
    `  events      ${report.events_processed} processed: ${report.events.applied} applied, ${report.events.superseded} superseded, ${report.events.duplicate} duplicate, ${report.events.ignored} ignored, ${report.events.dead} dead`,
    `  changes     ${changes.added} added, ${changes.removed} removed, ${changes.changed} changed, ${changes.renamed} renamed, ${changes.permissions} with other permissions`,
    `  operations  ${report.operations_executed} executed: ${operations.copied} copied, ${operations.moved} moved, ${operations.removed} removed, ${operations.permissions} permissions; ${operations.unchanged} unchanged, ${report.operations_failed} failed`,
    `  records     ${report.records}, ${report.pending} pending`,
  ];
  if (reconciled)
    lines.push(
      `  listing     ${reconciled.listed} objects, ${reconciled.missed} missed by events, ${reconciled.to_remove} to remove`,
    );
  if (reconciled?.removals_refused) lines.push(`  nothing was removed: ${reconciled.removals_refused}`);
  if (report.convergence_lag_seconds !== null)
    lines.push(`  lag         ${report.convergence_lag_seconds.toFixed(1)} s`);
  if (report.state_file !== null) lines.push(`  state       ${report.state_file}`);
  if (report.runs.length > 0) lines.push(`  runs        ${report.runs.join(", ")}`);
  if (report.error !== null) lines.push(`  error       ${report.error}`);
  for (const { path, class: cls, message } of report.failures.slice(0, 20))
    lines.push(`  failed      ${path} (${cls}): ${message}`);
  return `${lines.join("\n")}\n`;
}

/** `drover mirror status` */
export async function mirrorStatus(flags: MirrorFlags, resolved: Resolved): Promise<number> {
  const { name } = mirrorConfigOf(flags.mirror, resolved);
  return await withEngine(resolved.values, async (engine) => {
    const status = await statusOf(engine, name);
    if (flags.json) {
      process.stdout.write(`${JSON.stringify(status, null, 2)}\n`);
      return EXIT.ok;
    }
    const rows = [
      ["records", `${status.records}, ${status.pending} pending`],
      [
        "events waiting",
        `${status.events_waiting}${status.lag_seconds === null ? "" : `, the oldest for ${status.lag_seconds.toFixed(0)} s`}`,
      ],
      ["dead letters", String(status.dead_letters)],
      ["reports waiting", String(status.reports_waiting)],
      ["initial sync", status.initial_sync_at ?? "never"],
      ["last incremental sync", status.incremental_sync_at ?? "never"],
      ["last full listing", `${status.reconcile_at ?? "never"} (${status.listing})`],
      ["next sync", status.next_sync_at ?? "by no daemon"],
      ["syncing now", status.syncing ?? "nobody"],
    ];
    process.stdout.write(`mirror ${name}\n`);
    for (const [label = "", text] of rows) process.stdout.write(`  ${label.padEnd(22)} ${text}\n`);
    const [last] = status.last_syncs;
    if (last !== undefined) process.stdout.write(reportText(last));
    return EXIT.ok;
  });
}

/** `drover mirror replay FILE` */
export async function replayFile(file: string, flags: MirrorFlags, resolved: Resolved): Promise<number> {
  const { name } = mirrorConfigOf(flags.mirror, resolved);
  return await withEngine(resolved.values, async (engine) => {
    const stream = new EventStream(engine, name);
    let count = 0;
    for await (const events of readEventFile(file)) {
      await stream.add(events);
      count += events.length;
    }
    process.stdout.write(`${count} events wait for the next sync of ${name}\n`);
    return EXIT.ok;
  });
}

export interface DeadLetterFlags extends MirrorFlags {
  replay?: boolean;
}

/** Dead letters that are listed or taken at once. */
const MOST_LETTERS = 1_000;

/** `drover mirror dead-letters [ID]` */
export async function deadLetters(
  id: string | undefined,
  flags: DeadLetterFlags,
  resolved: Resolved,
): Promise<number> {
  if (id !== undefined && !/^\d+-\d+$/.test(id)) throw new SettingsError(`${id} is no id of a dead letter`);
  const { name } = mirrorConfigOf(flags.mirror, resolved);
  return await withEngine(resolved.values, async (engine) => {
    const stream = new EventStream(engine, name);
    const letters = await stream.letters(MOST_LETTERS, id);
    if (id !== undefined && letters.length === 0) throw new SettingsError(`there is no dead letter ${id}`);
    if (flags.replay) {
      const replayed = await stream.replay(letters);
      process.stdout.write(
        `${replayed} of ${letters.length} dead letters wait for the next sync of ${name}\n`,
      );
      return EXIT.ok;
    }
    if (flags.json) process.stdout.write(`${JSON.stringify(letters, null, 2)}\n`);
    else if (letters.length === 0) process.stdout.write("no dead letters\n");
    else for (const each of letters) process.stdout.write(`${each.id}  ${each.why}\n  ${each.body}\n`);
    return EXIT.ok;
  });
}

/** `drover mirror export` */
export async function exportMirror(
  flags: MirrorFlags & { output?: string },
  resolved: Resolved,
): Promise<number> {
  return await withMirror(flags, resolved, async (context) => {
    const records = await exportTo(context, flags.output, toStandardOutput);
    if (flags.output !== undefined) process.stdout.write(`${records} records written to ${flags.output}\n`);
    return EXIT.ok;
  });
}

/** `drover mirror import FILE` */
export async function importMirror(file: string, flags: MirrorFlags, resolved: Resolved): Promise<number> {
  return await withMirror(flags, resolved, async (context) => {
    const stop = new AbortController();
    const wait = (holder: string) => warn(`the mirror is being synced by ${holder}: waiting`);
    const counts = await whileHolding(
      context.engine,
      context.config.name,
      { stop: stop.signal, wait },
      (holding) => importState(context, holding, file),
    );
    const { added = 0, known = 0 } = counts ?? {};
    process.stdout.write(`${added} records imported, ${known} were known already\n`);
    return EXIT.ok;
  });
}

import { randomBytes } from "node:crypto";
import { messageOf, SettingsError, TransferError, UnavailableError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { redactText } from "@drover/shared/redact";
import { ListingError } from "@drover/shared/storage/listing-error";
import type { MirrorContext } from "../context.js";
import { type Replayed, replayEvents } from "../events/replay.js";
import { type ChangeCounts, exportState, noChanges, refreshDatabase } from "../export/state-file.js";
import { asksOtherPermissions, permissionsOf } from "../state/asked-permissions.js";
import { isLive } from "../state/entry.js";
import type { Holding } from "../state/holding.js";
import { type Audited, audit } from "./audit.js";
import { type Carried, carryPending, carryWhole, nothingCarried } from "./carry.js";
import { type Listing, listSource } from "./listing.js";
import type { SyncReport } from "./report.js";
import { queueReport } from "./report-deliveries.js";

/** Latest reports that are kept for status. */
const MOST_REPORTS = 100;

/** What a sync has found so far. */
interface Progress {
  carried: Carried;
  replayed: Replayed | undefined;
  changes: ChangeCounts;
  listing: Listing | undefined;
  audited: Audited | undefined;
  stateFile: string | undefined;
}

type Kind = SyncReport["sync"];

/** Lists all of the source, copies it, records it, and exports the final state. */
export async function initialSync(context: MirrorContext, holding: Holding): Promise<SyncReport> {
  return await reported(context, holding, "initial", async (progress) => {
    const { state } = context;
    // What events told of so far is in the listing, or looked at after it.
    progress.replayed = await replayEvents(context, holding);
    progress.listing = await listSource(context, holding);
    const upTo = Number((await state.fields()).generation);
    await carryWhole(context, holding, progress.carried);
    progress.audited = await audit(context, holding, progress.listing, true);
    await settleApplied(context, holding, upTo);
    // What has just failed is tried again by the next sync.
    await carryPending(
      context,
      holding,
      progress.carried,
      (entry) => !isLive(entry) || Object.keys(permissionsOf(entry)).length > 0,
    );
    progress.stateFile = (await exportState(context, holding)).path;
    await state.change(holding.fence, { fields: { initialMs: Date.now(), reconciledMs: Date.now() } });
  });
}

/** Finds by a full listing what events missed, and repairs it. */
export async function reconcile(context: MirrorContext, holding: Holding): Promise<SyncReport> {
  return await reported(context, holding, "reconcile", async (progress) => {
    progress.replayed = await replayEvents(context, holding);
    progress.listing = await listSource(context, holding);
    progress.audited = await audit(context, holding, progress.listing, true);
    const { changes } = await exportState(context, holding);
    progress.changes = changes ?? noChanges();
    await carryPending(context, holding, progress.carried);
    // The planner looks at the destination, too: what somebody changed there is copied again.
    await carryWhole(context, holding, progress.carried);
    progress.stateFile = (await exportState(context, holding)).path;
    await context.state.change(holding.fence, { fields: { reconciledMs: Date.now() } });
  });
}

/** Follows the events that wait, and applies what differs. Where there is nothing to do, nothing is exported and no run made. */
export async function incrementalSync(context: MirrorContext, holding: Holding): Promise<SyncReport> {
  return await reported(context, holding, "incremental", async (progress) => {
    const { state, stream } = context;
    if ((await stream.waiting()) > 0) {
      await exportState(context, holding);
      failpoint("mirror-exported");
      progress.replayed = await replayEvents(context, holding);
      failpoint("mirror-replayed");
      const { changes, path, isNew } = await exportState(context, holding);
      progress.changes = changes ?? noChanges();
      if (isNew) progress.stateFile = path;
    }
    if ((await state.pendingCount()) === 0) return;
    await carryPending(context, holding, progress.carried);
    await refreshDatabase(context);
  });
}

/** What the run of the whole source applied is pending no more. */
async function settleApplied(context: MirrorContext, { fence }: Holding, upTo: number): Promise<void> {
  const { state, catalog, tree, backupTree } = context;
  for await (const page of state.pending(upTo)) {
    const wanted = await state.lookUp(page);
    const applied = await catalog.lookUp(tree.id, page);
    const backedUp = backupTree ? await catalog.lookUp(backupTree.id, page) : applied;
    const settled = page.filter((_, at) => {
      const entry = wanted[at];
      if (!isLive(entry) || asksOtherPermissions(entry, applied[at])) return false;
      return [applied[at], backedUp[at]].every((each) => each?.version === entry.version);
    });
    if (settled.length > 0) await state.change(fence, { settled, upTo, touched: settled });
  }
}

/** Runs a sync and keeps its report, also of one that broke off. */
async function reported(
  context: MirrorContext,
  holding: Holding,
  kind: Kind,
  sync: (progress: Progress) => Promise<void>,
): Promise<SyncReport> {
  const startedMs = Date.now();
  const progress: Progress = {
    ...{ carried: nothingCarried(), changes: noChanges() },
    ...{ replayed: undefined, listing: undefined, audited: undefined, stateFile: undefined },
  };
  let broken: unknown;
  try {
    await sync(progress);
  } catch (error) {
    if (!isTold(error) || holding.signal.aborted) throw error;
    broken = error;
  }
  const report = await reportOf(context, kind, { startedMs, progress, broken });
  const { state, config } = context;
  const body = JSON.stringify(report);
  await context.engine.redis
    .multi()
    .lpush(state.keys.reports(), body)
    .ltrim(state.keys.reports(), 0, MOST_REPORTS - 1)
    .exec();
  await queueReport(context.engine, config, report.id, body);
  await state.change(holding.fence, { fields: { [`${kind}SyncMs`]: Date.now() } });
  failpoint("mirror-reported");
  return report;
}

/** Whether an error ends a sync and is told in its report. */
function isTold(error: unknown): boolean {
  return (
    error instanceof TransferError ||
    error instanceof SettingsError ||
    error instanceof UnavailableError ||
    error instanceof ListingError
  );
}

async function reportOf(
  { state, config }: MirrorContext,
  kind: Kind,
  { startedMs, progress, broken }: { startedMs: number; progress: Progress; broken: unknown },
): Promise<SyncReport> {
  const { carried, replayed, changes, listing, audited, stateFile } = progress;
  const endedMs = Date.now();
  const error = broken === undefined ? carried.broken || undefined : redactText(messageOf(broken));
  const executed = carried.copied + carried.moved + carried.removed + carried.permitted;
  const isBad = error !== undefined || carried.failed > 0 || (audited?.refused ?? "") !== "";
  const { processed = 0, applied = 0, superseded = 0, duplicate = 0, ignored = 0, dead = 0 } = replayed ?? {};
  const oldest = [replayed?.oldestMs, kind === "reconcile" ? listing?.oldestMs : undefined].filter(
    (each) => each !== undefined,
  );
  const errors: Record<string, number> = {};
  for (const each of carried.failures) errors[each.class] = (errors[each.class] ?? 0) + 1;
  return {
    type: "mirror.sync",
    id: `m${startedMs.toString(36)}-${randomBytes(3).toString("hex")}`,
    mirror: config.name,
    sync: kind,
    status: !isBad
      ? "success"
      : error !== undefined && executed + carried.unchanged === 0
        ? "error"
        : "partial",
    started_at: new Date(startedMs).toISOString(),
    ended_at: new Date(endedMs).toISOString(),
    duration_seconds: (endedMs - startedMs) / 1000,
    events_processed: processed,
    events: { applied, superseded, duplicate, ignored, dead },
    changes,
    operations_executed: executed,
    operations_failed: carried.failed,
    operations: {
      ...{
        copied: carried.copied,
        moved: carried.moved,
        removed: carried.removed,
        permissions: carried.permitted,
      },
      ...{ unchanged: carried.unchanged, not_kept: carried.unkept },
    },
    failures: carried.failures.map((each) => ({ ...each, message: redactText(each.message) })),
    error_counts: errors,
    records: Number((await state.fields()).records ?? 0),
    pending: await state.pendingCount(),
    reconciled:
      listing === undefined
        ? null
        : {
            listed: listing.seen,
            refused: listing.refused,
            missed: kind === "reconcile" ? listing.missed : 0,
            to_remove: audited?.removals ?? 0,
            removals_refused: audited?.refused || null,
          },
    convergence_lag_seconds: oldest.length === 0 ? null : Math.max(endedMs - Math.min(...oldest), 0) / 1000,
    state_file: stateFile ?? null,
    runs: carried.runs,
    error: error ?? null,
  };
}

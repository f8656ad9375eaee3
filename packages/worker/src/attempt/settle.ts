import type { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { Outcome, OutcomeName, VerifiedBy } from "@drover/shared/outcome";
import { type Ancestor, encodeAncestor } from "@drover/shared/pair/ancestor";
import { type Admitted, NO_ENTRY, type SettleRequest } from "@drover/shared/protocol/admission";
import { type CatalogEntry, encodeCatalog } from "@drover/shared/protocol/catalog-entry";
import type { HostVerdict } from "@drover/shared/protocol/flights";
import { type RunContext, workFile } from "./context.js";
import type { AttemptResult, Delivery, WorkFile } from "./delivery.js";
import { lost } from "./leases.js";

/** How a file ended. */
export interface FileEnd {
  outcome: OutcomeName;
  /** Its new catalog entry; `NO_ENTRY` deletes the current one, undefined keeps it. */
  entry?: CatalogEntry | typeof NO_ENTRY;
  /** What both sides of a pair hold of it from now on. */
  ancestor?: Ancestor;
  /** What was done with it, for people and programs that sync a pair. */
  pair?: Outcome["pair"];
  /** How its bytes at the destination were verified. */
  verifiedBy?: VerifiedBy;
  /** What is reported to its host's breaker. */
  verdict: HostVerdict;
  /** It was published without a condition, because the service supports none. */
  unconditional?: true | undefined;
  permissionsLost?: true | undefined;
  /** Where the file was moved from, under a lease of its own. Default: it was not moved. */
  from?: SettleRequest["from"];
  /** Why the file did not arrive. */
  error?: TransferError;
}

/** What is needed to settle a file: that of an attempt, or of a delivery without a lease. */
export interface Settling {
  delivery: Delivery;
  context: RunContext;
  file: WorkFile;
  /** Absent if no lease is held. */
  admitted?: Admitted;
  /** Whether the staging of all predecessors of the lease is gone. */
  fencedOff?: boolean;
}

/** Results of settling, which never waits. */
export type Settled = Extract<AttemptResult, { is: "settled" | "done" | "retry" }>;

/** Settles a file: ledger, catalog, lease and breaker are updated in one call. */
export async function settle(settling: Settling, end: FileEnd): Promise<Settled> {
  const { delivery, context, file, admitted } = settling;
  const { job } = delivery;
  const { outcome, entry, error } = end;
  delivery.releaseSlot();
  const copy = end.ancestor ?? (entry === NO_ENTRY ? undefined : entry);
  const told: Outcome = {
    index: job.i,
    source: job.s,
    destination: file.path,
    name: job.d,
    attempts: delivery.attempt,
    durationMs: Date.now() - delivery.sinceMs,
    outcome,
    checksum: copy?.sha256 || null,
    bytes: copy?.sizeBytes ?? 0,
    verifiedBy: end.verifiedBy ?? null,
  };
  if (entry !== undefined && entry !== NO_ENTRY) told.version = entry.version;
  if (admitted) told.fence = admitted.fence;
  if (end.unconditional) told.unconditional = true;
  if (end.pair) told.pair = end.pair;
  if (end.permissionsLost) told.permissionsLost = true;
  if (end.from) told.movedFrom = end.from.name;
  if (error) told.error = { class: error.class, message: error.message };
  const spent = outcome === "failed" && error?.permanent === false && error.verdict === "fail";
  const request: SettleRequest = {
    ...file,
    waiting: admitted?.waiting ?? context.flights.waiter(job.i),
    told: isOfInterest(told, context) ? JSON.stringify(told) : "",
    outcome,
    bytes: told.bytes,
    failure: error
      ? JSON.stringify({ job, error: told.error, attempts: delivery.attempt, host: file.host })
      : "",
    catalog: catalogValue(end, settling),
    verdict: end.verdict,
    epoch: admitted?.epoch ?? "0",
    rules: context.terms.rules,
    retryAfterMs: error?.retryAfterMs ?? 0,
    openBreaker: spent && context.terms.openWhenSpent,
    // Then the lease's record must stay, since it names predecessors whose staging may still exist.
    keepLease: error !== undefined && settling.fencedOff === false,
  };
  if (admitted) request.fence = admitted.fence;
  if (end.from) request.from = end.from;
  // A file that did not arrive may be retried, which needs its secrets.
  if (job.k === 1 && !error) request.forget = context.flights.secretOf(job);
  const answer = await context.admission.settle(request);
  failpoint("settled");
  if (answer.is === "stale") return { is: "retry", error: lost(), blockedUntilMs: 0 };
  if (answer.is === "already") return { is: "done", outcome: told };
  return { is: "settled", blockedUntilMs: answer.blockedUntilMs, outcome: told };
}

/** A fleet's run may be followed by others; of any other nobody asks later what it left as it was. */
function isOfInterest({ outcome }: Outcome, { flights, keepsOutcomes }: RunContext): boolean {
  return flights.shared || (keepsOutcomes && outcome !== "unchanged");
}

/** The value for the catalog; "" keeps the current entry. */
function catalogValue({ entry, ancestor }: FileEnd, { file, admitted }: Settling): SettleRequest["catalog"] {
  if (ancestor) return encodeAncestor(ancestor);
  if (entry === undefined) return "";
  if (entry === NO_ENTRY) return NO_ENTRY;
  const encoded = encodeCatalog({ ...entry, source: file.sourceHash });
  return admitted && encoded.equals(admitted.catalog) ? "" : encoded;
}

/** Settles a file without holding its lease. */
export function settleUnadmitted(
  delivery: Delivery,
  context: RunContext,
  outcome: "failed" | "blocked" | "locked" | "cancelled",
  error: TransferError,
): Promise<Settled> {
  const file = workFile(delivery.job, context);
  return settle({ delivery, context, file }, { outcome, error, verdict: "none" });
}

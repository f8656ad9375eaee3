import type { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { Outcome, OutcomeName, VerifiedBy } from "@drover/shared/outcome";
import { type Admitted, NO_ENTRY, type SettleRequest } from "@drover/shared/protocol/admission";
import { type CatalogEntry, encodeCatalog } from "@drover/shared/protocol/catalog-entry";
import type { HostVerdict } from "@drover/shared/protocol/flights";
import { type RunContext, workFile } from "./context.js";
import type { AttemptResult, Delivery, WorkFile } from "./delivery.js";
import { lost } from "./leases.js";

/** How a file ended. */
export interface FileEnd {
  outcome: OutcomeName;
  /** Its catalog entry from now on; `NO_ENTRY` drops the one that is there, undefined leaves it. */
  entry?: CatalogEntry | typeof NO_ENTRY;
  /** What vouches for its bytes, where it is at the destination. */
  verifiedBy?: VerifiedBy;
  /** What its host's breaker learns. */
  verdict: HostVerdict;
  /** It was published under no condition, because the service takes none. */
  unconditional?: true | undefined;
  /** Why it did not arrive. */
  error?: TransferError;
}

/** Whose file ends: an attempt, or a delivery without a lease. */
export interface Settling {
  delivery: Delivery;
  context: RunContext;
  file: WorkFile;
  /** Absent where no lease is held. */
  admitted?: Admitted;
  /** Nothing that the lease's predecessors staged is left. */
  fencedOff?: boolean;
}

/** What became of settling: it never waits. */
export type Settled = Extract<AttemptResult, { is: "settled" | "done" | "retry" }>;

/** Ends a file: ledger, catalog, lease and breaker learn of it in one call. */
export async function settle(settling: Settling, end: FileEnd): Promise<Settled> {
  const { delivery, context, file, admitted } = settling;
  const { job } = delivery;
  const { outcome, entry, error } = end;
  delivery.releaseSlot();
  const copy = entry === NO_ENTRY ? undefined : entry;
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
  if (end.unconditional) told.unconditional = true;
  if (error) told.error = { class: error.class, message: error.message };
  const spent = outcome === "failed" && error?.permanent === false && error.verdict === "fail";
  const request: SettleRequest = {
    ...file,
    waiting: admitted?.waiting ?? context.flights.waiter(job.i),
    followed: context.flights.shared ? JSON.stringify(told) : "",
    outcome,
    bytes: told.bytes,
    failure: error ? JSON.stringify({ job, error: told.error, attempts: delivery.attempt }) : "",
    catalog: catalogValue(entry, settling),
    verdict: end.verdict,
    epoch: admitted?.epoch ?? "0",
    rules: context.terms.rules,
    retryAfterMs: error?.retryAfterMs ?? 0,
    openBreaker: spent && context.terms.openWhenSpent,
    // Its record still names predecessors whose staging may be there.
    keepLease: error !== undefined && settling.fencedOff === false,
  };
  if (admitted) request.fence = admitted.fence;
  // What did not arrive may be taken up again, and needs its secrets then.
  if (job.k === 1 && !error) request.forget = context.flights.secretOf(job);
  const answer = await context.admission.settle(request);
  failpoint("settled");
  if (answer.is === "stale") return { is: "retry", error: lost(), blockedUntilMs: 0 };
  if (answer.is === "already") return { is: "done", outcome: told };
  return { is: "settled", blockedUntilMs: answer.blockedUntilMs, outcome: told };
}

/** What the catalog gets: "" leaves what is there. */
function catalogValue(entry: FileEnd["entry"], { file, admitted }: Settling): SettleRequest["catalog"] {
  if (entry === undefined) return "";
  if (entry === NO_ENTRY) return NO_ENTRY;
  const encoded = encodeCatalog({ ...entry, source: file.sourceHash });
  return admitted && encoded.equals(admitted.catalog) ? "" : encoded;
}

/** Ends a file that nobody holds the lease of. */
export function settleUnadmitted(
  delivery: Delivery,
  context: RunContext,
  outcome: "failed" | "blocked" | "locked" | "cancelled",
  error: TransferError,
): Promise<Settled> {
  const file = workFile(delivery.job, context);
  return settle({ delivery, context, file }, { outcome, error, verdict: "none" });
}

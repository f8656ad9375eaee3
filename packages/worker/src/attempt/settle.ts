import type { TransferError, Verdict } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { Outcome, VerifiedBy } from "@drover/shared/outcome";
import {
  type Admitted,
  flightHash,
  hostVerdict,
  NO_ENTRY,
  waiterOf,
} from "@drover/shared/protocol/admission";
import { type CatalogEntry, encodeCatalog } from "@drover/shared/protocol/catalog-entry";
import type { RunContext } from "./context.js";
import type { AttemptResult, Delivery, WorkFile } from "./delivery.js";
import { lost } from "./leases.js";

/** Settles a file that has arrived, or was there already. */
export async function settle(
  delivery: Delivery,
  file: WorkFile,
  admitted: Admitted,
  outcome: "copied" | "unchanged",
  entry: CatalogEntry,
  verifiedBy: VerifiedBy,
  verdict: Verdict,
  context: RunContext,
  unconditional?: true,
): Promise<AttemptResult> {
  delivery.through();
  const ended: Outcome = {
    ...outcomeBase(delivery, file),
    outcome,
    checksum: entry.sha256 === "" ? null : entry.sha256,
    bytes: entry.sizeBytes,
    verifiedBy,
    ...(unconditional ? { unconditional } : {}),
  };
  const { job } = delivery;
  const catalog = encodeCatalog({ ...entry, source: file.sourceHash });
  const answer = await context.admission.settle({
    ...file,
    fence: admitted.fence,
    waiting: admitted.waiting,
    followed: context.fleet ? JSON.stringify(ended) : "",
    outcome,
    bytes: entry.sizeBytes,
    failure: "",
    catalog: catalog.equals(admitted.catalog) ? "" : catalog,
    verdict,
    epoch: admitted.epoch,
    rules: context.terms.rules,
    retryAfterMs: 0,
    openBreaker: false,
    keepLease: false,
    ...(job.k === 1 ? { forget: flightHash(file.runId, job.s, job.d, 0) } : {}),
  });
  failpoint("settled");
  if (answer.is === "stale") return { is: "retry", error: lost(), blockedUntilMs: 0 };
  if (answer.is === "already") return { is: "done", outcome: ended };
  return { is: "settled", blockedUntilMs: 0, outcome: ended };
}

/** Settles a file that is not at the destination any more. */
export async function settleDeleted(
  delivery: Delivery,
  file: WorkFile,
  admitted: Admitted,
  context: RunContext,
): Promise<AttemptResult> {
  delivery.through();
  const ended: Outcome = {
    ...outcomeBase(delivery, file),
    outcome: "deleted",
    checksum: null,
    bytes: 0,
    verifiedBy: null,
  };
  const answer = await context.admission.settle({
    ...file,
    fence: admitted.fence,
    waiting: admitted.waiting,
    followed: context.fleet ? JSON.stringify(ended) : "",
    outcome: "deleted",
    bytes: 0,
    failure: "",
    catalog: NO_ENTRY,
    verdict: "none",
    epoch: admitted.epoch,
    rules: context.terms.rules,
    retryAfterMs: 0,
    openBreaker: false,
    keepLease: false,
  });
  failpoint("settled");
  if (answer.is === "stale") return { is: "retry", error: lost(), blockedUntilMs: 0 };
  if (answer.is === "already") return { is: "done", outcome: ended };
  return { is: "settled", blockedUntilMs: 0, outcome: ended };
}

function outcomeBase(delivery: Delivery, file: WorkFile) {
  return {
    index: delivery.job.i,
    source: delivery.job.s,
    destination: file.path,
    name: delivery.job.d,
    attempts: delivery.attempt,
    durationMs: Date.now() - delivery.sinceMs,
  };
}

/**
 * Settles a file that did not arrive.
 *
 * @param admitted absent where no lease is held.
 * @param keepLease its record still names predecessors whose staging may be there.
 */
export async function settleFailed(
  delivery: Delivery,
  file: WorkFile,
  admitted: Admitted | undefined,
  error: TransferError,
  context: RunContext,
  outcome: "failed" | "blocked" | "locked" | "cancelled",
  keepLease = false,
): Promise<AttemptResult> {
  delivery.through();
  const spent = outcome === "failed" && !error.permanent && error.verdict === "fail";
  const brief = { class: error.class, message: error.message };
  const ended: Outcome = {
    ...outcomeBase(delivery, file),
    outcome,
    checksum: null,
    bytes: 0,
    verifiedBy: null,
    error: brief,
  };
  const answer = await context.admission.settle({
    ...file,
    ...(admitted ? { fence: admitted.fence } : {}),
    waiting: admitted?.waiting ?? waiterOf(file.runId, delivery.job.i, context.fleet),
    followed: context.fleet ? JSON.stringify(ended) : "",
    outcome,
    bytes: 0,
    failure: JSON.stringify({ job: delivery.job, error: brief, attempts: delivery.attempt }),
    catalog: "",
    verdict: admitted ? hostVerdict(error, context.fleet) : "none",
    epoch: admitted?.epoch ?? "0",
    rules: context.terms.rules,
    retryAfterMs: error.retryAfterMs ?? 0,
    openBreaker: spent && context.terms.openWhenSpent,
    keepLease,
  });
  failpoint("settled");
  if (answer.is === "stale") return { is: "retry", error: lost(), blockedUntilMs: 0 };
  if (answer.is === "already") return { is: "done", outcome: ended };
  return { is: "settled", blockedUntilMs: answer.blockedUntilMs, outcome: ended };
}

import type { Place } from "@drover/producer/prices/price-table";
import type { Estimate } from "@drover/producer/runs/foresee/estimate";
import type { RunSpec } from "@drover/shared/run";
import { type RunBudget, showBytes, showCost } from "@drover/shared/run-budget";
import { REQUEST_KINDS } from "@drover/shared/storage/requests";
import prettyBytes from "pretty-bytes";
import { EXIT } from "../exit.js";
import { printable, reportError } from "../output.js";
import { showDuration } from "./duration.js";
import type { Format } from "./format.js";
import { dryRunExit } from "./show-dry-run.js";

/**
 * `drover plan`: prints what a run would do, take and cost.
 *
 * @returns the exit code: that of a dry run, and 1 where a limit would stop the run.
 * @throws ListingError if a source could not be listed completely.
 */
export function showPlan(spec: RunSpec, estimate: Estimate, format: Format): number {
  const shown =
    format === "human"
      ? linesOf(spec, estimate).map(printable).join("\n")
      : JSON.stringify(toJson(spec, estimate), null, format === "json" ? 2 : 0);
  process.stdout.write(`${shown}\n`);
  const code = dryRunExit(estimate.result, spec.root);
  const { budgets } = estimate;
  for (const { budget, used } of budgets.filter(({ fits }) => !fits))
    reportError(
      `it would be stopped: ${amountOf(budget, used)} would reach ${optionOf(budget)}, ${amountOf(budget, budget.most)}`,
    );
  return code === EXIT.ok && budgets.some(({ fits }) => !fits) ? EXIT.some : code;
}

function linesOf(spec: RunSpec, estimate: Estimate): string[] {
  const { result, bytes, unknownSizes, traffic, budgets } = estimate;
  const { counts, unclear } = result;
  const perhaps = unclear === 0 ? "" : ` (${unclear} of them only if what comes is not what is there)`;
  const unknown = unknownSizes === 0 ? "" : `; ${countOf(unknownSizes, "file")} of unknown size not counted`;
  const deleted = spec.delete ? `, ${counts.delete} to delete` : "";
  const requests = traffic.map(({ place, requests }) => `${placeText(place)}: ${requestsText(requests)}`);
  return [
    row(
      "files",
      `${counts.copy} to copy${perhaps}, ${counts.unchanged} unchanged${deleted}, ${counts.none} refused`,
    ),
    row("bytes", `${prettyBytes(bytes)} to copy${unknown}`),
    ...(requests.length === 0 ? [row("requests", "none")] : []),
    ...requests.map((text, at) => row(at === 0 ? "requests" : "", text)),
    row("time", timeText(estimate)),
    row("cost", costText(estimate)),
    ...budgets.map(({ budget, used, fits }) =>
      row(
        "limit",
        `${optionOf(budget)}, ${amountOf(budget, budget.most)}: ${amountOf(budget, used)} ${fits ? "fits" : "does not fit"}`,
      ),
    ),
    "nothing was changed",
  ];
}

function row(name: string, text: string): string {
  return `${name.padEnd(10)}${text}`;
}

function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function placeText({ host, bucket }: Place): string {
  return bucket === undefined ? host : `${host}, bucket ${bucket}`;
}

function requestsText(requests: Estimate["traffic"][number]["requests"]): string {
  return REQUEST_KINDS.flatMap((kind) => {
    const count = requests[kind] ?? 0;
    return count > 0 ? [`${count} ${kind.toUpperCase()}`] : [];
  }).join(", ");
}

function timeText({ durationMs, rates }: Estimate): string {
  if (!rates || durationMs === undefined) return "unknown: no earlier run";
  const { runs, of, filesPerSecond, bytesPerSecond } = rates;
  const speed = [
    `${Number(filesPerSecond.toPrecision(2))} files/s`,
    ...(bytesPerSecond === undefined ? [] : [`${prettyBytes(bytesPerSecond)}/s`]),
  ].join(" and ");
  const which = of === "destination" ? "to this destination" : "with these hosts";
  const known = runs === 1 ? `the last run ${which}` : `median of the last ${runs} runs ${which}`;
  return `about ${showDuration(durationMs)} at ${speed} (${known})`;
}

function costText({ cost }: Estimate): string {
  if (!cost) return "unknown: no price table (--prices)";
  const { currency, total, requests, egress, ingress, storagePerMonth } = cost;
  const amount = (value: number) => showCost(value, "");
  return (
    `about ${showCost(total, currency)}: requests ${amount(requests)}, bytes out ${amount(egress)}, in ${amount(ingress)}; ` +
    `storage ${showCost(storagePerMonth, currency)} a month`
  );
}

function optionOf({ what }: RunBudget): string {
  return what === "bytes" ? "--max-bytes" : "--max-cost";
}

function amountOf({ what, currency = "" }: RunBudget, amount: number): string {
  return what === "bytes" ? showBytes(amount) : showCost(amount, currency);
}

function toJson(
  spec: RunSpec,
  { result, bytes, unknownSizes, traffic, durationMs, rates, cost, budgets }: Estimate,
) {
  const { counts, unclear, deletionRefused, incomplete } = result;
  return {
    destination: spec.root,
    files: { copy: counts.copy, unchanged: counts.unchanged, delete: counts.delete, refused: counts.none },
    unclear,
    bytes,
    unknown_sizes: unknownSizes,
    complete: incomplete === undefined,
    not_deleted_because: deletionRefused === "" ? null : deletionRefused,
    requests: traffic.map(({ place, requests, outBytes, inBytes }) => ({
      host: place.host,
      bucket: place.bucket ?? null,
      ...Object.fromEntries(REQUEST_KINDS.map((kind) => [kind, requests[kind] ?? 0])),
      bytes_out: outBytes,
      bytes_in: inBytes,
    })),
    time:
      rates && durationMs !== undefined
        ? {
            seconds: durationMs / 1000,
            runs: rates.runs,
            of: rates.of,
            files_per_second: rates.filesPerSecond,
            bytes_per_second: rates.bytesPerSecond ?? null,
          }
        : null,
    cost: cost
      ? {
          currency: cost.currency,
          total: cost.total,
          requests: cost.requests,
          egress: cost.egress,
          ingress: cost.ingress,
          storage_per_month: cost.storagePerMonth,
        }
      : null,
    limits: budgets.map(({ budget, used, fits }) => ({
      what: budget.what,
      most: budget.most,
      used,
      fits,
      currency: budget.currency ?? null,
    })),
  };
}

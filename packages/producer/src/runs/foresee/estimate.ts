import type { Engine } from "@drover/shared/engine";
import type { RunSpec } from "@drover/shared/run";
import { type RunBudget, usedOf } from "@drover/shared/run-budget";
import { storageOf } from "@drover/shared/storage/registry";
import type { RequestKind, Requests } from "@drover/shared/storage/requests";
import { type Place, type PriceTable, pricesOf } from "../../prices/price-table.js";
import { costOf, destinationPlace, GB, placeOf, type Traffic, trafficOf } from "../../prices/traffic.js";
import type { PlannedRun } from "../plan/plan.js";
import { type DryRunOptions, type DryRunResult, dryRun, type PlannedFile } from "./dry-run.js";
import { earlierRates, type Rates } from "./rates.js";

/** What a run would do, in numbers. Nothing is changed to find out. */
export interface Estimate {
  /** How many files would be copied, left, deleted and refused. */
  result: DryRunResult;
  /** Of the files to be copied. */
  bytes: number;
  /** Files to be copied whose size nobody knows: they are not among the bytes. */
  unknownSizes: number;
  /** By place, in the order in which they are met. */
  traffic: Traffic[];
  /** How long it would take, in milliseconds; undefined where no earlier run tells. */
  durationMs: number | undefined;
  rates: Rates | undefined;
  /** Undefined without a price table. */
  cost: EstimatedCost | undefined;
  /** Budgets of the run, and how much of each would be used up. */
  budgets: { budget: RunBudget; used: number; fits: boolean }[];
}

export interface EstimatedCost {
  currency: string;
  requests: number;
  egress: number;
  ingress: number;
  /** Of these three. */
  total: number;
  /** For a month, of what is to be copied. */
  storagePerMonth: number;
}

export interface EstimateOptions extends Pick<DryRunOptions, "warn"> {
  /** Where the records of earlier runs are; undefined if there are none. It stays open. */
  engine: Engine | undefined;
  /** Default: no costs are told. */
  prices?: PriceTable | undefined;
}

/** Estimates what a run would do, take and cost. It lists and compares as {@link dryRun}. */
export async function estimate(
  planned: PlannedRun,
  { engine, prices, warn }: EstimateOptions,
): Promise<Estimate> {
  const { spec } = planned;
  const tally = new Tally(spec);
  const files = dryRun(planned, {
    warn,
    recallsSizes: true,
    openEngine: async () => engine && { ...engine, close() {} },
  });
  let step = await files.next();
  for (; !step.done; step = await files.next()) tally.add(step.value);
  const traffic = tally.end();
  const rates = engine && (await earlierRates(engine, spec));
  const carried = { files: step.value.counts.copy, bytes: tally.bytes };
  return {
    result: step.value,
    bytes: tally.bytes,
    unknownSizes: tally.unknownSizes,
    traffic,
    rates,
    durationMs: rates && durationOf(rates, carried),
    cost: prices && totalCost(prices, traffic, spec, tally.bytes),
    budgets: (spec.budgets ?? []).map((budget) => {
      const used = usedOf(budget, carried);
      return { budget, used, fits: used < budget.most };
    }),
  };
}

/** The larger of what the files take and what the bytes take, in milliseconds. */
function durationOf(
  { filesPerSecond, bytesPerSecond }: Rates,
  { files, bytes }: { files: number; bytes: number },
): number {
  return 1000 * Math.max(files / filesPerSecond, bytesPerSecond === undefined ? 0 : bytes / bytesPerSecond);
}

function totalCost(prices: PriceTable, traffic: Traffic[], spec: RunSpec, bytes: number): EstimatedCost {
  const sums = { requests: 0, egress: 0, ingress: 0 };
  for (const each of traffic) {
    const cost = costOf(prices, each);
    sums.requests += cost.requests;
    sums.egress += cost.egress;
    sums.ingress += cost.ingress;
  }
  const storage = pricesOf(prices, destinationPlace(spec))?.storage ?? 0;
  return {
    currency: prices.currency,
    ...sums,
    total: sums.requests + sums.egress + sums.ingress,
    storagePerMonth: (bytes / GB) * storage,
  };
}

/** Sums up what a run would do, by place. */
class Tally {
  bytes = 0;
  unknownSizes = 0;
  readonly #traffic = new Map<string, Traffic>();
  /** Sources that may be listed, and how many files were found in each. */
  readonly #trees: { location: string; place: Place; files: number; filesPerList: number }[] = [];
  /** Sources that turned out to be one file. */
  readonly #named = new Set<string>();
  readonly #keepsFormer: boolean;
  /** Files that are at the destination, as far as they are met. */
  #there = 0;

  constructor(private readonly spec: RunSpec) {
    this.#keepsFormer = spec.backup !== undefined;
    for (const source of spec.sources) {
      const { requests, isTree } = storageOf(source);
      if (requests?.filesPerList === undefined) continue;
      const place = placeOf(source, spec);
      // Whether it names a file is asked by a listing of its name, and by one of what is below it.
      if (isTree(source) === undefined) this.#count(place, { list: 2 });
      const location = source.replace(/\/?$/, "/");
      this.#trees.push({ location, place, files: 0, filesPerList: requests.filesPerList });
    }
  }

  add({ source, action, sizeBytes, isNew }: PlannedFile): void {
    const { spec } = this;
    if (source !== null) this.#found(source);
    if (action === "unchanged" || action === "delete" || (action === "copy" && !isNew)) this.#there++;
    const written = storageOf(spec.root).requests;
    if (action === "delete" && written)
      this.#count(destinationPlace(spec), { delete: 1, ...(this.#keepsFormer ? { copy: 1 } : {}) });
    if (action !== "copy" || source === null) return;
    if (sizeBytes === undefined) this.unknownSizes++;
    else this.bytes += sizeBytes;
    for (const each of trafficOf(source, spec, { sizeBytes, isThere: !isNew }))
      this.#count(each.place, each.requests, each);
    if (this.#keepsFormer && !isNew && written) this.#count(destinationPlace(spec), { copy: 1 });
  }

  /** @returns all traffic, that of listings too. */
  end(): Traffic[] {
    const { spec } = this;
    for (const { location, place, files, filesPerList } of this.#trees) {
      if (!this.#named.has(location.slice(0, -1)))
        this.#count(place, { list: Math.max(1, Math.ceil(files / filesPerList)) });
    }
    const { filesPerList } = storageOf(spec.root).requests ?? {};
    if (filesPerList !== undefined && (spec.delete || spec.checkDestination))
      this.#count(destinationPlace(spec), { list: Math.max(1, Math.ceil(this.#there / filesPerList)) });
    return [...this.#traffic.values()];
  }

  /** Counts a file that was found in a listing, or by its name. */
  #found(source: string): void {
    if (storageOf(source).requests?.filesPerList === undefined) return;
    const tree = this.#trees.find(({ location }) => source.startsWith(location));
    if (tree) tree.files++;
    else if (this.spec.sources.includes(source)) this.#named.add(source);
    else this.#count(placeOf(source, this.spec), { list: 1 }); // an item of a list
  }

  #count(place: Place, requests: Requests, { outBytes, inBytes } = { outBytes: 0, inBytes: 0 }): void {
    let traffic = this.#traffic.get(keyOf(place));
    if (!traffic) {
      traffic = { place, requests: {}, outBytes: 0, inBytes: 0 };
      this.#traffic.set(keyOf(place), traffic);
    }
    for (const [kind, count] of Object.entries(requests) as [RequestKind, number][])
      traffic.requests[kind] = (traffic.requests[kind] ?? 0) + count;
    traffic.outBytes += outBytes;
    traffic.inBytes += inBytes;
  }
}

function keyOf({ host, bucket = "" }: Place): string {
  return `${host} ${bucket}`;
}

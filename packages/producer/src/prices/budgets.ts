import type { RunSpec } from "@drover/shared/run";
import type { RunBudget } from "@drover/shared/run-budget";
import { storageOf } from "@drover/shared/storage/registry";
import type { Requests } from "@drover/shared/storage/requests";
import type { PriceTable } from "./price-table.js";
import { costOf, type Traffic, trafficOf } from "./traffic.js";

/** A large file, to learn what each byte of one costs, in bytes. */
const LARGE_BYTES = 2 ** 30;

export function bytesBudget(most: number): RunBudget {
  return { what: "bytes", most, perFile: 0, perByte: 1 };
}

/**
 * A budget of money. Each file counts as one that replaces another, and has its share of the pages of a listing. Of several
 * sources the dearest counts for all; where a list names them, the dearest entry of the table.
 */
export function costBudget(most: number, table: PriceTable, spec: RunSpec): RunBudget {
  const cost = (traffic: Traffic[]) =>
    traffic.reduce((sum, each) => {
      const { requests, egress, ingress } = costOf(table, each);
      return sum + requests + egress + ingress;
    }, 0);
  const dearest = { perFile: 0, perByte: 0 };
  const take = (ofFile: (sizeBytes: number) => Traffic[]) => {
    const small = cost(ofFile(0));
    dearest.perFile = Math.max(dearest.perFile, small);
    dearest.perByte = Math.max(dearest.perByte, (cost(ofFile(LARGE_BYTES)) - small) / LARGE_BYTES);
  };
  for (const source of spec.sources) {
    const { filesPerList } = storageOf(source).requests ?? {};
    const listed: Requests = filesPerList === undefined ? {} : { list: 1 / filesPerList };
    take((sizeBytes) => {
      const [first, ...others] = trafficOf(source, spec, { sizeBytes, isThere: true });
      if (!first) return [];
      return [{ ...first, requests: { ...first.requests, ...listed } }, ...others];
    });
  }
  if (spec.list !== undefined || spec.listIsStdin) {
    for (const { host, bucket } of table.prices) {
      // Of what a list names, nothing is known before it is read: it is taken for URLs there.
      const place = { host: host === undefined || host === "*" ? "any" : host.replace(/^\*/, "any"), bucket };
      take((sizeBytes) => [
        { place, requests: { get: 1 }, outBytes: sizeBytes, inBytes: 0 },
        ...trafficOf("/", spec, { sizeBytes, isThere: true }),
      ]);
    }
  }
  return { what: "cost", most, ...dearest, currency: table.currency };
}

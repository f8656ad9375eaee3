import type { RunSpec } from "@drover/shared/run";
import { destinationHost, storageOf } from "@drover/shared/storage/registry";
import type { Requests, WrittenFile } from "@drover/shared/storage/requests";
import { costOfRequests, type Place, type PriceTable, pricesOf } from "./price-table.js";

/** Bytes of a GB, as prices have it. */
export const GB = 1e9;

/** What is asked of one place, and the bytes that go over the wire. */
export interface Traffic {
  place: Place;
  requests: Requests;
  /** Bytes that are read from there, and that are written to it. */
  outBytes: number;
  inBytes: number;
}

/** Fields of a run's spec that its traffic depends on. */
export type RoutedRun = Pick<RunSpec, "root" | "s3" | "s3Destination" | "checksums">;

/** Where a source is. @param source without its secrets. */
export function placeOf(source: string, spec: RoutedRun): Place {
  const storage = storageOf(source);
  const bucket = storage.bucketOf?.(source);
  return { host: storage.hostOf(source, spec), ...(bucket === undefined ? {} : { bucket }) };
}

/** Where a run writes. */
export function destinationPlace(spec: RoutedRun): Place {
  const bucket = storageOf(spec.root).bucketOf?.(spec.root);
  return { host: destinationHost(spec), ...(bucket === undefined ? {} : { bucket }) };
}

/** What carrying one file takes, as an estimate, at its source and at the destination. */
export function trafficOf(source: string, spec: RoutedRun, file: WrittenFile): Traffic[] {
  const from = storageOf(source);
  const to = storageOf(spec.root);
  const { sizeBytes = 0 } = file;
  const written = destinationPlace(spec);
  const isServerCopy =
    from === to && spec.s3Destination === undefined && spec.checksums[source] === undefined;
  if (isServerCopy && to.requests?.copy)
    return [{ place: written, requests: to.requests.copy(file), outBytes: 0, inBytes: 0 }];
  const read = from.requests?.read;
  const wrote = to.requests?.write?.(file);
  return [
    ...(read ? [{ place: placeOf(source, spec), requests: read, outBytes: sizeBytes, inBytes: 0 }] : []),
    ...(wrote ? [{ place: written, requests: wrote, outBytes: 0, inBytes: sizeBytes }] : []),
  ];
}

/** What traffic costs: its requests, and its bytes in both directions. */
export function costOf(
  table: PriceTable,
  { place, requests, outBytes, inBytes }: Traffic,
): { requests: number; egress: number; ingress: number } {
  const prices = pricesOf(table, place);
  if (!prices) return { requests: 0, egress: 0, ingress: 0 };
  return {
    requests: costOfRequests(prices, requests),
    egress: (outBytes / GB) * prices.egress,
    ingress: (inBytes / GB) * prices.ingress,
  };
}

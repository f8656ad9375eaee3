import type { RequestKind, Requests } from "@drover/shared/storage/requests";
import { z } from "zod";

const price = z.number("a price: a number of at least 0").min(0, "a price: a number of at least 0");

const entrySchema = z
  .strictObject({
    /** `host`, `host:port`, `*.example.com`, or `*` for all that have no other entry. */
    host: z
      .string()
      .regex(/^(\*|(\*\.)?[^\s*/@]+)$/, "a host, *.example.com, or *")
      .optional(),
    /** A bucket of S3. */
    bucket: z
      .string()
      .regex(/^[^\s*/]+$/, "the name of a bucket")
      .optional(),
    /** Per 1,000 requests. */
    requests: z
      .strictObject({
        get: price.optional(),
        head: price.optional(),
        put: price.optional(),
        copy: price.optional(),
        post: price.optional(),
        list: price.optional(),
        delete: price.optional(),
      })
      .default({}),
    /** Per GB (1,000,000,000 bytes) that is read from there, and that is written to it. */
    egress: price.default(0),
    ingress: price.default(0),
    /** Per GB and month. */
    storage: price.default(0),
  })
  .refine(({ host, bucket }) => (host === undefined) !== (bucket === undefined), "it needs host or bucket");

export const priceTableSchema = z.strictObject({
  /** Such as `EUR`. It is printed and never converted. */
  currency: z.string().regex(/^[A-Za-z]{3}$/, "three letters such as EUR"),
  /** The first that matches counts. */
  prices: z.array(entrySchema).min(1, "at least one entry"),
});
export type PriceTable = z.infer<typeof priceTableSchema>;
export type PriceEntry = PriceTable["prices"][number];

/** Where requests go. */
export interface Place {
  /** `host:port`; "" for the local machine, where nothing costs anything. */
  host: string;
  bucket?: string | undefined;
}

/** The entry that counts for a place; undefined where nothing there has a price. */
export function pricesOf({ prices }: PriceTable, { host, bucket }: Place): PriceEntry | undefined {
  if (host === "") return undefined;
  const withPort = host.toLowerCase();
  const name = withPort.replace(/:\d+$/, "");
  return prices.find((entry) => {
    if (entry.bucket !== undefined) return entry.bucket === bucket;
    const given = (entry.host as string).toLowerCase();
    if (given === "*") return true;
    if (given.startsWith("*.")) return name.endsWith(given.slice(1));
    return given === name || given === withPort;
  });
}

/** Whose price counts where a kind of requests has none of its own. What is deleted costs nothing then. */
const LIKE: Partial<Record<RequestKind, "get" | "put">> = {
  head: "get",
  copy: "put",
  post: "put",
  list: "put",
};

/** What requests cost. */
export function costOfRequests({ requests: prices }: PriceEntry, requests: Requests): number {
  let cost = 0;
  for (const [kind, count] of Object.entries(requests) as [RequestKind, number][]) {
    const like = LIKE[kind];
    cost += (count * (prices[kind] ?? (like && prices[like]) ?? 0)) / 1_000;
  }
  return cost;
}

import { PairGuardError } from "@drover/producer/pair/guards";
import type { Engine } from "@drover/shared/engine";
import { messageOf, TransferError } from "@drover/shared/errors";
import { allPairs, type PairRecord } from "@drover/shared/pair/store";
import { redactText } from "@drover/shared/redact";
import type { RunSpec } from "@drover/shared/run";
import { ListingError } from "@drover/shared/storage/listing-error";
import { Problem } from "../http/problem.js";
import type { Reply } from "../http/route.js";
import type { BegunSync } from "./pair-syncs.js";

/** The pair whose run that is; undefined before its first sync. */
export async function pairOf(
  { redis, keys }: Engine,
  { root, sources }: RunSpec,
): Promise<PairRecord | undefined> {
  const remote = sources[0]?.replace(/\/$/, "");
  const pairs = await allPairs(redis, keys);
  return pairs.find((each) => each.local === root && each.remote === remote);
}

/** The answer to a request for a sync. */
export function replyOf({ run, planned, left }: BegunSync, pair: string | undefined): Reply {
  return {
    status: 202,
    body: { pair: pair ?? null, run: run ?? null, planned: planned ?? null, left },
    ...(run === undefined ? {} : { headers: { Location: `/api/v1/runs/${run}` } }),
  };
}

/** @throws Problem for what has stopped a sync before its first change. */
export async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const why = redactText(`${messageOf(error)}; nothing was changed`);
    if (error instanceof PairGuardError) throw new Problem(409, why);
    if (error instanceof ListingError || error instanceof TransferError) throw new Problem(502, why);
    throw error;
  }
}

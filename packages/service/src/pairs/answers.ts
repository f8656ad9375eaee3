import { PairGuardError } from "@drover/producer/pair/guards";
import { messageOf, TransferError } from "@drover/shared/errors";
import { redactText } from "@drover/shared/redact";
import { ListingError } from "@drover/shared/storage/listing-error";
import { Problem } from "../http/problem.js";
import type { Reply } from "../http/route.js";
import type { BegunSync } from "./pair-syncs.js";

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

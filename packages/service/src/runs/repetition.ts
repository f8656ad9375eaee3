import { createHash } from "node:crypto";
import { Idempotency, type RequestClaim } from "@drover/shared/protocol/idempotency";
import type { Keys } from "@drover/shared/protocol/keys";
import type { Redis } from "ioredis";
import { z } from "zod";
import { Problem } from "../http/problem.js";
import type { Caller } from "../security/scopes.js";

export const IDEMPOTENCY_KEY = "idempotency-key";

/** The header by which a request can be repeated. */
export const idempotencyHeaders = z.object({
  [IDEMPOTENCY_KEY]: z
    .string()
    .regex(/^[\x20-\x7e]{1,255}$/, "must be 1 to 255 printable characters")
    .optional()
    .meta({
      description:
        "Any text that is the same when the request is sent again, such as a UUID: then there is one run, and the first answer is given again. It counts for the token that it comes with, for as long as the run is kept and at least 24 hours.",
    }),
});

export interface Repeatable {
  redis: Redis;
  keys: Keys;
  caller: Caller;
  /** The caller's key. */
  key: string;
  body: unknown;
}

/**
 * Finds out whether a request was answered before.
 *
 * @returns its answer (JSON), or the claim of a request that is to be answered now.
 * @throws Problem 422 where the key came with another body, 409 where the same request is under way.
 */
export async function claimRequest(repeatable: Repeatable): Promise<{ answer: string } | RequestClaim> {
  const { redis, keys, caller, key, body } = repeatable;
  const name = sha256(JSON.stringify([caller.id, key]));
  const claimed = await new Idempotency(redis, keys).claim(name, sha256(canonicalJson(body)));
  if (claimed.is === "answered") return { answer: claimed.answer };
  if (claimed.is === "claimed") return claimed.claim;
  if (claimed.is === "other")
    throw new Problem(422, "this Idempotency-Key came with another body: a new request needs a new key");
  throw underWay(claimed.forMs);
}

/** @param forMs time after which it can be asked again at the latest, in milliseconds. */
export function underWay(forMs: number): Problem {
  return new Problem(409, "the same request is under way: ask again after the time in Retry-After", {
    headers: { "Retry-After": String(Math.max(Math.ceil(forMs / 1000), 1)) },
  });
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** JSON with the names of objects in order, as RFC 8785 has it. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_name, each: unknown) =>
    each !== null && typeof each === "object" && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([one], [other]) => (one < other ? -1 : 1)))
      : each,
  );
}

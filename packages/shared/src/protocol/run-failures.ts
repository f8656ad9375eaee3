import type { Redis } from "ioredis";
import { z } from "zod";
import { isSuccess, OUTCOMES, type OutcomeName } from "../outcome.js";
import { pipelined } from "../redis/script.js";
import type { Keys } from "./keys.js";

/** Files that are read in one call: about so many in a scan, and at most in order. */
const SCANNED_AT_ONCE = 500;
const PAGE = 2_000;
/** Bytes of a bitmap that are read in one call, a bit for each file of the run. */
const BITMAP_BYTES = 64 << 10;

const FAILURES = OUTCOMES.filter((outcome) => !isSuccess(outcome));

/** A file that did not succeed, as it is stored. */
const failureSchema = z.object({
  job: z.object({ s: z.string(), d: z.string() }).loose(),
  error: z.object({ class: z.string(), message: z.string() }),
  attempts: z.number().default(0),
});
export type Failure = z.infer<typeof failureSchema> & { index: number };

/** A file that did not succeed, and how it ended. */
export interface EndedFailure extends Failure {
  outcome: OutcomeName;
}

/** Files of a run that did not succeed, in pages and in no order. */
export async function* scanFailures(redis: Redis, keys: Keys, id: string): AsyncGenerator<Failure[]> {
  let cursor = "0";
  do {
    const [next, flat] = await redis.hscan(keys.failed(id), cursor, "COUNT", SCANNED_AT_ONCE);
    cursor = next;
    const page: Failure[] = [];
    for (let at = 0; at + 1 < flat.length; at += 2)
      page.push(failureOf(Number(flat[at]), flat[at + 1] as string));
    if (page.length > 0) yield page;
  } while (cursor !== "0");
}

/**
 * Files of a run that did not succeed, in pages and in the order of its files. It needs memory for one page, however many
 * there are.
 *
 * @param from index of the first file that counts. Default 0.
 * @param wanted outcomes. Default: all.
 */
export async function* failuresInOrder(
  redis: Redis,
  keys: Keys,
  id: string,
  { from = 0, wanted = OUTCOMES }: { from?: number; wanted?: readonly OutcomeName[] } = {},
): AsyncGenerator<EndedFailure[]> {
  const outcomes = FAILURES.filter((outcome) => wanted.includes(outcome));
  if (outcomes.length === 0) return;
  let ended: { index: number; outcome: OutcomeName }[] = [];
  for (let firstByte = from >> 3; ; firstByte += BITMAP_BYTES) {
    const maps = await bitmapsOf(redis, keys, { id, outcomes, firstByte });
    const length = Math.max(...maps.map((map) => map.length));
    for (let byte = 0; byte < length; byte++)
      for (let bit = 0; bit < 8; bit++) {
        const index = (firstByte + byte) * 8 + bit;
        const nth = index < from ? -1 : maps.findIndex((map) => ((map[byte] ?? 0) & (0x80 >> bit)) !== 0);
        if (nth < 0 || ended.push({ index, outcome: outcomes[nth] as OutcomeName }) < PAGE) continue;
        yield await read(redis, keys.failed(id), ended);
        ended = [];
      }
    if (length < BITMAP_BYTES) break;
  }
  if (ended.length > 0) yield await read(redis, keys.failed(id), ended);
}

/** Bytes of the bitmaps of outcomes; none behind their ends. */
async function bitmapsOf(
  redis: Redis,
  keys: Keys,
  { id, outcomes, firstByte }: { id: string; outcomes: readonly OutcomeName[]; firstByte: number },
): Promise<Buffer[]> {
  const lastByte = firstByte + BITMAP_BYTES - 1;
  return await Promise.all(
    outcomes.map((outcome) => redis.getrangeBuffer(keys.outcome(id, outcome), firstByte, lastByte)),
  );
}

/** What is stored of files; those that are being tried again by now are left out. */
async function read(
  redis: Redis,
  failed: string,
  ended: readonly { index: number; outcome: OutcomeName }[],
): Promise<EndedFailure[]> {
  const [stored] = (await pipelined(redis, () =>
    redis.pipeline().hmget(failed, ...ended.map(({ index }) => String(index))),
  )) as [(string | null)[]];
  return ended.flatMap(({ index, outcome }, at) => {
    const text = stored[at] ?? null;
    return text === null ? [] : [{ ...failureOf(index, text), outcome }];
  });
}

function failureOf(index: number, stored: string): Failure {
  return { ...failureSchema.parse(JSON.parse(stored)), index };
}

import type { Redis } from "ioredis";
import { z } from "zod";
import { isSuccess, OUTCOMES, type OutcomeName } from "../outcome.js";
import { pipelined } from "../redis/script.js";
import type { Keys } from "./keys.js";
import { readFailureGroupsScript } from "./lua/read-failure-groups.lua.js";

/** Files that are read in one call: about so many in a scan, and at most in order. */
const SCANNED_AT_ONCE = 500;
const PAGE = 2_000;
/** Bytes of a bitmap that are read in one call, a bit for each file of the run. */
const BITMAP_BYTES = 64 << 10;

const FAILURES = OUTCOMES.filter((outcome) => !isSuccess(outcome));

/** The host of a failure as it is stored (JSON), whose last field that is. */
const HOST_AT_END = /"host":"([^"\\]*)"\}$/;

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

/** How many files of a run did not succeed, of one class of error and one host. */
export interface FailureCount {
  class: string;
  /** `host:port`, or "" where none is concerned. */
  host: string;
  files: number;
}

/**
 * How much of a run did not succeed, as it was counted with every file. It takes no longer where there is more of it.
 *
 * @returns undefined where not everything was counted: an earlier version of Drover recorded some of it, or the name of a
 *   file, or its error, holds half a character.
 */
export async function countedFailures(
  redis: Redis,
  keys: Keys,
  id: string,
): Promise<FailureCount[] | undefined> {
  const names = [keys.failed(id), keys.failureGroups(id)];
  const [all, groups] = (await readFailureGroupsScript.run(redis, names, [])) as [number, string[]];
  const counts: FailureCount[] = [];
  let counted = 0;
  for (let at = 0; at + 1 < groups.length; at += 2) {
    const [name = "", files] = [groups[at], Number(groups[at + 1])];
    const space = name.indexOf(" ");
    counts.push({ class: name.slice(0, space), host: name.slice(space + 1), files });
    counted += files;
  }
  return counted === all ? counts : undefined;
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

/** Some of what did not succeed, see {@link failuresInOrder}. */
export interface WhichFailures {
  from?: number;
  wanted?: readonly OutcomeName[];
  errorClass?: string | undefined;
  isHost?: (host: string) => boolean;
}

/**
 * Files of a run that did not succeed, in pages and in the order of its files. It needs memory for one page, however many
 * there are.
 *
 * @param from index of the first file that counts. Default 0.
 * @param wanted outcomes. Default: all.
 * @param errorClass the others are left out. Default: all.
 * @param isHost leaves out those of other hosts that were recorded with their host. Default: all.
 */
export async function* failuresInOrder(
  redis: Redis,
  keys: Keys,
  id: string,
  { from = 0, wanted = OUTCOMES, ...filter }: WhichFailures = {},
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
        yield await read(redis, keys.failed(id), ended, filter);
        ended = [];
      }
    if (length < BITMAP_BYTES) break;
  }
  if (ended.length > 0) yield await read(redis, keys.failed(id), ended, filter);
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
  { errorClass, isHost }: Pick<WhichFailures, "errorClass" | "isHost">,
): Promise<EndedFailure[]> {
  // Most of what is not meant need not be parsed to tell.
  const mark = errorClass === undefined ? "" : JSON.stringify(errorClass);
  const [stored] = (await pipelined(redis, () =>
    redis.pipeline().hmget(failed, ...ended.map(({ index }) => String(index))),
  )) as [(string | null)[]];
  return ended.flatMap(({ index, outcome }, at) => {
    const text = stored[at] ?? null;
    if (text === null || !text.includes(mark)) return [];
    const host = isHost && HOST_AT_END.exec(text)?.[1];
    if (host !== undefined && isHost?.(host) === false) return [];
    const failure = failureOf(index, text);
    return errorClass === undefined || failure.error.class === errorClass ? [{ ...failure, outcome }] : [];
  });
}

function failureOf(index: number, stored: string): Failure {
  return { ...failureSchema.parse(JSON.parse(stored)), index };
}

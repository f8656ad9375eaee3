import type { Side } from "@drover/shared/pair/decide";
import type { PairSides } from "@drover/shared/pair/side";
import type { PairRecord } from "@drover/shared/pair/store";
import { z } from "zod";
import { PairGuardError } from "./guards.js";

/** The file at the root of a side that says which pair it is of. A side may be of several pairs. */
const markerSchema = z.object({
  pair: z.string(),
  local: z.string(),
  remote: z.string(),
  generation: z.number(),
});

const nameOf = (id: string) => `.drover-pair-${id}`;

/**
 * Looks whether the sides are those that were synced. A restored side, or a restored Redis, has another generation.
 *
 * @param marked sides that have a marker: those that the pair has written to.
 * @returns whether they are not, and somebody has looked (`adopt`), and the latest generation that was seen.
 * @throws PairGuardError if they are not, and nobody has looked.
 */
export async function checkMarkers(
  record: PairRecord,
  sides: PairSides,
  marked: readonly Side[],
  { adopt, signal }: { adopt: boolean; signal: AbortSignal },
): Promise<{ isAdopted: boolean; generation: number }> {
  let isAdopted = false;
  let { generation } = record;
  for (const side of marked) {
    const expected = record.marked?.[side];
    if (expected === undefined) continue; // no sync has written to it yet
    const text = await sides[side].readOwn(nameOf(record.id), signal);
    const marker = text === undefined ? undefined : parse(text);
    const where = sides[side].root;
    generation = Math.max(generation, marker?.generation ?? 0);
    const why = !marker
      ? {
          code: "marker" as const,
          message: `${where} has no ${nameOf(record.id)}: is it mounted, is it the right one?`,
        }
      : isOf(marker.generation, expected, record)
        ? undefined
        : {
            code: "generation" as const,
            message: `${where} was synced ${marker.generation} times, and Redis knows of ${expected}: one of them was restored`,
          };
    if (!why) continue;
    isAdopted = true;
    if (adopt) continue;
    throw new PairGuardError(
      why.code,
      `${why.message}. If it is meant to be: --adopt takes both sides as they are and deletes nothing`,
    );
  }
  return { isAdopted, generation };
}

/** A run that broke off may have written the next generation to its markers. */
function isOf(generation: number, expected: number, record: PairRecord): boolean {
  const hasBrokenOff = record.lastEndedMs === undefined;
  return generation === expected || (hasBrokenOff && generation === record.generation + 1);
}

function parse(text: string): z.infer<typeof markerSchema> | undefined {
  try {
    return markerSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // somebody has written to it: then it is none
  }
}

/** Writes the markers of a pair's generation, and notes that in its record, which the caller keeps. */
export async function writeMarkers(
  record: PairRecord,
  sides: PairSides,
  marked: readonly Side[],
  signal: AbortSignal,
): Promise<void> {
  const { id, local, remote, generation } = record;
  const text = `${JSON.stringify({ pair: id, local, remote, generation })}\n`;
  for (const side of marked) await sides[side].writeOwn(nameOf(id), text, signal);
  record.marked = { ...record.marked, ...Object.fromEntries(marked.map((side) => [side, generation])) };
}

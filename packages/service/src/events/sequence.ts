import type { Origin, StorageEvent } from "./event.js";

/** Both get the sequencers of S3 itself. Ceph's is little-endian, and nothing is documented of others. */
const COMPARABLE: ReadonlySet<Origin> = new Set<Origin>(["aws", "eventbridge"]);
const HEX = /^[0-9a-f]+$/i;

/**
 * Which of two events of one object came later, by AWS's sequencers: hexadecimal text of any length, compared as strings
 * once the shorter one has zeros at its right.
 *
 * @returns less than 0 if `a` came first, more than 0 if `b` did, 0 for the same event; undefined if it cannot be told:
 * the objects differ, or one of the events is not AWS's or has no sequencer.
 */
export function compareSequence(a: StorageEvent, b: StorageEvent): number | undefined {
  if (a.bucket !== b.bucket || a.key !== b.key) return undefined;
  if (!COMPARABLE.has(a.origin) || !COMPARABLE.has(b.origin)) return undefined;
  const [first, second] = [hexOf(a), hexOf(b)];
  if (first === undefined || second === undefined) return undefined;
  const chars = Math.max(first.length, second.length);
  const [firstPadded, secondPadded] = [first.padEnd(chars, "0"), second.padEnd(chars, "0")];
  if (firstPadded === secondPadded) return 0;
  return firstPadded < secondPadded ? -1 : 1;
}

function hexOf({ sequencer }: StorageEvent): string | undefined {
  return sequencer !== undefined && HEX.test(sequencer) ? sequencer.toLowerCase() : undefined;
}

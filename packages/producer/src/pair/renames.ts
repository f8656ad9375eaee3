import { TransferError } from "@drover/shared/errors";
import type { Side } from "@drover/shared/pair/decide";
import type { PairSide } from "@drover/shared/pair/side";
import { type DecidedStep, decodeDecided } from "@drover/shared/pair/step";
import type { PairStore } from "@drover/shared/pair/store";
import { OTHER } from "./merge.js";
import type { PairPlan } from "./pair-plan.js";
import type { PairSession } from "./pair-session.js";

/** Ancestors that are asked for at once. */
const AT_ONCE = 512;

/**
 * How many of the files that a plan deletes on a side come there under another name, told by their bytes. A new file is read
 * where it is local; of an object that is asked which tells no SHA-256, nothing is told.
 *
 * @throws TransferError where the other side cannot be asked.
 */
export async function countRenames(
  plan: PairPlan,
  to: Side,
  { sides, store, signal }: Pick<PairSession, "sides" | "store" | "signal">,
): Promise<number> {
  const gone = await goneBytes(plan, to, store);
  const from = OTHER[to];
  let renames = 0;
  for await (const { name, step } of plan.steps.all()) {
    const decided = decodeDecided(step);
    if (!isNew(decided, to) || !gone.sizes.has(sizeOf(decided[from]))) continue;
    const sha256 = await bytesOf(sides[from], name, decided[from], signal);
    const left = gone.files.get(sha256 ?? "") ?? 0;
    if (left === 0) continue;
    gone.files.set(sha256 as string, left - 1);
    renames++;
  }
  return renames;
}

/** What a plan deletes on a side: files by SHA-256, and their sizes. */
async function goneBytes(
  plan: PairPlan,
  to: Side,
  store: Pick<PairStore, "ancestorsOf">,
): Promise<{ files: Map<string, number>; sizes: Set<number> }> {
  const gone = { files: new Map<string, number>(), sizes: new Set<number>() };
  const names: string[] = [];
  const ask = async () => {
    for (const ancestor of await store.ancestorsOf(names.splice(0))) {
      if (!ancestor) continue;
      gone.files.set(ancestor.sha256, (gone.files.get(ancestor.sha256) ?? 0) + 1);
      gone.sizes.add(ancestor.sizeBytes);
    }
  };
  for await (const { name, step } of plan.steps.all()) {
    const { decision } = decodeDecided(step);
    if (decision.do === "delete" && decision.to === to && names.push(name) >= AT_ONCE) await ask();
  }
  await ask();
  return gone;
}

function isNew({ decision, ...stamps }: DecidedStep, to: Side): boolean {
  return decision.do === "copy" && decision.to === to && stamps[to] === "";
}

function sizeOf(stamp: string): number {
  return Number(stamp.slice(0, stamp.indexOf(":")));
}

async function bytesOf(
  side: PairSide,
  name: string,
  stamp: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const look = { is: "file", stamp, sizeBytes: sizeOf(stamp), mtimeMs: 0 } as const;
  try {
    return (
      (await side.digest(name, look, "sha256", signal)) ?? (await side.digest(name, look, "noted", signal))
    );
  } catch (error) {
    if (error instanceof TransferError && /^(changed|not-found)$/.test(error.class)) return undefined;
    throw error;
  }
}

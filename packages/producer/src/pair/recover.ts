import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import type { Ancestor } from "@drover/shared/pair/ancestor";
import { carriedOut } from "@drover/shared/pair/carried-out";
import type { PairSides } from "@drover/shared/pair/side";
import type { PairStore } from "@drover/shared/pair/store";

/**
 * Takes up what a run left that broke off, or in which files failed: where a side holds what the run was about to write, both sides were equal, and an
 * edit that came after that is a plain change.
 */
export async function recover(
  engine: Engine,
  runId: string,
  { store, sides }: { store: PairStore; sides: PairSides },
  signal: AbortSignal,
): Promise<void> {
  await stopLast(engine, runId);
  for await (const page of store.undo(runId)) {
    const found: [string, Ancestor | undefined][] = [];
    const noted = await store.ancestorsOf(page.map(({ name }) => name));
    for (const [at, entry] of page.entries()) {
      const carried = await carriedOut(entry, noted[at], sides, signal);
      if (carried) found.push([entry.name, carried.ancestor]);
    }
    await store.setAncestors(found);
  }
}

/** Workers of a fleet may still carry what a process submitted that died. */
async function stopLast({ ledger }: Engine, runId: string): Promise<void> {
  try {
    const { state } = await ledger.get(runId);
    if (state === "running") await ledger.cancel(runId);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error; // it is forgotten
  }
}

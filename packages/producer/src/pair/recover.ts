import type { Engine } from "@drover/shared/engine";
import { SettingsError, TransferError } from "@drover/shared/errors";
import { type Ancestor, decodeAncestor, encodeAncestor } from "@drover/shared/pair/ancestor";
import type { FileLook, PairSide, PairSides } from "@drover/shared/pair/side";
import type { PairStore, UndoEntry } from "@drover/shared/pair/store";

/**
 * Takes up what a run left that broke off: where a side holds what the run was about to write, both sides were equal, and an
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
      const { name } = entry;
      if (entry.sha256 === "") {
        // Neither side had it any more: what is made there since is new.
        if (await isGone(entry, noted[at], sides, signal)) found.push([name, undefined]);
        continue;
      }
      // Conflict copies were never the same on both sides.
      if (entry.copy || noted[at]?.sha256 === entry.sha256) continue;
      const look = await lookFor(name, entry.sha256, sides[entry.side], signal);
      if (!look) continue;
      const { sha256 } = entry;
      const before = decodeAncestor(Buffer.from(entry.before, "base64"));
      const { mode } = look.mode === undefined ? { mode: before?.mode } : look;
      found.push([
        name,
        { sha256, sizeBytes: look.sizeBytes, ...(mode === undefined ? {} : { mode }), local: "", remote: "" },
      ]);
    }
    await store.setAncestors(found);
  }
}

/** Whether a deletion was carried out, and not noted any more. */
async function isGone(
  { name, side, before }: UndoEntry,
  noted: Ancestor | undefined,
  sides: PairSides,
  signal: AbortSignal,
): Promise<boolean> {
  if (!noted || encodeAncestor(noted).toString("base64") !== before) return false;
  return (await sides[side].look(name, signal)).is === "absent";
}

/** Looks whether a side holds a version. Users may edit it meanwhile: then it is another one. */
async function lookFor(
  name: string,
  sha256: string,
  side: PairSide,
  signal: AbortSignal,
): Promise<FileLook | undefined> {
  const look = await side.look(name, signal);
  if (look.is !== "file") return undefined;
  try {
    const found = (await side.digest(name, look, "sha256", signal)) ?? (await side.read(name, look, signal));
    return found === sha256 ? look : undefined;
  } catch (error) {
    if (error instanceof TransferError && /^(changed|not-found)$/.test(error.class)) return undefined;
    throw error;
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

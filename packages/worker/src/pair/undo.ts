import { TransferError } from "@drover/shared/errors";
import { type Ancestor, decodeAncestor } from "@drover/shared/pair/ancestor";
import type { FileLook, Look } from "@drover/shared/pair/side";
import type { UndoEntry } from "@drover/shared/pair/store";
import { NO_ENTRY } from "@drover/shared/protocol/admission";
import type { FileEnd } from "../attempt/settle.js";
import { type PathAttempt, removeFrom, transfer } from "./carry.js";
import type { PairContext } from "./pair-context.js";

/**
 * Takes back what a run did with one path of one side: the version before comes back from the backup, or what was new goes.
 * What was changed since is left alone.
 *
 * @throws TransferError class `changed` for that, `not-found` where the version before was not kept.
 */
export async function undo(work: PathAttempt, entry: UndoEntry): Promise<FileEnd> {
  const { side, name } = entry;
  const { attempt, pair } = work;
  const { signal } = attempt.lease;
  const done = await work.journal.takeUp(name, [side]);
  if (done) return ended(entry, done.ancestor, "unchanged");
  const look = await pair.sides[side].look(name, signal);
  if (look.is === "unknown") throw refused(name, look.why);
  if (look.is === "absent" && entry.former === "") return ended(entry, undefined, "unchanged"); // it never came about
  if (!(await isAsLeft(look, entry, pair, signal))) {
    // A run that broke off may not have got as far as to write it.
    if (look.is === "file" && look.stamp === entry.former) return ended(entry, undefined, "unchanged");
    throw refused(name, "it was changed after the run");
  }
  if (entry.former === "") {
    await removeFrom(work, { to: side, name, look: look as FileLook, keeps: true });
    return ended(entry, undefined, "deleted");
  }
  if (entry.backup === "")
    throw new TransferError("not-found", `the version of ${name} before the run was not kept`, {
      permanent: true,
    });
  const former = plainLook(entry.former);
  const { backup: location, version } = entry;
  const source = version === undefined ? undefined : pair.sides[side].versions?.source(name, version);
  const plan = { from: undefined, to: side, location, source, name, toName: name, look: former };
  const { outcome, ancestor, verifiedBy } = await transfer(work, {
    ...plan,
    over: look,
    keeps: look.is === "file",
  });
  return { ...ended(entry, ancestor, outcome), verifiedBy };
}

async function isAsLeft(
  look: Exclude<Look, { is: "unknown" }>,
  { side, name, sha256 }: UndoEntry,
  { sides }: PairContext,
  signal: AbortSignal,
): Promise<boolean> {
  if (look.is === "absent") return sha256 === "";
  if (sha256 === "") return false;
  const found =
    (await sides[side].digest(name, look, "sha256", signal)) ?? (await sides[side].read(name, look, signal));
  return found === sha256;
}

/** The ancestor before the run, with the stamp of what came back if that is what both held. */
function ended(entry: UndoEntry, back: Ancestor | undefined, outcome: FileEnd["outcome"]): FileEnd {
  const before = decodeAncestor(Buffer.from(entry.before, "base64"));
  const pair = { action: `undo-${entry.side}`, conflict: false };
  if (!before) return { outcome, entry: NO_ENTRY, verdict: "ok", pair };
  const ancestor = back?.sha256 === before.sha256 ? { ...before, [entry.side]: back[entry.side] } : before;
  return { outcome, ancestor, verdict: "ok", pair };
}

function plainLook(stamp: string): FileLook {
  return { is: "file", stamp, sizeBytes: Number(stamp.slice(0, stamp.indexOf(":"))), mtimeMs: 0 };
}

function refused(name: string, why: string): TransferError {
  return new TransferError("changed", `${name} is left as it is: ${why}`, { permanent: true, verdict: "ok" });
}

import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import type { Ancestor } from "@drover/shared/pair/ancestor";
import type { CarriedOut } from "@drover/shared/pair/carried-out";
import { conflictName } from "@drover/shared/pair/conflict-name";
import { type Decision, decide, type Side } from "@drover/shared/pair/decide";
import { ancestorOf, examine, type SeenPath, withMode } from "@drover/shared/pair/path-state";
import type { FileLook, Look } from "@drover/shared/pair/side";
import { type DecidedStep, decodeStep } from "@drover/shared/pair/step";
import type { ConflictVersion } from "@drover/shared/pair/store";
import { NO_ENTRY } from "@drover/shared/protocol/admission";
import type { Attempt } from "../attempt/attempt.js";
import type { FileEnd } from "../attempt/settle.js";
import type { Operation } from "../attempt/under-lease.js";
import { fenceOff, type PathAttempt, removeFrom, type Transferred, transfer } from "./carry.js";
import { ancestorBy, Journal } from "./journal.js";
import type { PairContext } from "./pair-context.js";
import { undo } from "./undo.js";

/** How often a path is decided on anew in one attempt, because it was not what it was decided by. */
const MOST_DECISIONS = 3;
/** Names that are tried for one conflict copy. */
const MOST_NAMES = 100;

const OTHER: Record<Side, Side> = { local: "remote", remote: "local" };

/**
 * Brings one path of a pair to what the decision table says. Each write is bound to the version that was decided by; where
 * that is another one by then, both sides are looked at and the path is decided on anew.
 */
export class SyncPath implements Operation {
  readonly tellsOfErrors = true;
  readonly #pair: PairContext;
  readonly #work: PathAttempt;
  /** What an attempt before this one has done, without being heard any more. */
  #done: CarriedOut | undefined;
  readonly #copies: string[] = [];

  constructor(private readonly attempt: Attempt) {
    const { pair } = attempt.context;
    if (!pair) throw new TransferError("internal", "the run syncs no pair", { permanent: true });
    this.#pair = pair;
    this.#work = { attempt, pair, journal: new Journal(attempt, pair) };
    // What an attempt leaves behind on either side is found by the fences of its lease alone.
    attempt.fencedOff = false;
  }

  async run(): Promise<FileEnd> {
    const { attempt } = this;
    await fenceOff(attempt, this.#pair);
    const step = decodeStep(attempt.job.p ?? "");
    if (step.is === "undo") return await undo(this.#work, step.entry);
    this.#done = await this.#work.journal.takeUp(attempt.job.d);
    if (step.above !== undefined) await this.#checkAbove(step.above, step.decision.to);
    let { seen, decision } = await this.#planned(step);
    for (let round = 1; ; round++) {
      try {
        decision ??= await this.#decide(seen);
        return this.#withDone(await this.#carryOut(decision, seen));
      } catch (error) {
        if (!(error instanceof TransferError) || error.class !== "changed") throw error;
        if (round === MOST_DECISIONS)
          throw new TransferError("changed", `${attempt.job.d} changes all the time: ${error.message}`, {
            permanent: true,
            verdict: "ok",
          });
        seen = await this.#look();
        decision = undefined;
      }
    }
  }

  /** Where this attempt found out nothing newer, what both sides hold is what an earlier one has brought about. */
  #withDone(end: FileEnd): FileEnd {
    if (!this.#done || end.ancestor || end.entry !== undefined) return end;
    const { ancestor } = this.#done;
    return ancestor ? { ...end, ancestor } : { ...end, entry: NO_ENTRY };
  }

  /** @throws TransferError if a file is still where a directory is to be. */
  async #checkAbove(above: string, to: Side): Promise<void> {
    const look = await this.#pair.sides[to].look(above, this.attempt.lease.signal);
    if (look.is !== "file") return;
    const why = `${above} is still a file on the ${to} side: the next sync tries again`;
    throw new TransferError("path", why, { permanent: true, verdict: "ok" });
  }

  /** What was planned, if the local side still is what it was; the remote side shows that when it is written. */
  async #planned(step: DecidedStep): Promise<{ seen: SeenPath; decision: Decision | undefined }> {
    const { job, lease } = this.attempt;
    const { sides } = this.#pair;
    const local = await sides.local.look(job.d, lease.signal);
    const isPlanned =
      local.is === "file" ? local.stamp === step.local : local.is === "absent" && step.local === "";
    if (!isPlanned) return { seen: await this.#look(), decision: undefined };
    const remote = plannedLook(step.remote);
    return { seen: { name: job.d, ancestor: this.#ancestor, local, remote }, decision: step.decision };
  }

  async #look(): Promise<SeenPath> {
    const { job, lease } = this.attempt;
    const { sides } = this.#pair;
    const [local, remote] = await Promise.all([
      sides.local.look(job.d, lease.signal),
      sides.remote.look(job.d, lease.signal),
    ]);
    return { name: job.d, ancestor: this.#ancestor, local, remote };
  }

  get #ancestor(): Ancestor | undefined {
    return ancestorBy(this.attempt, this.#done);
  }

  async #decide(seen: SeenPath): Promise<Decision> {
    const { sides, spec } = this.#pair;
    const { signal } = this.attempt.lease;
    const state = await examine(seen, {
      sides,
      terms: spec,
      clockOffsetMs: () => spec.clockOffsetMs,
      signal,
    });
    const decision = withMode(decide(state, spec), state);
    const isNoted = decision.do === "record" || (decision.do === "nothing" && state.restamped);
    if (isNoted && state.sha256 !== undefined) this.#equal = ancestorOf(seen, state.sha256);
    return decision;
  }

  /** What both sides hold, where that was found out. */
  #equal: Ancestor | undefined;

  async #carryOut(decision: Decision, seen: SeenPath): Promise<FileEnd> {
    switch (decision.do) {
      case "nothing":
      case "record":
        return { ...this.#left("unchanged", false), ...(this.#equal ? { ancestor: this.#equal } : {}) };
      case "forget":
        return { ...this.#left("forgotten", false), entry: NO_ENTRY };
      case "leave":
        return { ...this.#left(decision.why, false), ...(decision.forgets ? { entry: NO_ENTRY } : {}) };
      case "list":
        await this.#list(decision.reason, seen);
        return this.#left("listed", true);
      case "copy":
        return await this.#copy(decision, seen);
      case "delete":
        return await this.#delete(decision, seen);
      case "set-aside":
        await this.#setAside(decision.to, seen, this.#ownSides(decision.to));
        return await this.#copy(
          { to: decision.to, keeps: this.#pair.spec.backups === "all", conflict: true },
          seen,
        );
      case "vacate":
        await this.#setAside(decision.to, seen, this.#ownSides(decision.to));
        return await this.#remove(
          { to: decision.to, keeps: this.#pair.spec.backups === "all", conflict: true },
          seen,
        );
      case "beside":
        return (await this.#setAside(OTHER[decision.to], seen, [decision.to]))
          ? this.#left("beside", true)
          : { outcome: "unchanged", verdict: "ok", pair: { action: "unchanged", conflict: false } };
    }
  }

  /** Sides that get a conflict copy of a version that one of them has: both, where the direction allows. */
  #ownSides(side: Side): Side[] {
    return this.#pair.spec.direction === "bidirectional" ? [side, OTHER[side]] : [side];
  }

  #left(action: string, conflict: boolean): FileEnd {
    const copies = this.#copies.length > 0 ? { copies: this.#copies } : {};
    return { outcome: "unchanged", verdict: "ok", pair: { action, conflict, ...copies } };
  }

  async #list(reason: Extract<Decision, { do: "list" }>["reason"], seen: SeenPath): Promise<void> {
    const { local, remote, name } = seen;
    await this.#pair.store.listConflict({
      path: name,
      reason,
      ...(local.is === "file" ? { local: versionOf(local) } : {}),
      ...(remote.is === "file" ? { remote: versionOf(remote) } : {}),
      listedMs: Date.now(),
    });
  }

  async #copy(
    { to, keeps, conflict }: { to: Side; keeps: boolean; conflict: boolean },
    seen: SeenPath,
  ): Promise<FileEnd> {
    const { attempt } = this;
    const { name } = seen;
    const from = OTHER[to];
    const look = seen[from];
    const over = seen[to];
    if (look.is !== "file" || over.is === "unknown") throw changed(name);
    const location = this.#pair.sides[from].location(name);
    const step = decodeStep(attempt.job.p ?? "");
    const checked = step.is === "decided" ? step.checked : undefined;
    const plan = { from, to, location, name, toName: name, look, over, keeps, checked };
    const done = await transfer(this.#work, plan);
    if (done.late !== undefined) await this.#rescue(done.late, over);
    const kept = done.backup !== "" && done.outcome === "copied";
    const action = to === "remote" ? "push" : "pull";
    return {
      outcome: done.outcome,
      ancestor: done.ancestor,
      verifiedBy: done.verifiedBy,
      verdict: "ok",
      ...(done.unconditional ? { unconditional: true } : {}),
      pair: {
        action,
        conflict,
        ...(kept ? { backup: done.backup } : {}),
        ...(this.#copies.length > 0 ? { copies: this.#copies } : {}),
      },
    };
  }

  /** What somebody wrote to a version while it was replaced becomes a conflict copy. */
  async #rescue(late: NonNullable<Transferred["late"]>, over: Look): Promise<void> {
    const mtimeMs = over.is === "file" ? over.mtimeMs : Date.now();
    const sha256 = await late.sha256();
    const name = this.attempt.job.d;
    for (let number = 1; number <= MOST_NAMES; number++) {
      const copy = conflictName(name, { side: "local", mtimeMs, sha256 }, number, this.#pair.spec.suffixed);
      if (!late.moveTo(copy)) continue;
      this.#copies.push(copy);
      return;
    }
    throw new TransferError("io", `no name is free for what was written to ${name} meanwhile`, {
      permanent: true,
    });
  }

  async #delete(
    { to, keeps, conflict }: { to: Side; keeps: boolean; conflict: boolean },
    seen: SeenPath,
  ): Promise<FileEnd> {
    const { name } = seen;
    if (seen[to].is !== "file") throw changed(name);
    // A listing may lie: the other side is asked once more.
    const other = await this.#pair.sides[OTHER[to]].look(name, this.attempt.lease.signal);
    if (other.is !== "absent") throw changed(name);
    return await this.#remove({ to, keeps, conflict }, seen);
  }

  async #remove(
    { to, keeps, conflict }: { to: Side; keeps: boolean; conflict: boolean },
    seen: SeenPath,
  ): Promise<FileEnd> {
    const { name } = seen;
    const look = seen[to];
    if (look.is !== "file") throw changed(name);
    failpoint("pair-delete");
    const backup = await removeFrom(this.#work, { to, name, look, keeps });
    return {
      outcome: "deleted",
      entry: NO_ENTRY,
      verdict: "ok",
      pair: {
        action: `delete-${to}`,
        conflict,
        ...(backup === "" ? {} : { backup }),
        ...(this.#copies.length > 0 ? { copies: this.#copies } : {}),
      },
    };
  }

  /** Gives the version of the side `to` a name of its own, on some sides. @returns false if they have that already. */
  async #setAside(to: Side, seen: SeenPath, on: Side[]): Promise<boolean> {
    const { attempt } = this;
    const { sides, spec } = this.#pair;
    const { name } = seen;
    const look = seen[to];
    if (look.is !== "file") throw changed(name);
    const { signal } = attempt.lease;
    const sha256 =
      (await sides[to].digest(name, look, "sha256", signal)) ?? (await sides[to].read(name, look, signal));
    const { ms: mtimeMs } = await sides[to].edited(name, look, undefined, signal);
    for (let number = 1; number <= MOST_NAMES; number++) {
      const copy = conflictName(name, { side: to, mtimeMs, sha256 }, number, spec.suffixed);
      // It may be the copy of this very version that is to be replaced.
      if (copy === name) continue;
      const made = await this.#copyAside({ copy, to, on, look, sha256 }, name);
      if (made === undefined) continue;
      this.#copies.push(copy);
      failpoint("set-aside");
      return made > 0;
    }
    throw new TransferError("io", `no name is free for the other version of ${name}`, { permanent: true });
  }

  /** @returns how many copies were made; undefined if the name has other bytes on a side. */
  async #copyAside(
    { copy, to, on, look, sha256 }: { copy: string; to: Side; on: Side[]; look: FileLook; sha256: string },
    name: string,
  ): Promise<number | undefined> {
    const { attempt } = this;
    const { sides } = this.#pair;
    const missing: Side[] = [];
    const stamps = { local: "", remote: "" };
    for (const side of on) {
      const there = await sides[side].look(copy, attempt.lease.signal);
      if (there.is === "absent") missing.push(side);
      else if (there.is !== "file" || !(await this.#hasBytes(side, copy, there, sha256))) return undefined;
      else stamps[side] = there.racy ? "" : there.stamp;
    }
    for (const side of missing) {
      const location = sides[to].location(name);
      const over = { is: "absent" } as const;
      const plan = { from: to, to: side, location, name, toName: copy, look, over, keeps: false };
      try {
        stamps[side] = (await transfer(this.#work, plan)).ancestor[side];
      } catch (error) {
        if (!(error instanceof TransferError) || error.class !== "changed") throw error;
        const there = await sides[side].look(copy, attempt.lease.signal);
        if (there.is === "absent") throw error; // it is the version that changed
        if (there.is !== "file" || !(await this.#hasBytes(side, copy, there, sha256))) return undefined;
      }
    }
    // Both sides have the copy: who deletes it on one of them has done with it.
    if (on.length === 2) {
      const { sizeBytes, mode } = look;
      const noted = { sha256, sizeBytes, ...(mode === undefined ? {} : { mode }), ...stamps };
      await this.#pair.store.setNewAncestor(copy, noted);
    }
    return missing.length;
  }

  async #hasBytes(side: Side, name: string, look: FileLook, sha256: string): Promise<boolean> {
    const { signal } = this.attempt.lease;
    const there = this.#pair.sides[side];
    return (
      ((await there.digest(name, look, "sha256", signal)) ?? (await there.read(name, look, signal))) ===
      sha256
    );
  }
}

/** A version of which only the stamp is known, as it was planned. */
function plannedLook(stamp: string): Look {
  if (stamp === "") return { is: "absent" };
  return { is: "file", stamp, sizeBytes: Number(stamp.slice(0, stamp.indexOf(":"))), mtimeMs: 0 };
}

function versionOf({ stamp, sizeBytes, mtimeMs }: FileLook): ConflictVersion {
  return { stamp, sizeBytes, mtimeMs };
}

function changed(name: string): TransferError {
  return new TransferError("changed", `${name} is not what it was decided by any more`, { verdict: "ok" });
}

import { putBackTaken } from "@drover/producer/move/local-removal";
import { planMove } from "@drover/producer/move/plan-move";
import { removeSources } from "@drover/producer/move/remove-sources";
import type { PlannedRun } from "@drover/producer/runs/plan/plan";
import type { Engine } from "@drover/shared/engine";
import { formatOf } from "../../display/format.js";
import { EXIT } from "../../exit.js";
import { progressLine, reportError, says, warn } from "../../output.js";
import { OptionError } from "../../settings/option-error.js";
import type { Resolved } from "../../settings/settings.js";
import { onStopSignal } from "../../signals.js";
import type { RunFlags } from "./run-options.js";
import { makeRun } from "./sync-action.js";

/** `drover mv SOURCE… DEST`: a run, and the removal of what it has copied. @returns the exit code. */
export async function move(
  sources: string[],
  flags: RunFlags,
  { values, ...resolved }: Resolved,
  destination: string,
): Promise<number> {
  if (flags.detach)
    throw new OptionError("mv needs the command to stay until everything has arrived: leave --detach out");
  // What is removed at the source must be safe at its destination, whatever other commands are to do.
  const durable: Resolved = { ...resolved, values: { ...values, durability: "fsync" } };
  const rootMayBeFile = !/\/\.{0,2}$|^\.{1,2}$/.test(destination);
  if (flags.dryRun) {
    const code = await makeRun(sources, flags, durable, { rootMayBeFile, check: planMove });
    if (formatOf(flags) === "human")
      progressLine("the sources of what would be copied or left would be removed");
    return code;
  }
  return await makeRun(sources, flags, durable, {
    rootMayBeFile,
    recover: putBackTaken,
    check: planMove,
    after: (engine, planned, code) => removeCopied(engine, planned, code, flags),
  });
}

/** @param code of the run. @returns that of the command. */
async function removeCopied(
  engine: Engine,
  planned: PlannedRun,
  code: number,
  flags: RunFlags,
): Promise<number> {
  if (code !== EXIT.ok && code !== EXIT.some && code !== EXIT.none) {
    warn("nothing was removed at the sources: the same drover mv again finishes");
    return code;
  }
  const stop = new AbortController();
  const unlisten = onStopSignal(() => stop.abort(), EXIT.interrupted);
  try {
    const { signal } = stop;
    const left = (source: string, why: string) => reportError(`not removed: ${source}: ${why}`);
    const moved = await removeSources(planned, { engine, signal, left });
    if (signal.aborted) throw signal.reason;
    const line = `${moved.removed} removed at the source${moved.left > 0 ? `, ${moved.left} left there` : ""}`;
    if (formatOf(flags) === "human" && says("normal")) process.stdout.write(`${line}\n`);
    else progressLine(line);
    if (moved.left === 0 && moved.complete) return code;
    return code === EXIT.none ? code : EXIT.some;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    warn("interrupted: not all sources were removed; the same drover mv again finishes");
    return EXIT.interrupted;
  } finally {
    unlisten();
  }
}

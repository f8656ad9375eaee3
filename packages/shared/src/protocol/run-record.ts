import { isProcessDead } from "../process-name.js";
import { type Run, runSpecSchema } from "../run.js";
import { RUN } from "./fields.js";
import { RUN_FORMAT } from "./format.js";

/**
 * Reads the hash of a run. A run that says it is running and that nobody works on is `interrupted`; one of a fleet is
 * not once all its files are registered, because then the workers need nobody.
 *
 * @returns undefined for a run that is not there, or that another version of Drover made.
 */
export function readRun(id: string, hash: Record<string, string>): Run | undefined {
  if (Number(hash[RUN.format] ?? 1) > RUN_FORMAT) return undefined;
  const spec = runSpecSchema.safeParse(JSON.parse(hash[RUN.spec] ?? "null"), { jitless: true });
  if (!spec.success) return undefined;
  const { fleet } = spec.data;
  const state = hash[RUN.state] as Run["state"];
  const owner = hash[RUN.owner] ?? "";
  const endedMs = hash[RUN.endedMs];
  const sealed = hash[RUN.sealed] === "1";
  const isSilent = fleet && Number(hash[RUN.ownerUntilMs] ?? 0) < Date.now();
  const isIdle = owner === "" || isProcessDead(owner) || isSilent;
  const isInterrupted = state === "running" && isIdle && !(fleet && sealed);
  return {
    id,
    state: isInterrupted ? "interrupted" : state,
    startedMs: Number(hash[RUN.startedMs]),
    endedMs: endedMs === undefined ? undefined : Number(endedMs),
    owner,
    spec: spec.data,
    batch: Number(hash[RUN.batch]),
    cursor: hash[RUN.cursor] ?? "",
    sealed,
    deletionRefused: hash[RUN.deletionRefused] ?? "",
    stoppedBecause: hash[RUN.stoppedBecause] ?? "",
    bytes: Number(hash[RUN.bytes] ?? 0),
    copiedBytes: Number(hash[RUN.copiedBytes] ?? 0),
    generation: Number(hash[RUN.generation] ?? 0),
  };
}

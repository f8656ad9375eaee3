import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { type RunCounts, successfulFiles } from "@drover/shared/outcome";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Backlog } from "@drover/shared/protocol/backlog";
import { SecretStore } from "@drover/shared/protocol/secret-store";
import type { Run } from "@drover/shared/run";
import type { FailureFilter } from "../../enqueue/failure-filter.js";
import { hasRetriable, requeueFailed } from "../../enqueue/requeue.js";
import { earlierSyntaxOf } from "./earlier-syntax.js";
import { FleetRun } from "./fleet-run.js";
import { openRun } from "./open-run.js";
import type { RunHandle } from "./run-handle.js";
import { checkRunList, openStoredList } from "./run-list.js";
import { lookForWorkers, type SubmitOptions } from "./submit.js";

export interface ResumeOptions extends Pick<SubmitOptions, "startPool" | "live" | "warn"> {
  /** Whether to retry failed files. Default false. */
  retry?: boolean;
  /** Which of the failed files are retried; needs `retry`. Default: all. */
  only?: FailureFilter | undefined;
}

/** `over`: nothing is left to do. */
export type Resumed = { is: "over"; run: Run; counts: RunCounts } | { is: "open"; handle: RunHandle };

/**
 * Resumes an interrupted run with its original settings, or retries its failed files.
 *
 * @throws SettingsError if there is no such run, another process works on it, it was cancelled, its list is
 *   gone, or nothing that failed is among `only`.
 */
export async function resumeRun(engine: Engine, id: string, options: ResumeOptions): Promise<Resumed> {
  const { ledger } = engine;
  const { retry = false, only, startPool, live = false, warn } = options;
  const run = await ledger.get(id);
  if (run.state === "cancelled" && !retry)
    throw new SettingsError(`run ${id} was cancelled: drover retry ${id} takes it up again`);
  if (run.spec.pair && !run.sealed)
    throw new SettingsError(`run ${id} syncs a pair: drover bisync plans anew what it left`);
  const counts = await ledger.counts(id);
  const clean = successfulFiles(counts) === counts.files && run.deletionRefused === "";
  if (run.state === "done" && (!retry || clean)) return { is: "over", run, counts };
  if (retry && only && !(await hasRetriable(run, engine, only)))
    throw new SettingsError(`nothing that failed in run ${id} and can be retried is meant by this`);
  checkRunList(run); // before anything is changed
  for (const note of earlierSyntaxOf(run)) warn(note);
  const stored = new SecretStore(engine.redis, engine.keys);
  const list = run.spec.listIsStored && !run.sealed ? await stored.list(id) : undefined;
  const secrets = { ...(await stored.get(id)), list };
  await ledger.take(run, retry);
  if (run.deletionRefused !== "") await ledger.reopenDeletion(id);
  const taken = await ledger.get(id);
  if (run.spec.fleet) {
    await lookForWorkers(engine, run.spec, warn);
    if (retry) await requeueFailed(taken, engine, new Backlog(engine.redis, engine.keys, PROCESS_NAME), only);
  }
  const stdin = list === undefined ? undefined : openStoredList(taken, list);
  return { is: "open", handle: openRun(engine, taken, { secrets, stdin, startPool, retry, only, live }) };
}

/**
 * Makes the handle of a fleet's run, to follow a run that another process submitted.
 *
 * @throws SettingsError if there is no such run, or the process that submitted it carries it.
 */
export async function followRun(engine: Engine, id: string): Promise<RunHandle> {
  const run = await engine.ledger.get(id);
  if (!run.spec.fleet)
    throw new SettingsError(`run ${id} is no fleet's: the command that began it carries it`);
  return new FleetRun(engine, run, {});
}

import { pipelined } from "../redis/script.js";
import { type RunBudget, saySpent, spentBudget } from "../run-budget.js";
import { RUN } from "./fields.js";
import type { RunStore } from "./run-retention.js";

/**
 * Cancels a run that goes on although its deadline has passed, so many of its files failed as it says, or one of its
 * budgets is used up.
 *
 * @returns why it was cancelled, one line for people; undefined where it was not.
 */
export async function stopIfDue({ redis, keys, ledger }: RunStore, id: string): Promise<string | undefined> {
  const [fields, unsuccessful] = await pipelined(redis, () =>
    redis
      .pipeline()
      .hmget(
        keys.run(id),
        RUN.state,
        RUN.deadlineMs,
        RUN.stopAfterFailures,
        RUN.sealed,
        RUN.copiedBytes,
        RUN.budgets,
      )
      .hlen(keys.failed(id)),
  );
  const [state, deadlineMs, most, sealed, copiedBytes, budgetsJson] = fields as (string | null)[];
  if (state !== "running") return undefined;
  const isLate = deadlineMs != null && Number(deadlineMs) <= Date.now();
  // What did not succeed is counted at once; which of that failed takes longer.
  const mayHaveFailed = most != null && (unsuccessful as number) >= Number(most);
  const bytes = Number(copiedBytes ?? 0);
  const budgets = budgetsJson == null ? [] : (JSON.parse(budgetsJson) as RunBudget[]);
  const mayBeSpent = budgets.some(({ perFile, perByte, most }) => perFile > 0 || bytes * perByte >= most);
  if (!isLate && !mayHaveFailed && !mayBeSpent) return undefined;
  const { copied, failed, blocked, settled, files } = await ledger.counts(id);
  if (sealed === "1" && settled >= files) return undefined; // it ends by itself
  const why = () => {
    if (isLate) return `its deadline ${new Date(Number(deadlineMs)).toISOString()} has passed`;
    const failures = failed + blocked;
    if (most != null && failures >= Number(most))
      return `${failures} ${failures === 1 ? "file" : "files"} failed, and it was to stop after ${most}`;
    const carried = { files: copied + failed, bytes };
    const spent = spentBudget(budgets, carried);
    return spent && saySpent(spent, carried);
  };
  const reason = why();
  return reason !== undefined && (await ledger.stop(id, reason)) ? reason : undefined;
}

import { pipelined } from "../redis/script.js";
import { RUN } from "./fields.js";
import type { RunStore } from "./run-retention.js";

/**
 * Cancels a run that goes on although its deadline has passed, or although so many of its files failed as it says.
 *
 * @returns why it was cancelled, one line for people; undefined where it was not.
 */
export async function stopIfDue({ redis, keys, ledger }: RunStore, id: string): Promise<string | undefined> {
  const [fields, unsuccessful] = await pipelined(redis, () =>
    redis
      .pipeline()
      .hmget(keys.run(id), RUN.state, RUN.deadlineMs, RUN.stopAfterFailures, RUN.sealed)
      .hlen(keys.failed(id)),
  );
  const [state, deadlineMs, most, sealed] = fields as (string | null)[];
  if (state !== "running") return undefined;
  const isLate = deadlineMs != null && Number(deadlineMs) <= Date.now();
  // What did not succeed is counted at once; which of that failed takes longer.
  const mayHaveFailed = most != null && (unsuccessful as number) >= Number(most);
  if (!isLate && !mayHaveFailed) return undefined;
  const { failed, blocked, settled, files } = await ledger.counts(id);
  if (sealed === "1" && settled >= files) return undefined; // it ends by itself
  const failures = failed + blocked;
  const why = isLate
    ? `its deadline ${new Date(Number(deadlineMs)).toISOString()} has passed`
    : `${failures} ${failures === 1 ? "file" : "files"} failed, and it was to stop after ${most}`;
  if (!isLate && failures < Number(most)) return undefined;
  return (await ledger.stop(id, why)) ? why : undefined;
}

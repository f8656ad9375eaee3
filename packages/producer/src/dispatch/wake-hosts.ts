import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import { transferJobSchema } from "@drover/shared/job";
import { isNotDelayed } from "@drover/shared/redis/errors";
import type { RunSpec } from "@drover/shared/run";
import { hostOf } from "@drover/shared/storage/registry";
import { type Job, Queue } from "bullmq";

/** Jobs that are read in one call. */
const PAGE = 500;

/**
 * Has files of hosts that wait in the fleet's queue for a breaker tried at once. Those that only wait for their next try
 * are tried early too.
 *
 * @returns how many.
 */
export async function wakeHosts({ redis, keys, ledger }: Engine, hosts: string[]): Promise<number> {
  const queue = new Queue(keys.fleetQueue(), { connection: redis, prefix: keys.queuePrefix() });
  queue.on("error", () => {}); // the caller's commands say that Redis is away
  const specs = new Map<string, RunSpec | undefined>();
  const specOf = async (id: string) => {
    if (!specs.has(id)) specs.set(id, await ledger.get(id).then(({ spec }) => spec, unknownRun));
    return specs.get(id);
  };
  let woken = 0;
  try {
    for (let from = 0; ; ) {
      const page = await queue.getJobs(["delayed"], from, from + PAGE - 1, true);
      let left = 0;
      for (const queued of page) {
        const job = transferJobSchema.safeParse(queued?.data);
        const spec = job.success ? await specOf(job.data.r ?? "") : undefined;
        const isMeant = job.success && spec !== undefined && hosts.includes(hostOf(job.data.s, spec));
        if (isMeant && (await promoted(queued))) woken++;
        else left++;
      }
      if (page.length < PAGE) return woken;
      from += left;
    }
  } finally {
    await queue.close();
  }
}

function unknownRun(error: unknown): undefined {
  if (!(error instanceof SettingsError)) throw error;
}

/** @returns false where a worker was quicker. */
async function promoted(queued: Job): Promise<boolean> {
  try {
    await queued.promote();
    return true;
  } catch (error) {
    if (!isNotDelayed(error)) throw error;
    return false;
  }
}

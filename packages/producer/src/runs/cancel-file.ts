import type { Engine } from "@drover/shared/engine";
import { PROCESS_NAME } from "@drover/shared/process-name";
import { Backlog } from "@drover/shared/protocol/backlog";
import { askToCancel, type FileCancellation } from "@drover/shared/protocol/file-cancellations";
import type { Run } from "@drover/shared/run";
import { below, destinationOf } from "@drover/shared/storage/registry";

/**
 * Asks a fleet to cancel one file of its run, which ends `cancelled` soon after. One that other runs wait for is still
 * carried.
 *
 * @param file its source, its destination, or the destination's name below the run's root.
 * @returns how many files that means which have not ended: several may have the same source. 0 where nothing is done.
 */
export async function cancelFile({ redis, keys }: Engine, run: Run, file: string): Promise<number> {
  const { id, spec } = run;
  const names = destinationOf(spec.root).namesOf(spec.root, spec);
  const found: FileCancellation[] = [];
  for await (const chunks of new Backlog(redis, keys, PROCESS_NAME).openChunks(id)) {
    for (const [chunk, files] of chunks)
      for (const [index, job] of files) {
        const { s: source, d: name } = job as { s: string; d: string };
        if (source !== file && name !== file && below(spec.root, name) !== file) continue;
        if ((await redis.getbit(keys.done(id), index)) === 1) continue;
        if (found.some((each) => each.index === index)) continue; // its chunk moved while the others were read
        found.push({ run: id, index, chunk, lease: names.leaseOf(name) });
      }
  }
  await askToCancel(redis, keys, found);
  return found.length;
}

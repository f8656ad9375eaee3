import { type FileFacts, whyLeft } from "@drover/shared/leave";
import { knownDigests, type Source, type SourceEntry } from "@drover/shared/storage/source";
import type { Attempt } from "../attempt/attempt.js";

/**
 * Whether the terms of a run leave a file as it is. If they do not because nothing is there, the write is bound to that; else
 * the attempt tells whether a version that comes in its way is left.
 *
 * @param entry of the source. Default: it is looked at, if that matters and can be done.
 */
export async function isLeft(attempt: Attempt, source: Source, entry?: SourceEntry): Promise<boolean> {
  const { context, terms, lease } = attempt;
  const { leave } = terms;
  if (!leave) return false;
  const facts = async () => {
    const looked = entry ?? (await source.look?.(lease.signal));
    return looked && factsOf(source, looked);
  };
  const isLeftAs = async (there: FileFacts | undefined) => (await whyLeft(leave, there, facts)) !== undefined;
  const there = await context.destination.look(attempt);
  if (await isLeftAs(there)) return true;
  const isSpared = leave.newer || leave.existing;
  attempt.must = isSpared && !there ? { is: "absent" } : undefined;
  attempt.spares = isSpared ? isLeftAs : undefined;
  return false;
}

/** What is known of a source. Of encoded bytes neither size nor digest are those of the file. */
function factsOf(source: Source, { sizeBytes, mtimeMs, digest, encoding }: SourceEntry): FileFacts {
  if (encoding !== "") return { sizeBytes: undefined, mtimeMs, ...knownDigests([]) };
  const told = knownDigests(digest ? [digest] : []);
  const read = source.digest?.bind(source);
  return { sizeBytes, mtimeMs, ...(read ? { algorithms: ["sha256", "md5"] as const, digest: read } : told) };
}

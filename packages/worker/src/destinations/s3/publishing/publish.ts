import { TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { objectFacts } from "@drover/shared/storage/s3/object/facts";
import type { SourceEntry } from "@drover/shared/storage/source";
import type { Published, Received } from "../../destination.js";
import type { Base } from "../conditions.js";
import type { DestinationObject } from "../object.js";
import { uploadDropped } from "../upload.js";
import { type Publication, replacedMeanwhile } from "./publication.js";

/** If others replace the object again and again, this try gives up after so many looks. */
const MOST_LOOKS = 3;

/**
 * Publishes under the condition that the destination is still the version that the file was compared with. If it is
 * not, the destination is looked at again, and left alone if it has the same bytes. If the service supports no
 * conditions, the destination is looked at right before the request, and the result says so.
 *
 * @throws TransferError class `changed` if another writer interferes, `locked` if the lease is lost.
 */
export async function publish(
  object: DestinationObject,
  publication: Publication,
  received: Received,
  entry: SourceEntry,
): Promise<Published> {
  const { target, lease } = object;
  const { publishing } = publication;
  object.base ??= { is: "absent" };
  const conditional = (await target.conditions.headers(publishing, object.base)) !== undefined;
  const unconditional = conditional ? {} : ({ unconditional: true } as const);
  let kept = "";
  let unkept: TransferError | undefined;
  for (let look = 0; look < MOST_LOOKS; look++) {
    if (!conditional || look > 0) {
      const before: Base = object.base;
      const head = await object.look();
      const by = head && publication.sameBy(head, received, entry);
      if (head && by) return { outcome: "unchanged", stamp: head.etag, verifiedBy: by };
      const replacesOnly = publication.replacesOnlyCompared || object.attempt.must !== undefined;
      if (replacesOnly && etagOf(before) !== (head?.etag ?? "")) throw replacedMeanwhile();
      if (head && (await object.attempt.spares?.(objectFacts(head)))) throw replacedMeanwhile();
      // The object may be our successor's. The clocks alone do not tell, so Redis is asked.
      await target.leases.confirm(lease);
    }
    const former = etagOf(object.base);
    if (object.keepFormer && former !== kept) {
      unkept = await keepFormer(object.keepFormer, former);
      if (unkept) continue;
      kept = former;
      if (!conditional && !(await isStill(object, former))) continue;
    }
    failpoint("commit");
    lease.check();
    const condition = await target.conditions.headers(publishing, object.base);
    const written = await publication.write(condition ?? {}, received, entry);
    if (written.is === "refused") continue;
    if (written.is === "gone") {
      // Either it worked and the answer was lost, or somebody else dropped the upload.
      const head = await object.look();
      if (!head || !publication.isResult(head, received, entry)) throw uploadDropped();
      return { outcome: "copied", stamp: head.etag, ...unconditional };
    }
    const verified = publication.isProvedBy(written) ? ({ verifiedBy: "etag" } as const) : {};
    return { outcome: "copied", stamp: written.etag, ...verified, ...unconditional };
  }
  throw unkept?.class === "not-found" ? unkept : replacedMeanwhile();
}

/** @returns the error if the version is not there any more, or the place that is to keep it. */
async function keepFormer(
  keep: (etag: string) => Promise<void>,
  etag: string,
): Promise<TransferError | undefined> {
  try {
    await keep(etag);
    return undefined;
  } catch (error) {
    if (error instanceof TransferError && /^(not-found|changed)$/.test(error.class)) return error;
    throw error;
  }
}

/** Looks again at an object, since keeping it took time. @throws TransferError class `locked` if the lease is lost. */
async function isStill(object: DestinationObject, etag: string): Promise<boolean> {
  const { base } = object;
  const head = await object.look();
  object.base = base; // it is what the file was compared with
  await object.target.leases.confirm(object.lease);
  return head?.etag === etag;
}

function etagOf(base: Base): string {
  return base.is === "version" ? base.etag : "";
}

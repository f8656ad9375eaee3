import type { RequestEstimate, WrittenFile } from "../requests.js";
import { LEAST_PART_BYTES, MOST_COPY_BYTES } from "./object/limits.js";

/** Parts of an upload are this fraction of the object, where that is more than their least size. */
const MOST_PARTS = 10_000;
/** Size of a part that the service copies. */
const COPIED_PART_BYTES = 512 << 20;

/** Requests as S3Staging makes them. */
export const S3_REQUESTS: RequestEstimate = {
  filesPerList: 1_000,
  read: { get: 1 },
  write({ sizeBytes = 0, isThere }: WrittenFile) {
    if (sizeBytes <= LEAST_PART_BYTES) return { put: 1, ...(isThere ? { head: 1 } : {}) };
    const partBytes = Math.max(LEAST_PART_BYTES, sizeBytes / MOST_PARTS);
    return { head: 1, post: 2, put: Math.ceil(sizeBytes / partBytes) };
  },
  copy({ sizeBytes = 0 }: WrittenFile) {
    // One look at the source, and one at what is there.
    if (sizeBytes <= MOST_COPY_BYTES) return { head: 2, copy: 1 };
    return { head: 2, post: 2, copy: Math.ceil(sizeBytes / COPIED_PART_BYTES) };
  },
};

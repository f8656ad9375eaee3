import type { RequestEstimate, WrittenFile } from "../requests.js";

/** A larger file is staged, and moved to its name: see RemoteStaging. In bytes. */
const DIRECT_BYTES = 512 << 10;

/** Requests of a server that files are written to. The MOVE of a staged file counts as a POST. */
export const REMOTE_REQUESTS: RequestEstimate = {
  filesPerList: 1_000,
  read: {},
  write({ sizeBytes = 0 }: WrittenFile) {
    return sizeBytes <= DIRECT_BYTES ? { put: 1 } : { head: 1, put: 1, post: 1 };
  },
};

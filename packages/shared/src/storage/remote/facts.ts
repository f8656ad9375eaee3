import type { FileFacts } from "../../leave.js";
import type { RemoteHead } from "./server.js";

/** What is known of a file at a server. Its time is not: not every server keeps that of the file's source. */
export function remoteFacts({ sizeBytes, sha256 }: RemoteHead): FileFacts {
  return {
    ...{ sizeBytes, mtimeMs: undefined },
    ...{ algorithms: sha256 === undefined ? [] : ["sha256"], digest: async () => sha256 ?? "" },
  };
}

import type { BigIntStats } from "node:fs";
import type { FileFacts } from "../../leave.js";
import { digestOfFile } from "./digest-of-file.js";

/**
 * What is known of what has the name of a local file. A link counts as a file of which nothing is known.
 *
 * @param stat of the path, links not followed.
 * @returns undefined for a directory, device, pipe or socket.
 */
export function localFacts(stat: BigIntStats, path: string): FileFacts | undefined {
  const digest: FileFacts["digest"] = (algorithm) => digestOfFile(path, algorithm);
  if (stat.isSymbolicLink()) return { sizeBytes: undefined, mtimeMs: undefined, algorithms: [], digest };
  if (!stat.isFile()) return undefined;
  const { size, mtimeNs } = stat;
  return {
    ...{ sizeBytes: Number(size), mtimeMs: Number(mtimeNs) / 1e6 },
    ...{ algorithms: ["sha256", "md5"], digest },
  };
}

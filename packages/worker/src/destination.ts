import { type CatalogEntry, decodeCatalog, statStamp } from "@drover/shared/catalog";
import type { TransferJob } from "@drover/shared/job";
import type { Admitted } from "@drover/shared/protocol";
import { sha256OfFile } from "./hash-file.js";
import type { Place } from "./place.js";
import type { WorkFile } from "./work-file.js";

/** What is at the destination. */
export interface Before {
  /** The copy that is there, where the catalog or its own bytes vouch for it. */
  entry: CatalogEntry | undefined;
  /** Its version at the source, where that may be asked about; else "". */
  known: string;
  /** It is the very file that the person's checksum names. */
  expected: boolean;
}

/** Looks at the destination before anything is asked of the source. */
export async function destinationBefore(
  job: TransferJob,
  file: WorkFile,
  admitted: Admitted,
  place: Place,
): Promise<Before> {
  const nothing: Before = { entry: undefined, known: "", expected: false };
  const entry = decodeCatalog(admitted.catalog);
  if (!entry && job.x === undefined) return nothing;
  const stat = place.tree.stat(file.path);
  if (!stat?.isFile()) return nothing;
  if (entry && entry.stamp === statStamp(stat)) {
    const sameSource = entry.source === file.sourceHash;
    if (job.x === undefined) return { entry, known: sameSource ? entry.version : "", expected: false };
    const version = sameSource ? entry.version : "";
    return { entry: { ...entry, version }, known: "", expected: entry.sha256 === job.x };
  }
  if (job.x === undefined) return nothing;
  const sha256 = await sha256OfFile(file.path);
  if (sha256 !== job.x) return nothing;
  const found = { source: "", version: "", sha256, stamp: statStamp(stat), sizeBytes: Number(stat.size) };
  return { entry: found, known: "", expected: true };
}

/** The destination's stamp when it has these very bytes already: then it is left alone, its mtime too. */
export async function sameAsDestination(
  file: WorkFile,
  sizeBytes: number,
  sha256: string,
  place: Place,
): Promise<string | undefined> {
  const stat = place.tree.stat(file.path);
  if (!stat?.isFile() || Number(stat.size) !== sizeBytes) return undefined;
  return (await sha256OfFile(file.path)) === sha256 ? statStamp(stat) : undefined;
}

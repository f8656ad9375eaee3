import { z } from "zod";

/** Which files a run leaves as they are although they may be others, and by what a file counts as the same. */
export const leaveSchema = z.object({
  /** Files that are newer at the destination than at their source. */
  newer: z.literal(true).optional(),
  /** Files that the destination has. */
  existing: z.literal(true).optional(),
  /** Files that the destination does not have. */
  missing: z.literal(true).optional(),
  /** By what a file counts as the same. Default: by its version in the catalog, else by its bytes. */
  same: z.enum(["size", "checksum"]).optional(),
});
export type Leave = z.infer<typeof leaveSchema>;

/** By which two sides are compared, the best first. */
const ALGORITHMS = ["sha256", "md5"] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

/** What is known of a file, at its source or at its destination. */
export interface FileFacts {
  /** Undefined if it is not known. */
  sizeBytes: number | undefined;
  /** Modification time (Unix ms); undefined if it is not known. */
  mtimeMs: number | undefined;
  /** Of which digests can be had without a transfer. */
  algorithms: readonly Algorithm[];
  /**
   * A digest of its bytes, hexadecimal.
   *
   * @param algorithm one of {@link algorithms}.
   * @throws TransferError
   */
  digest(algorithm: Algorithm): Promise<string>;
}

/** Times of two files that differ by less than this, in milliseconds, are equal: copies are no more exact. */
export const SAME_TIME_MS = 1;

/**
 * Why a file is to be left as it is, for people; undefined if it is to be carried. Worker and dry run both decide by this.
 *
 * @param there what is at the destination; undefined for nothing.
 * @param source asked only where it matters; undefined if it tells nothing.
 * @throws TransferError
 */
export async function whyLeft(
  leave: Leave,
  there: FileFacts | undefined,
  source: () => Promise<FileFacts | undefined>,
): Promise<string | undefined> {
  if (!there) return leave.missing ? "it is not there, and only what is there is replaced" : undefined;
  if (leave.existing) return "it is there, and what is there is left";
  if (!leave.newer && leave.same === undefined) return undefined;
  const file = await source();
  if (!file) return undefined;
  if (leave.newer && there.mtimeMs !== undefined && file.mtimeMs !== undefined)
    if (there.mtimeMs - file.mtimeMs >= SAME_TIME_MS) return "it is there, and newer";
  if (leave.same === undefined) return undefined;
  if (file.sizeBytes === undefined || file.sizeBytes !== there.sizeBytes) return undefined;
  if (leave.same === "size") return "it is there, with the same size";
  const common = ALGORITHMS.find((each) => there.algorithms.includes(each) && file.algorithms.includes(each));
  if (common === undefined) return undefined; // the transfer compares the bytes
  const isSame = (await there.digest(common)) === (await file.digest(common));
  return isSame ? "it is there, with the same checksum" : undefined;
}

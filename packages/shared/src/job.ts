import { z } from "zod";
import { accessSchema } from "./permissions.js";

/**
 * One operation on one file: the data of a BullMQ job. Field names are short, because Redis encodes only
 * small values compactly. It contains no secrets: those of a source are in the run's expiring key.
 */
export const transferJobSchema = z.object({
  /** Index of the file in its run's ledger. */
  i: z.number().int().nonnegative(),
  /** Generation: 0, plus one for each `drover retry`. */
  g: z.number().int().nonnegative().optional(),
  /** Operation; absent for `copy`. */
  op: z.enum(["remove", "pair"]).optional(),
  /** Version of the destination to remove; any other version is left alone. */
  v: z.string().optional(),
  /**
   * Source: a URL without its secrets, `s3://bucket/key`, or an absolute path. For a removal, the file's
   * name.
   */
  s: z.string().min(1),
  /** Destination, relative to the run's root, with `/`. */
  d: z.string().min(1),
  /** Expected SHA-256, 64 hexadecimal digits in lower case. */
  x: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  /** Permission bits that the copy is to have. Default: those of the source, where it has any. */
  m: z.number().int().min(0).max(0o777).optional(),
  /** For `pair`: what was planned, see pair/step.ts. */
  p: z.string().optional(),
  /** Owner and grants that the copy is to have. Default: those of the source, where the run asks for them. */
  a: accessSchema.optional(),
  /**
   * Where the file was before a rename: its source then, and its name at the destination. It is moved there if it is
   * still that file, else copied.
   */
  f: z.object({ s: z.string().min(1), d: z.string().min(1) }).optional(),
  /** Run id, in a fleet's queue. */
  r: z.string().optional(),
  /** 1 if its flight belongs to its run alone, although other runs may want the same file. */
  o: z.literal(1).optional(),
  /** 1 if the source including its secrets is in the run's secret key. */
  k: z.literal(1).optional(),
});

export type TransferJob = z.infer<typeof transferJobSchema>;

/** A file as the producer registers it, before it has an index. */
export type NewJob = Omit<TransferJob, "i" | "g" | "r" | "o">;

/** The BullMQ id of a file's job. */
export function jobId(runId: string, index: number, generation = 0): string {
  return generation === 0 ? `${runId}-${index}` : `${runId}-${index}-${generation}`;
}

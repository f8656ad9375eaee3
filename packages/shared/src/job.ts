import { z } from "zod";

/**
 * One operation on one file: the data of a BullMQ job. Names are short because Redis keeps a compact encoding only
 * for small values. No secret is ever in here: what is secret of a source lives in the run's expiring key.
 */
export const transferJobSchema = z.object({
  /** Index of the file in its run's ledger. */
  i: z.number().int().nonnegative(),
  /** Generation: 0, then one more for each `drover retry`. */
  g: z.number().int().nonnegative().optional(),
  /** What is to be done; `copy` where nothing is said. */
  op: z.literal("remove").optional(),
  /** Version of the destination that is to be removed: another one is left alone. */
  v: z.string().optional(),
  /** Source: a URL without its secrets, `s3://bucket/key`, or an absolute path. Of a removal, its name. */
  s: z.string().min(1),
  /** Destination, relative to the run's root, with `/`. */
  d: z.string().min(1),
  /** Expected SHA-256, 64 hexadecimal digits in lower case. */
  x: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  /** Its run, where the queue is a fleet's. */
  r: z.string().optional(),
  /** 1 when its flight is its run's own, although others may want the same file. */
  o: z.literal(1).optional(),
  /** 1 when the full source, with its secrets, is in the run's secret key. */
  k: z.literal(1).optional(),
});

export type TransferJob = z.infer<typeof transferJobSchema>;

/** A file as the producer sees it, before it has an index. */
export type NewJob = Omit<TransferJob, "i" | "g" | "r" | "o">;

/** The BullMQ id of a file's job. */
export function jobId(runId: string, index: number, generation = 0): string {
  return generation === 0 ? `${runId}-${index}` : `${runId}-${index}-${generation}`;
}

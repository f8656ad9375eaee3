import { z } from "zod";

/**
 * Id of an entry in a stream of Redis: when it was made (ms), and a number. No larger ones than a clock gives are taken,
 * since Redis refuses those that do not fit, and what comes before the first.
 */
export const ENTRY_ID = /^[1-9]\d{0,14}-\d{1,15}$/;

/** An entry's id as the cursor of a listing. */
export const entryCursor = z
  .string()
  .regex(ENTRY_ID)
  .optional()
  .meta({ description: "`next` of the page before.", example: "1795959201232-0" });

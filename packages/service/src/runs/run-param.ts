import type { Engine } from "@drover/shared/engine";
import { SettingsError } from "@drover/shared/errors";
import type { Run } from "@drover/shared/run";
import { z } from "zod";
import { Problem } from "../http/problem.js";

/** What these routes are listed under. */
export const TAG = "Runs";

/** The run of a path. */
export const runParam = z.object({
  run: z
    .string()
    .min(1)
    .max(200)
    .meta({ description: "Id of the run, as much of its beginning as is unique, or `latest`." }),
});
/** Most elements of a page. */
export const limitOf = (most: number, usual: number) =>
  z.coerce
    .number()
    .int()
    .min(1)
    .max(most)
    .default(usual)
    .meta({ description: `At most ${most}.` });
/** The run that a path means. @throws Problem 404. */
export async function runOf({ ledger }: Engine, given: string): Promise<Run> {
  try {
    return await ledger.get(await ledger.find(given));
  } catch (error) {
    if (error instanceof SettingsError) throw new Problem(404, error.message);
    throw error;
  }
}

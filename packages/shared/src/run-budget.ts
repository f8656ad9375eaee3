import { z } from "zod";

/** What a run may use up before the rest of it is cancelled: bytes, or money by the prices of its submission. */
export const runBudgetSchema = z.object({
  what: z.enum(["bytes", "cost"]),
  /** Once so much is used up, the run is cancelled: bytes, or units of the currency. */
  most: z.number(),
  /** What each file uses up that arrived or failed. */
  perFile: z.number(),
  /** What each byte uses up that was copied. */
  perByte: z.number(),
  /** Of the costs, such as `EUR`. Absent for bytes. */
  currency: z.string().optional(),
});
export type RunBudget = z.infer<typeof runBudgetSchema>;

/** What a run has carried. */
export interface Carried {
  /** Files that arrived or failed; those that were left unchanged are none. */
  files: number;
  bytes: number;
}

/** How much of a budget is used up, in its unit. */
export function usedOf({ perFile, perByte }: RunBudget, { files, bytes }: Carried): number {
  return files * perFile + bytes * perByte;
}

/** The first budget that is used up; undefined where none is. */
export function spentBudget(
  budgets: readonly RunBudget[] | undefined,
  carried: Carried,
): RunBudget | undefined {
  return budgets?.find((budget) => usedOf(budget, carried) >= budget.most);
}

/** Says why a run stops whose budget is used up, one line for people. */
export function saySpent(budget: RunBudget, carried: Carried): string {
  if (budget.what === "bytes")
    return `${showBytes(carried.bytes)} were copied, and it was to stop at ${showBytes(budget.most)}`;
  const currency = budget.currency ?? "";
  return `it has cost about ${showCost(usedOf(budget, carried), currency)}, and it was to stop at ${showCost(budget.most, currency)}`;
}

/** Bytes for people, to the last one: a limit may be missed by one. */
export function showBytes(bytes: number): string {
  return `${Math.round(bytes).toLocaleString("en")} ${bytes === 1 ? "byte" : "bytes"}`;
}

/** An amount of money for people: two decimals, and at least two digits that are not zeros. */
export function showCost(amount: number, currency: string): string {
  const digits = amount > 0 && amount < 1 ? Math.min(1 - Math.floor(Math.log10(amount)), 12) : 2;
  const shown = amount.toFixed(Math.max(digits, 2));
  return `${digits > 2 ? shown.replace(/0+$/, "") : shown} ${currency}`.trim();
}

import { readFileSync } from "node:fs";
import { errnoCode, SettingsError } from "@drover/shared/errors";
import type { z } from "zod";
import { readYaml } from "../strict-yaml.js";
import { type PriceTable, priceTableSchema } from "./price-table.js";

/**
 * Reads a price table.
 *
 * @param path of a YAML file, see docs/plan.md.
 * @throws SettingsError for a file that cannot be read or is no such table, with line and column.
 */
export function readPriceTable(path: string): PriceTable {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new SettingsError(`cannot read the prices in ${path} (${errnoCode(error)})`);
  }
  const refuse = (why: string, place?: { line?: number; column?: number }) =>
    new SettingsError(`${path}${place?.line === undefined ? "" : `:${place.line}:${place.column}`}: ${why}`);
  const read = readYaml(bytes);
  if ("issues" in read) throw refuse(read.issues[0]?.why ?? "it is no YAML", read.issues[0]);
  const parsed = priceTableSchema.safeParse(read.value, { jitless: true });
  if (!parsed.success) {
    const [issue] = parsed.error.issues as [z.core.$ZodIssue];
    // A key that is unknown is what is wrong, not the value that has it.
    const path = issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0] as string] : issue.path;
    const named = path.length === 0 ? "" : `${path.join(".")}: `;
    const why = issue.code === "unrecognized_keys" ? "no such key" : issue.message;
    throw refuse(`${named}${why}`, read.placeOf(pointerOf(path)));
  }
  const { prices } = parsed.data;
  const all = prices.findIndex(({ host }) => host === "*");
  if (all >= 0 && all < prices.length - 1)
    throw refuse(
      `prices.${all}: * takes all that is left, so it must be the last entry`,
      read.placeOf(`/prices/${all}`),
    );
  return parsed.data;
}

function pointerOf(path: PropertyKey[]): string {
  return path.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

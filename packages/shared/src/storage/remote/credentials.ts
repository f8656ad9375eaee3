import { readFileSync } from "node:fs";
import { errnoCode, TransferError } from "../../errors.js";

/**
 * A secret of the environment: the variable itself, or the file that `NAME_FILE` names, without the line's end.
 *
 * @throws TransferError class `credentials` if the file cannot be read.
 */
export function secretOf(name: string): string | undefined {
  const given = process.env[name];
  if (given) return given;
  const file = process.env[`${name}_FILE`];
  if (!file) return undefined;
  try {
    return readFileSync(file, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new TransferError("credentials", `cannot read ${name}_FILE (${errnoCode(error) ?? "unreadable"})`, {
      permanent: true,
    });
  }
}

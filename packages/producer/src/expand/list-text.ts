import type { Asked } from "./list-line.js";

/**
 * A list of sources as CSV, which gives each its name at the destination.
 *
 * @param files locations as `parseLocation` reads them, names below the root, and what is asked of the copies.
 */
export function listTextOf(
  files: readonly { source: string; destination: string; asks?: Asked | undefined }[],
): string {
  const rows = files.map(({ source, destination, asks = {} }) => {
    const { permissions: { mode, ...access } = {}, from } = asks;
    const fields = [
      ...[source, destination, mode === undefined ? "" : mode.toString(8).padStart(3, "0")],
      Object.keys(access).length === 0 ? "" : JSON.stringify(access),
      ...[from?.source ?? "", from?.destination ?? ""],
    ];
    return `${fields.map(quoted).join(",")}\n`;
  });
  return `source,destination,mode,access,from_source,from_destination\n${rows.join("")}`;
}

function quoted(field: string): string {
  return field === "" ? "" : `"${field.replaceAll('"', '""')}"`;
}

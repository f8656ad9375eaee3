/**
 * A list of sources as CSV, which gives each its name at the destination.
 *
 * @param files locations as `parseLocation` reads them, names below the root, and permission bits.
 */
export function listTextOf(
  files: readonly { source: string; destination: string; mode?: number | undefined }[],
): string {
  const rows = files.map(
    ({ source, destination, mode }) =>
      `${quoted(source)},${quoted(destination)},${mode === undefined ? "" : mode.toString(8).padStart(3, "0")}\n`,
  );
  return `source,destination,mode\n${rows.join("")}`;
}

function quoted(field: string): string {
  return `"${field.replaceAll('"', '""')}"`;
}

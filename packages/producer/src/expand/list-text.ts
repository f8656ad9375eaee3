/**
 * A list of sources as CSV, which gives each its name at the destination.
 *
 * @param files locations as `parseLocation` reads them, and names below the root.
 */
export function listTextOf(files: readonly { source: string; destination: string }[]): string {
  const rows = files.map(({ source, destination }) => `${quoted(source)},${quoted(destination)}\n`);
  return `source,destination\n${rows.join("")}`;
}

function quoted(field: string): string {
  return `"${field.replaceAll('"', '""')}"`;
}

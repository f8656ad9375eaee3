/** Identifies the content of a list well enough to go on in its middle. */
export function stampOf(stat: { size: number; mtimeMs: number }): string {
  return `${stat.size}:${stat.mtimeMs}`;
}

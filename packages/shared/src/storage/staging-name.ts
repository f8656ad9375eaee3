/** Fences with the same last characters are this many microseconds apart: 32 days. */
const FENCE_ROUND = 36 ** 8;

/**
 * Name of the staging file of a destination under a fence. Different fences write different files.
 *
 * @param lease hash of the destination.
 */
export function stagingName(lease: string, fence: string): string {
  return `.drover-${lease.slice(0, 8)}${(Number(fence) % FENCE_ROUND).toString(36).padStart(8, "0")}`;
}

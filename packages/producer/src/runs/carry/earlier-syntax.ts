import type { Run } from "@drover/shared/run";

/**
 * What somebody who goes on with a run must know of its syntax: a run keeps the meaning that its patterns and its list
 * had when it began, which may be an earlier one than that of the documents.
 *
 * @returns notes for people; none if nothing is left to find, or the meaning is today's.
 */
export function earlierSyntaxOf({ id, sealed, deletionRefused, spec }: Run): string[] {
  const notes: string[] = [];
  const selects = spec.filters.length > 0 || spec.patterns.some((pattern) => pattern !== "*");
  const finds = !sealed || deletionRefused !== "";
  if (finds && selects && spec.patternSyntax === undefined)
    notes.push(
      `run ${id} began before patterns matched as rclone's do, and keeps its meaning: of its patterns, those with a ` +
        "slash match from the root of the source only; start a new sync for today's",
    );
  if (!sealed && spec.listSyntax === undefined && (spec.list !== undefined || spec.listIsStdin))
    notes.push(
      `run ${id} began before lists had comments, headers and lines of sha256sum, and keeps its meaning: each line of ` +
        "its list is a source; start a new sync for today's",
    );
  return notes;
}

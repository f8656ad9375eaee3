/**
 * The decision table of two-way syncs: what happens to one path, given what both sides held when they were last equal (the
 * ancestor) and what they hold now. Nothing here looks at a file. The rows and what they mean are in docs/bisync.md.
 */

export const DIRECTIONS = ["bidirectional", "pull", "push"] as const;
/** `pull`: only the local side is written; `push`: only the remote one. */
export type Direction = (typeof DIRECTIONS)[number];

export const STRATEGIES = ["newest-wins", "remote-wins", "local-wins", "manual", "backup-both"] as const;
/** What becomes of two versions that were written apart. */
export type Strategy = (typeof STRATEGIES)[number];

export const BACKUPS = ["all", "conflicts", "none"] as const;
/** What is kept of versions that are replaced or deleted: `conflicts` keeps the losers of conflicts alone. */
export type Backups = (typeof BACKUPS)[number];

/** By what terms a pair is synced. */
export interface PairTerms {
  direction: Direction;
  strategy: Strategy;
  backups: Backups;
  /** Whether deletions are not brought to the other side. */
  noDelete: boolean;
}

export type Side = "local" | "remote";

/**
 * One side of a path: `same` as the ancestor, `changed` (or new, where there is no ancestor), `absent` by a complete
 * listing, or `unknown`: it cannot be told, which is never taken for absent.
 */
export type SideState = "absent" | "same" | "changed" | "unknown";

/** What is known of a path. */
export interface PathState {
  /** Whether there is an ancestor. */
  tracked: boolean;
  local: SideState;
  remote: SideState;
  /** Whether both sides hold the same bytes, where both are `changed`. */
  equal: boolean;
  /** The side with the newer version, where both have one; undefined where that is not certain. */
  newer: Side | undefined;
}

/** Why a path is left as it is. */
export type LeaveReason =
  | "local_only"
  | "remote_only"
  | "local_changed"
  | "remote_changed"
  | "local_deleted"
  | "remote_deleted"
  | "kept"
  | "unknown";

/** Why a path is a conflict that a person resolves. */
export type ConflictReason = "both_changed" | "both_new" | "deleted_locally" | "deleted_remotely" | "type";

/** What happens to a path. */
export type Decision =
  | { do: "nothing" }
  /**
   * The side `to` gets the version of the other one. `keeps`: the version that is replaced goes to the backup first, and
   * without that nothing happens.
   */
  | { do: "copy"; to: Side; keeps: boolean; conflict: boolean }
  /** `to` loses its file. */
  | { do: "delete"; to: Side; keeps: boolean; conflict: boolean }
  /** The version of the side `to` gets a name of its own, then `to` gets the version of the other side. */
  | { do: "set-aside"; to: Side; conflict: true }
  /** The file of the side `to` gets a name of its own, and its name is free for a directory. */
  | { do: "vacate"; to: Side; conflict: true }
  /** `to` gets the file of the other side under a name of its own: it keeps the directory that has the name. */
  | { do: "beside"; to: Side; conflict: true }
  /** Both hold the same: that is noted. */
  | { do: "record" }
  /** Neither has it any more: what is noted goes. */
  | { do: "forget" }
  /** `to` keeps its version, which counts as new from now on. */
  | { do: "leave"; why: LeaveReason; forgets: boolean }
  | { do: "list"; reason: ConflictReason };

/**
 * Cells of the table. `!`: the version that is replaced or deleted is the loser of a conflict. `!b`: only where a backup is
 * kept and deletions are allowed; else what is behind the slash.
 */
type Cell =
  | "nothing"
  | "push"
  | "pull"
  | "push!"
  | "pull!"
  | "record"
  | "forget"
  | "delete local"
  | "delete remote"
  | "delete local!b/push"
  | "delete local!b/keep"
  | "delete remote!b/pull"
  | "delete remote!b/keep"
  | "aside, pull"
  | "aside, push"
  | "list"
  | "keep"
  | LeaveReason;

/** Columns: remote-wins, local-wins, newest-wins where the local or the remote side is newer, manual, backup-both. */
type Row = readonly [Cell, Cell, Cell, Cell, Cell, Cell];
const all = (cell: Cell): Row => [cell, cell, cell, cell, cell, cell];

/** Rows 1 to 15 of each direction: see {@link rowOf}. */
const TABLE: Record<Direction, readonly Row[]> = {
  bidirectional: [
    all("nothing"),
    all("push"),
    all("pull"),
    all("record"),
    ["pull!", "push!", "push!", "pull!", "list", "aside, pull"],
    all("forget"),
    all("delete local"),
    all("delete remote"),
    all("nothing"),
    ["delete local!b/push", "push", "push", "push", "list", "push"],
    ["pull", "delete remote!b/pull", "pull", "pull", "list", "pull"],
    all("push"),
    all("pull"),
    all("record"),
    ["pull!", "push!", "push!", "pull!", "list", "aside, pull"],
  ],
  pull: [
    all("nothing"),
    all("local_only"),
    all("pull"),
    all("record"),
    ["pull!", "local_changed", "local_changed", "pull!", "list", "aside, pull"],
    all("forget"),
    all("delete local"),
    ["pull", "local_deleted", "pull", "pull", "list", "pull"],
    all("nothing"),
    ["delete local!b/keep", "keep", "keep", "keep", "list", "keep"],
    ["pull", "local_deleted", "pull", "pull", "list", "pull"],
    ["pull!", "local_changed", "local_changed", "pull!", "list", "aside, pull"],
    all("pull"),
    all("record"),
    ["pull!", "local_changed", "local_changed", "pull!", "list", "aside, pull"],
  ],
  push: [
    all("nothing"),
    all("push"),
    all("remote_only"),
    all("record"),
    ["remote_changed", "push!", "push!", "remote_changed", "list", "aside, push"],
    all("forget"),
    ["remote_deleted", "push", "push", "push", "list", "push"],
    all("delete remote"),
    all("nothing"),
    ["remote_deleted", "push", "push", "push", "list", "push"],
    ["keep", "delete remote!b/keep", "keep", "keep", "list", "keep"],
    all("push"),
    ["remote_changed", "push!", "push!", "remote_changed", "list", "aside, push"],
    all("record"),
    ["remote_changed", "push!", "push!", "remote_changed", "list", "aside, push"],
  ],
};

/**
 * The number of the row of the table, from 1 to 15.
 *
 * @throws Error for a side that is unknown, or the same as no ancestor.
 */
export function rowOf({ tracked, local, remote, equal }: PathState): number {
  const key = `${local} ${remote}`;
  const rows: Record<string, number> = tracked
    ? {
        "absent absent": 6,
        "same absent": 7,
        "absent same": 8,
        "same same": 9,
        "changed absent": 10,
        "absent changed": 11,
        "changed same": 12,
        "same changed": 13,
        "changed changed": equal ? 14 : 15,
      }
    : { "absent absent": 1, "changed absent": 2, "absent changed": 3, "changed changed": equal ? 4 : 5 };
  const row = rows[key];
  if (row === undefined) throw new Error(`no row for ${tracked ? "a tracked" : "an unknown"} path: ${key}`);
  return row;
}

/** Decides on one path. */
export function decide(state: PathState, terms: PairTerms): Decision {
  const { local, remote } = state;
  if (local === "unknown" || remote === "unknown") return { do: "leave", why: "unknown", forgets: false };
  const row = rowOf(state);
  const cell = (TABLE[terms.direction][row - 1] as Row)[columnOf(state, terms)] as Cell;
  return fromCell(cell, state, terms);
}

function columnOf({ newer, local, remote }: PathState, { strategy }: PairTerms): number {
  switch (strategy) {
    case "remote-wins":
      return 0;
    case "local-wins":
      return 1;
    case "manual":
      return 4;
    case "backup-both":
      return 5;
    default:
      // Where one side has no version, both columns say the same.
      if (local === "absent" || remote === "absent") return 2;
      return newer === "local" ? 2 : newer === "remote" ? 3 : 5;
  }
}

function fromCell(cell: Cell, state: PathState, terms: PairTerms): Decision {
  const { backups, noDelete } = terms;
  const copy = (to: Side, loses: boolean): Decision => {
    const replaces = state[to] !== "absent";
    const keeps = replaces && (backups === "all" || (loses && backups === "conflicts"));
    return { do: "copy", to, keeps, conflict: loses || isConflict(state) };
  };
  const remove = (to: Side, loses: boolean): Decision =>
    noDelete
      ? { do: "leave", why: "kept", forgets: false }
      : {
          do: "delete",
          to,
          keeps: backups === "all" || (loses && backups === "conflicts"),
          conflict: loses || isConflict(state),
        };
  const keep = (): Decision => ({
    do: "leave",
    why: terms.direction === "pull" ? "local_only" : "remote_only",
    forgets: true,
  });
  const mayLose = backups !== "none" && !noDelete;
  switch (cell) {
    case "nothing":
    case "record":
    case "forget":
      return { do: cell };
    case "push":
      return copy("remote", false);
    case "pull":
      return copy("local", false);
    case "push!":
      return copy("remote", true);
    case "pull!":
      return copy("local", true);
    case "delete local":
      return remove("local", false);
    case "delete remote":
      return remove("remote", false);
    case "delete local!b/push":
      return mayLose ? remove("local", true) : copy("remote", false);
    case "delete local!b/keep":
      return mayLose ? remove("local", true) : keep();
    case "delete remote!b/pull":
      return mayLose ? remove("remote", true) : copy("local", false);
    case "delete remote!b/keep":
      return mayLose ? remove("remote", true) : keep();
    case "aside, pull":
      return { do: "set-aside", to: "local", conflict: true };
    case "aside, push":
      return { do: "set-aside", to: "remote", conflict: true };
    case "list":
      return { do: "list", reason: reasonOf(state) };
    case "keep":
      return keep();
    default:
      return { do: "leave", why: cell, forgets: false };
  }
}

/** Whether both sides were changed since they were last equal, one of them perhaps by a deletion. */
function isConflict({ tracked, local, remote, equal }: PathState): boolean {
  if (local === "changed" && remote === "changed") return !equal;
  return tracked && local !== remote && [local, remote].every((each) => each !== "same");
}

function reasonOf({ tracked, local, remote }: PathState): ConflictReason {
  if (local === "absent") return "deleted_locally";
  if (remote === "absent") return "deleted_remotely";
  return tracked ? "both_changed" : "both_new";
}

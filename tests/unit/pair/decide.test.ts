import {
  BACKUPS,
  type Decision,
  DIRECTIONS,
  type Direction,
  decide,
  type PairTerms,
  type PathState,
  rowOf,
  type SideState,
  STRATEGIES,
  type Strategy,
} from "@drover/shared/pair/decide";
import { describe, expect, it } from "vitest";

/**
 * The table as it was agreed on, word for word: number, ancestor, local, remote; then remote-wins, local-wins, newest-wins with
 * the local and with the remote side newer, manual, backup-both. `=`: as to the left. `ᵇ`: only with backups and deletions.
 */
const TABLE: Record<Direction, string> = {
  bidirectional: `
| B1 | none | absent | absent | – | = | = | = | = | = |
| B2 | none | new | absent | **push** | = | = | = | = | = |
| B3 | none | absent | new | **pull** | = | = | = | = | = |
| B4 | none | new (equal) | new (equal) | record | = | = | = | = | = |
| B5 | none | new (differ) | new (differ) | **pull**, local version to backup | **push**, remote version to backup | **push**, remote version to backup | **pull**, local version to backup | list | local version → conflict copy, then **pull** |
| B6 | present | absent | absent | forget | = | = | = | = | = |
| B7 | present | same | absent | delete locally | = | = | = | = | = |
| B8 | present | absent | same | delete remotely | = | = | = | = | = |
| B9 | present | same | same | – | = | = | = | = | = |
| B10 | present | changed | absent | delete locally, changed version to backup ᵇ | **push** | **push** | **push** | list | **push** |
| B11 | present | absent | changed | **pull** | delete remotely, changed version to backup ᵇ | **pull** | **pull** | list | **pull** |
| B12 | present | changed | same | **push** | = | = | = | = | = |
| B13 | present | same | changed | **pull** | = | = | = | = | = |
| B14 | present | changed (equal) | changed (equal) | record | = | = | = | = | = |
| B15 | present | changed (differ) | changed (differ) | **pull**, local version to backup | **push**, remote version to backup | **push**, remote version to backup | **pull**, local version to backup | list | local version → conflict copy, then **pull** |
`,
  pull: `
| P1 | none | absent | absent | – | = | = | = | = | = |
| P2 | none | new | absent | leave local_only | = | = | = | = | = |
| P3 | none | absent | new | **pull** | = | = | = | = | = |
| P4 | none | new (equal) | new (equal) | record | = | = | = | = | = |
| P5 | none | new (differ) | new (differ) | **pull**, local version to backup | leave local_changed | leave local_changed | **pull**, local version to backup | list | local version → conflict copy, then **pull** |
| P6 | present | absent | absent | forget | = | = | = | = | = |
| P7 | present | same | absent | delete locally | = | = | = | = | = |
| P8 | present | absent | same | **pull** | leave local_deleted | **pull** | **pull** | list | **pull** |
| P9 | present | same | same | – | = | = | = | = | = |
| P10 | present | changed | absent | delete locally, changed version to backup ᵇ | keep it, forget (→ local_only) | keep it, forget (→ local_only) | keep it, forget (→ local_only) | list | keep it, forget (→ local_only) |
| P11 | present | absent | changed | **pull** | leave local_deleted | **pull** | **pull** | list | **pull** |
| P12 | present | changed | same | **pull**, local version to backup | leave local_changed | leave local_changed | **pull**, local version to backup | list | local version → conflict copy, then **pull** |
| P13 | present | same | changed | **pull** | = | = | = | = | = |
| P14 | present | changed (equal) | changed (equal) | record | = | = | = | = | = |
| P15 | present | changed (differ) | changed (differ) | **pull**, local version to backup | leave local_changed | leave local_changed | **pull**, local version to backup | list | local version → conflict copy, then **pull** |
`,
  push: `
| S1 | none | absent | absent | – | = | = | = | = | = |
| S2 | none | new | absent | **push** | = | = | = | = | = |
| S3 | none | absent | new | leave remote_only | = | = | = | = | = |
| S4 | none | new (equal) | new (equal) | record | = | = | = | = | = |
| S5 | none | new (differ) | new (differ) | leave remote_changed | **push**, remote version to backup | **push**, remote version to backup | leave remote_changed | list | remote version → conflict copy, then **push** |
| S6 | present | absent | absent | forget | = | = | = | = | = |
| S7 | present | same | absent | leave remote_deleted | **push** | **push** | **push** | list | **push** |
| S8 | present | absent | same | delete remotely | = | = | = | = | = |
| S9 | present | same | same | – | = | = | = | = | = |
| S10 | present | changed | absent | leave remote_deleted | **push** | **push** | **push** | list | **push** |
| S11 | present | absent | changed | keep it, forget (→ remote_only) | delete remotely, changed version to backup ᵇ | keep it, forget (→ remote_only) | keep it, forget (→ remote_only) | list | keep it, forget (→ remote_only) |
| S12 | present | changed | same | **push** | = | = | = | = | = |
| S13 | present | same | changed | leave remote_changed | **push**, remote version to backup | **push**, remote version to backup | leave remote_changed | list | remote version → conflict copy, then **push** |
| S14 | present | changed (equal) | changed (equal) | record | = | = | = | = | = |
| S15 | present | changed (differ) | changed (differ) | leave remote_changed | **push**, remote version to backup | **push**, remote version to backup | leave remote_changed | list | remote version → conflict copy, then **push** |
`,
};

/** What a cell with ᵇ says where no backup is kept, or nothing may be deleted: the change survives. */
const SURVIVES: Record<string, string> = {
  B10: "**push**",
  B11: "**pull**",
  P10: "keep it, forget (→ local_only)",
  S11: "keep it, forget (→ remote_only)",
};

const COLUMNS: { strategy: Strategy; newer: PathState["newer"] }[] = [
  { strategy: "remote-wins", newer: undefined },
  { strategy: "local-wins", newer: undefined },
  { strategy: "newest-wins", newer: "local" },
  { strategy: "newest-wins", newer: "remote" },
  { strategy: "manual", newer: undefined },
  { strategy: "backup-both", newer: undefined },
  // The heading of the last column: NEWEST_WINS where neither is newer.
  { strategy: "newest-wins", newer: undefined },
];

interface Row {
  id: string;
  state: PathState;
  /** One per column. */
  cells: string[];
}

const rowsOf = (direction: Direction): Row[] =>
  TABLE[direction]
    .trim()
    .split("\n")
    .map((line) => {
      const [id = "", ancestor, local = "", remote = "", ...rest] = line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim());
      const cells: string[] = [];
      for (const cell of rest) cells.push(cell === "=" ? (cells.at(-1) as string) : cell);
      const sideOf = (text: string) => text.replace(/ .*/, "").replace("new", "changed") as SideState;
      const equal = local.includes("(equal)");
      const tracked = ancestor === "present";
      return {
        id,
        state: { tracked, local: sideOf(local), remote: sideOf(remote), equal, newer: undefined },
        cells,
      };
    });

/** What the words of a cell mean. */
function meant(cell: string, id: string, { tracked, local, remote }: PathState, terms: PairTerms): Decision {
  const { backups, noDelete } = terms;
  const both = local === "changed" && remote === "changed";
  const conflict = both || cell.includes("to backup") || (tracked && local !== "same" && remote !== "same");
  const keepsLoser = backups !== "none";
  const word = cell.replaceAll("*", "");
  if (word.includes("ᵇ") && (!keepsLoser || noDelete))
    return meant(
      SURVIVES[id] as string,
      id,
      { tracked, local, remote, equal: false, newer: undefined },
      terms,
    );
  if (word === "–") return { do: "nothing" };
  if (word === "record" || word === "forget") return { do: word };
  if (word === "list") {
    const reason =
      local === "absent"
        ? "deleted_locally"
        : remote === "absent"
          ? "deleted_remotely"
          : tracked
            ? "both_changed"
            : "both_new";
    return { do: "list", reason };
  }
  const aside = /^(local|remote) version → conflict copy, then (pull|push)$/.exec(word);
  if (aside) {
    expect(aside[2]).toBe(aside[1] === "local" ? "pull" : "push");
    return { do: "set-aside", to: aside[1] as "local" | "remote", conflict: true };
  }
  const copy = /^(push|pull)(, (local|remote) version to backup)?$/.exec(word);
  if (copy) {
    const to = copy[1] === "push" ? "remote" : "local";
    if (copy[3]) expect(copy[3]).toBe(to);
    const replaces = (to === "remote" ? remote : local) !== "absent";
    return {
      do: "copy",
      to,
      keeps: replaces && (backups === "all" || (copy[2] !== undefined && keepsLoser)),
      conflict,
    };
  }
  const removal = /^delete (locally|remotely)(, changed version to backup ᵇ)?$/.exec(word);
  if (removal) {
    if (noDelete) return { do: "leave", why: "kept", forgets: false };
    const keeps = backups === "all" || (removal[2] !== undefined && keepsLoser);
    return { do: "delete", to: removal[1] === "locally" ? "local" : "remote", keeps, conflict };
  }
  const kept = /^keep it, forget \(→ (local_only|remote_only)\)$/.exec(word);
  if (kept) return { do: "leave", why: kept[1] as "local_only", forgets: true };
  const left = /^leave (\w+)$/.exec(word);
  if (left) return { do: "leave", why: left[1] as "local_only", forgets: false };
  throw new Error(`no meaning of ${cell}`);
}

it("says what every cell of the table says, whatever is kept and whether deletions are allowed", () => {
  let cells = 0;
  for (const direction of DIRECTIONS) {
    const rows = rowsOf(direction);
    expect(rows.map(({ id }) => id)).toEqual(rows.map((_, at) => `${rows[0]?.id[0]}${at + 1}`));
    expect(rows).toHaveLength(15);
    rows.forEach(({ id, state, cells: written }, at) => {
      expect(written).toHaveLength(6);
      expect(rowOf(state), id).toBe(at + 1);
      COLUMNS.forEach(({ strategy, newer }, column) => {
        const cell = written[Math.min(column, 5)] as string;
        // Where one side has no version, no side is newer: the columns of newest-wins agree.
        const hasNewer = state.local !== "absent" && state.remote !== "absent";
        if (column === 6 && !hasNewer) return;
        for (const backups of BACKUPS)
          for (const noDelete of [false, true]) {
            const terms = { direction, strategy, backups, noDelete };
            const seen = { ...state, newer: hasNewer ? newer : undefined };
            const where = `${id} ${strategy} newer=${newer} backups=${backups} noDelete=${noDelete}: ${cell}`;
            expect(decide(seen, terms), where).toEqual(meant(cell, id, state, terms));
            cells++;
          }
      });
    });
  }
  // Seven rows have a version on both sides, and so a column of their own where neither is newer.
  expect(cells).toBe(3 * (15 * 6 + 7) * 3 * 2);
});

describe("what no table may say", () => {
  const all = [...everyCase()];

  it("reaches every combination", () => {
    expect(all).toHaveLength((4 * 4 * 2 * 3 * 2 - 3 * 2 * 7) * 90);
  });

  it("never writes to the side that only is read", () => {
    for (const [state, terms] of all) {
      const decision = decide(state, terms);
      if (!("to" in decision)) continue;
      if (terms.direction === "pull") expect(decision.to).toBe("local");
      if (terms.direction === "push") expect(decision.to).toBe("remote");
    }
  });

  it("does nothing to what is unknown, and keeps what is noted of it", () => {
    for (const [state, terms] of all)
      if (state.local === "unknown" || state.remote === "unknown")
        expect(decide(state, terms)).toEqual({ do: "leave", why: "unknown", forgets: false });
  });

  it("says the same whenever it is asked, and asks for the newer side in conflicts alone", () => {
    for (const [state, terms] of all) {
      const decision = decide(state, terms);
      expect(decide({ ...state }, { ...terms })).toEqual(decision);
      const isOpen =
        state.local !== "absent" && state.remote !== "absent" && terms.strategy === "newest-wins";
      if (!isOpen) expect(decide({ ...state, newer: undefined }, terms)).toEqual(decision);
      if (state.local !== "changed" || state.remote !== "changed")
        expect(decide({ ...state, equal: !state.equal }, terms)).toEqual(decision);
    }
  });

  it("deletes nothing with noDelete, and nothing without an ancestor", () => {
    for (const [state, terms] of all) {
      const decision = decide(state, terms);
      if (terms.noDelete || !state.tracked) expect(decision.do).not.toBe("delete");
    }
  });

  it("deletes and replaces no change of a side unless it is kept, or another change wins by the strategy", () => {
    for (const [state, terms] of all) {
      const decision = decide(state, terms);
      if (decision.do !== "copy" && decision.do !== "delete") continue;
      const { to } = decision;
      if (state[to] === "absent") expect(decision.keeps).toBe(false);
      else if (terms.backups === "all") expect(decision.keeps).toBe(true);
      else if (state[to] === "changed" && !state.equal) {
        expect(decision.keeps).toBe(terms.backups === "conflicts");
        // A deletion never beats a change that would be nowhere then.
        if (terms.backups === "none") expect(decision.do).toBe("copy");
        expect(/^(manual|backup-both)$/.test(terms.strategy)).toBe(false);
      }
    }
  });

  it("copies, deletes and sets aside only what is there", () => {
    for (const [state, terms] of all) {
      const decision = decide(state, terms);
      const is = (side: "local" | "remote") => state[side] !== "absent" && state[side] !== "unknown";
      if (decision.do === "copy") expect(is(decision.to === "local" ? "remote" : "local")).toBe(true);
      if (decision.do === "delete") expect(is(decision.to)).toBe(true);
      if (decision.do === "set-aside") expect(is("local") && is("remote")).toBe(true);
      if (decision.do === "record") expect(state.equal).toBe(true);
    }
  });

  it("leaves a conflict to a person only where that is asked for", () => {
    for (const [state, terms] of all)
      if (decide(state, terms).do === "list") expect(terms.strategy).toBe("manual");
  });
});

/** Each combination of a state and terms that can be. */
function* everyCase(): Generator<[PathState, PairTerms]> {
  const sides = ["absent", "same", "changed", "unknown"] as const;
  for (const direction of DIRECTIONS)
    for (const strategy of STRATEGIES)
      for (const backups of BACKUPS)
        for (const noDelete of [false, true])
          for (const tracked of [false, true])
            for (const local of sides)
              for (const remote of sides)
                for (const equal of [false, true])
                  for (const newer of [undefined, "local", "remote"] as const) {
                    if (!tracked && (local === "same" || remote === "same")) continue;
                    yield [
                      { tracked, local, remote, equal, newer },
                      { direction, strategy, backups, noDelete },
                    ];
                  }
}

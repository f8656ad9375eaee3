import {
  BACKUPS,
  DIRECTIONS,
  decide,
  type PairTerms,
  type PathState,
  type Side,
  type SideState,
  STRATEGIES,
} from "@drover/shared/pair/decide";
import fc from "fast-check";
import { expect, it } from "vitest";

/** Histories to play. Many: PAIR_HISTORIES=3000000 npm test -- tests/unit/pair/decide-model.test.ts */
const numRuns = Number(process.env.PAIR_HISTORIES ?? 5_000);
const seed = process.env.PAIR_SEED === undefined ? {} : { seed: Number(process.env.PAIR_SEED) };

/** What users and syncs do with one path. Versions are numbers; 0 is no file. */
type Act =
  | { is: "edit"; side: Side; as: "new" | "other" | "ancestor" }
  | { is: "delete"; side: Side }
  | { is: "sync"; newer: Side | undefined; breaksOff: "no" | "before" | "unsettled" }
  | { is: "forgotten" };

const sides = fc.constantFrom<Side>("local", "remote");
const edit = fc.record({
  is: fc.constant("edit" as const),
  side: sides,
  as: fc.constantFrom("new", "new", "new", "other", "ancestor"),
}) as fc.Arbitrary<Act>;
const removal = fc.record({ is: fc.constant("delete" as const), side: sides });
const sync = fc.record({
  is: fc.constant("sync" as const),
  newer: fc.constantFrom("local" as const, "remote" as const, undefined),
  breaksOff: fc.constantFrom("no", "no", "no", "before", "unsettled"),
}) as fc.Arbitrary<Act>;
const acts = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: edit },
    { weight: 2, arbitrary: removal },
    { weight: 5, arbitrary: sync },
    { weight: 1, arbitrary: fc.constant<Act>({ is: "forgotten" }) },
  ),
  { maxLength: 14 },
);
const termsOf = fc.record<PairTerms>({
  direction: fc.constantFrom(...DIRECTIONS),
  strategy: fc.constantFrom(...STRATEGIES),
  backups: fc.constantFrom(...BACKUPS),
  noDelete: fc.boolean(),
});

const OTHER = { local: "remote", remote: "local" } as const;

/** A path that is played with. */
class Path {
  readonly at: Record<Side, number> = { local: 0, remote: 0 };
  ancestor = 0;
  /** Versions in backups and conflict copies. */
  readonly kept = new Set<number>();
  /** Versions that no user has deleted or overwritten himself, on either side. */
  readonly owed = new Set<number>();
  readonly removed: number[] = [];
  #versions = 0;

  constructor(readonly terms: PairTerms) {}

  state(newer: Side | undefined): PathState {
    const { at, ancestor } = this;
    const of = (side: Side): SideState =>
      at[side] === 0 ? "absent" : at[side] === ancestor ? "same" : "changed";
    const [local, remote] = [of("local"), of("remote")];
    const equal = local === "changed" && remote === "changed" && at.local === at.remote;
    return { tracked: ancestor !== 0, local, remote, equal, newer };
  }

  play(act: Act): void {
    switch (act.is) {
      case "edit": {
        const before = this.at[act.side];
        const as = { new: ++this.#versions, other: this.at[OTHER[act.side]], ancestor: this.ancestor }[
          act.as
        ];
        if (as === 0 || as === before) return;
        this.owed.delete(before);
        this.at[act.side] = as;
        // What the ancestor has counts as no edit: it is kept where all is kept.
        if (as !== this.ancestor || this.terms.backups === "all") this.owed.add(as);
        return;
      }
      case "delete":
        this.owed.delete(this.at[act.side]);
        this.at[act.side] = 0;
        return;
      case "forgotten":
        this.ancestor = 0;
        return;
      case "sync":
        this.sync(act.newer, act.breaksOff);
    }
  }

  sync(newer: Side | undefined, breaksOff: "no" | "before" | "unsettled" = "no"): string {
    const decision = decide(this.state(newer), this.terms);
    if (breaksOff === "before") return decision.do;
    const settle = (version: number) => {
      if (breaksOff === "no") this.ancestor = version;
    };
    const replace = (to: Side, version: number) => {
      this.removed.push(this.at[to]);
      this.at[to] = version;
    };
    switch (decision.do) {
      case "copy": {
        const { to, keeps } = decision;
        if (keeps) this.kept.add(this.at[to]);
        replace(to, this.at[OTHER[to]]);
        settle(this.at[to]);
        break;
      }
      case "delete":
        if (decision.keeps) this.kept.add(this.at[decision.to]);
        replace(decision.to, 0);
        settle(0);
        break;
      case "set-aside":
        this.kept.add(this.at[decision.to]);
        replace(decision.to, this.at[OTHER[decision.to]]);
        settle(this.at[decision.to]);
        break;
      case "record":
        settle(this.at.local);
        break;
      case "forget":
        settle(0);
        break;
      case "leave":
        if (decision.forgets) settle(0);
    }
    return decision.do;
  }

  /** Versions that are nowhere although no user has let go of them. */
  get lost(): number[] {
    return [...this.owed].filter(
      (each) => each !== this.at.local && each !== this.at.remote && !this.kept.has(each),
    );
  }
}

const isDone = (what: string) => what === "nothing" || what === "leave" || what === "list";

it("loses no version in any history, keeps a side that is only read, and comes to rest", () => {
  fc.assert(
    fc.property(termsOf, acts, sides, (terms, history, last) => {
      const path = new Path(terms);
      for (const act of history) {
        const before = { ...path.at };
        path.play(act);
        if (act.is !== "sync") continue;
        if (terms.direction === "pull" && before.remote !== path.at.remote)
          throw new Error("pull wrote to the remote side");
        if (terms.direction === "push" && before.local !== path.at.local)
          throw new Error("push wrote to the local side");
        if (terms.noDelete && before.local * path.at.local === 0 && before.local > 0)
          throw new Error("deleted locally");
        if (terms.noDelete && before.remote * path.at.remote === 0 && before.remote > 0)
          throw new Error("deleted remotely");
        if (terms.backups === "none") {
          // Without backups the loser of a conflict goes, if a strategy was chosen that has losers.
          for (const gone of path.removed)
            if (!/^(manual|backup-both)$/.test(terms.strategy)) path.owed.delete(gone);
        }
        if (path.lost.length > 0) throw new Error(`lost: ${path.lost}`);
      }
      path.sync(last);
      const second = path.sync(last);
      const third = path.sync(last);
      if (!isDone(second) || third !== second) throw new Error(`never idle: ${second}, ${third}`);
      const isEqual = path.at.local === path.at.remote;
      const mustBeEqual =
        terms.direction === "bidirectional" && terms.strategy !== "manual" && !terms.noDelete;
      if (mustBeEqual && !isEqual) throw new Error(`not equal: ${JSON.stringify(path.at)}`);
      if (mustBeEqual && path.ancestor !== path.at.local) throw new Error("not noted");
    }),
    { numRuns, ...seed },
  );
});

it("brings edits of one side alone to the other, whatever the strategy, and keeps nothing aside", () => {
  fc.assert(
    fc.property(
      termsOf,
      sides,
      fc.array(fc.oneof(edit, removal, sync), { maxLength: 12 }),
      (terms, side, history) => {
        const path = new Path({ ...terms, direction: "bidirectional", noDelete: false });
        for (const act of history) {
          if (act.is === "sync") {
            const decision = decide(path.state(act.newer), path.terms);
            if ("conflict" in decision && decision.conflict) throw new Error("a false conflict");
            // A run that broke off between a write and its note is recovered first, by the journal.
            path.sync(act.newer, act.breaksOff === "unsettled" ? "no" : act.breaksOff);
          } else path.play({ ...act, side } as Act);
        }
        path.sync(undefined);
        expect(path.at.local).toBe(path.at.remote);
      },
    ),
    { numRuns, ...seed },
  );
});

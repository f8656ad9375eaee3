import { describe, expect, it } from "vitest";
import { check, INVARIANTS, type Invariant, type Known, report } from "./checker.js";
import { type Event, History, type RunFacts } from "./history.js";
import type { FileKind } from "./versioned-origin.js";

const kinds = new Map<string, FileKind>([
  ["a", "steady"],
  ["b", "flaky"],
  ["m", "missing"],
  ["t", "trap"],
]);
const known: Known = { kinds, mostMiB: 300 };

const whole = (version: number | "any") => ({ is: "whole", version }) as const;
const lost = {
  m: { name: "m", class: "not-found", message: "HTTP status 404" },
  t: { name: "t", class: "path", message: "a link" },
};

function facts(of: Partial<RunFacts> = {}): RunFacts {
  return {
    state: "done",
    counts: { files: 4, copied: 2, unchanged: 0, failed: 2, blocked: 0, locked: 0, cancelled: 0 },
    failures: [lost.m, lost.t],
    bitmaps: { done: [0, 1, 2, 3], unchanged: [], failed: [2, 3], blocked: [], locked: [], cancelled: [] },
    ...of,
  };
}

/** A play in which nothing is wrong: one run under fire, a new version of `a`, and a last sync in peace. */
function events(): Event[] {
  const get = (atMs: number, name: string, nth: number): Event => ({
    ...{ atMs, is: "get", name, nth, version: 1, how: name === "m" ? "404" : "file" },
    ...{ range: undefined, condition: undefined },
  });
  const outcome = (atMs: number, run: string, name: string, how: string): Event => ({
    ...{ atMs, is: "outcome", run, attempt: 1, name, outcome: how },
  });
  const seen = (atMs: number, name: string, version: number): Event => ({
    ...{ atMs, is: "seen", name, fromMs: atMs - 1, reading: whole(version) },
  });
  const names = [...kinds.keys()];
  return [
    { atMs: 0, is: "submitted", run: "one", names },
    { atMs: 5, is: "named", run: "one", id: "r1" },
    get(10, "m", 1),
    { atMs: 12, is: "action", what: "kill-worker", detail: "0" },
    get(15, "m", 2),
    seen(20, "a", 1),
    outcome(30, "one", "a", "copied"),
    outcome(31, "one", "b", "copied"),
    outcome(32, "one", "m", "failed"),
    outcome(33, "one", "t", "failed"),
    { atMs: 40, is: "ended", run: "one", attempt: 1, code: 1, whole: true },
    { atMs: 41, is: "status", run: "one", facts: facts() },
    { atMs: 50, is: "published", name: "a", version: 2 },
    seen(60, "a", 1),
    seen(61, "b", 1),
    { atMs: 70, is: "quiet" },
    { atMs: 80, is: "submitted", run: "last", names },
    get(90, "m", 3),
    outcome(91, "last", "a", "copied"),
    outcome(92, "last", "b", "unchanged"),
    outcome(93, "last", "m", "failed"),
    outcome(94, "last", "t", "failed"),
    { atMs: 95, is: "ended", run: "last", attempt: 1, code: 1, whole: true },
    {
      ...{ atMs: 96, is: "status", run: "last" },
      facts: facts({
        counts: { files: 4, copied: 1, unchanged: 1, failed: 2, blocked: 0, locked: 0, cancelled: 0 },
        bitmaps: {
          ...{ done: [0, 1, 2, 3], unchanged: [1], failed: [2, 3] },
          ...{ blocked: [], locked: [], cancelled: [] },
        },
      }),
    },
    seen(100, "a", 2),
    seen(101, "b", 1),
    { atMs: 102, is: "seen", name: "m", fromMs: 101, reading: { is: "absent" } },
    { atMs: 110, is: "memory", process: "worker 0", mib: 200 },
  ];
}

/** What the checker finds once the events were changed. */
function found(change: (events: Event[]) => void): { invariants: Set<Invariant>; text: string } {
  const history = new History();
  const all = events();
  change(all);
  history.events.push(...all.sort((one, other) => one.atMs - other.atMs));
  const violations = check(history, known);
  return {
    invariants: new Set(violations.map(({ invariant }) => invariant)),
    text: report(violations, history),
  };
}

/** Replaces what is known of a run in the end. */
function judged(all: Event[], run: string, of: Partial<RunFacts>): void {
  const at = all.findIndex((event) => event.is === "status" && event.run === run);
  const event = all[at] as Extract<Event, { is: "status" }>;
  all[at] = { ...event, facts: { ...event.facts, ...of } };
}

function drop(all: Event[], matches: (event: Event) => boolean): void {
  const at = all.findIndex(matches);
  if (at < 0) throw new Error("nothing to drop");
  all.splice(at, 1);
}

const see = (atMs: number, name: string, reading: Extract<Event, { is: "seen" }>["reading"]): Event => ({
  ...{ atMs, is: "seen", name, fromMs: atMs - 1, reading },
});

const BREACHES: { what: string; breaks: Invariant; change: (events: Event[]) => void }[] = [
  {
    what: "a mixture is seen",
    breaks: "whole",
    change: (all) => all.push(see(62, "a", { is: "broken", why: "version 1 from byte 0, version 2" })),
  },
  {
    what: "a version is seen before it was published",
    breaks: "whole",
    change: (all) => all.push(see(45, "a", whole(2))),
  },
  {
    what: "a destination vanishes",
    breaks: "whole",
    change: (all) => all.push(see(62, "a", { is: "absent" })),
  },
  {
    what: "something is where a link led out of the root",
    breaks: "whole",
    change: (all) => all.push(see(62, "t", whole(1))),
  },
  {
    what: "an older version comes back",
    breaks: "forward",
    change: (all) => all.push(see(97, "a", whole(2)), see(98, "a", whole(1))),
  },
  {
    what: "a file that was acknowledged is not there",
    breaks: "acknowledged",
    change: (all) => {
      drop(all, (event) => event.is === "seen" && event.atMs === 61);
      all.push(see(61, "b", { is: "absent" }));
    },
  },
  {
    what: "a run acknowledges what is older than its submission",
    breaks: "acknowledged",
    change: (all) => {
      drop(all, (event) => event.is === "seen" && event.atMs === 100);
      all.push(see(100, "a", whole(1)));
    },
  },
  {
    what: "a file is neither counted nor listed",
    breaks: "counts",
    change: (all) => judged(all, "one", { counts: { ...facts().counts, copied: 1 } }),
  },
  {
    what: "a failure is not listed",
    breaks: "counts",
    change: (all) => judged(all, "one", { failures: [lost.m] }),
  },
  {
    what: "a bitmap has a bit more",
    breaks: "counts",
    change: (all) => judged(all, "one", { bitmaps: { ...facts().bitmaps, failed: [2, 3], unchanged: [3] } }),
  },
  {
    what: "an outcome is dropped from the output",
    breaks: "counts",
    change: (all) => drop(all, (event) => event.is === "outcome" && event.name === "b"),
  },
  {
    what: "the exit code tells of success",
    breaks: "counts",
    change: (all) => {
      drop(all, (event) => event.is === "ended" && event.run === "last");
      all.push({ atMs: 95, is: "ended", run: "last", attempt: 1, code: 0, whole: true });
    },
  },
  {
    what: "a run is still running",
    breaks: "ends",
    change: (all) => judged(all, "one", { state: "running" }),
  },
  {
    what: "a run is forgotten that Redis did not forget",
    breaks: "ends",
    change: (all) => judged(all, "one", { state: "lost" }),
  },
  {
    what: "a 404 is asked for again in peace",
    breaks: "permanent",
    change: (all) =>
      all.push({
        ...{ atMs: 92, is: "get", name: "m", nth: 4, version: 1, how: "404" },
        ...{ range: undefined, condition: undefined },
      }),
  },
  {
    what: "a file fails that could succeed",
    breaks: "transient",
    change: (all) =>
      judged(all, "one", {
        counts: { ...facts().counts, copied: 1, failed: 3 },
        failures: [lost.m, lost.t, { name: "b", class: "server", message: "HTTP status 503" }],
        bitmaps: { ...facts().bitmaps, failed: [1, 2, 3] },
      }),
  },
  {
    what: "the last sync leaves an old version",
    breaks: "converged",
    change: (all) => all.push(see(103, "a", whole(1))),
  },
  {
    what: "nobody looks in the end",
    breaks: "converged",
    change: (all) => drop(all, (event) => event.is === "seen" && event.atMs === 101),
  },
  {
    what: "a staging file is left",
    breaks: "leftovers",
    change: (all) => all.push({ atMs: 111, is: "leftover", path: "out/.drover-x" }),
  },
  {
    what: "a secret is in a log",
    breaks: "secrets",
    change: (all) => all.push({ atMs: 111, is: "secret", where: "log of worker 0" }),
  },
  {
    what: "a file is beside the root",
    breaks: "roots",
    change: (all) => all.push({ atMs: 111, is: "outside", path: "bait/a" }),
  },
  {
    what: "a process takes too much memory",
    breaks: "memory",
    change: (all) => all.push({ atMs: 111, is: "memory", process: "worker 1", mib: 301 }),
  },
  {
    what: "a worker dies by itself",
    breaks: "alive",
    change: (all) => all.push({ atMs: 50, is: "died", process: "worker 1", how: "exit 1" }),
  },
];

describe("the checker", () => {
  it("finds nothing in a history in which nothing is wrong", () => {
    expect(found(() => {}).text).toBe("");
  });

  it.for(BREACHES)("$breaks: notices that $what", ({ breaks, change }) => {
    const { invariants, text } = found(change);
    expect([...invariants], text).toContain(breaks);
    expect(text).toContain(`✗ ${breaks}`);
  });

  it("knows a breach of every invariant", () => {
    expect(new Set(BREACHES.map(({ breaks }) => breaks))).toEqual(new Set(Object.keys(INVARIANTS)));
  });

  it("excuses what Redis forgot, and only that", () => {
    const forgets = (atMs: number): Event => ({
      ...{ atMs, is: "action", what: "crash-redis", detail: "", forgets: true },
    });
    const lostRun = (all: Event[]) => judged(all, "one", { state: "lost" });
    const soon = found((all) => {
      lostRun(all);
      all.push(forgets(6));
    });
    expect([...soon.invariants]).toEqual([]);
    const later = found((all) => {
      lostRun(all);
      all.push(forgets(10_000));
    });
    expect([...later.invariants]).toContain("ends");
  });

  it("tells the story of a file with the faults around it", () => {
    const { text } = found((all) => all.push(see(62, "a", { is: "broken", why: "a mixture" })));
    expect(text).toContain("a: a mixture");
    expect(text).toMatch(/action {4} what=kill-worker/);
    expect(text).toMatch(/published {2}name=a {2}version=2/);
    expect(text).not.toContain("name=b");
  });
});

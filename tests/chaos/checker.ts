import type { Event, History, RunFacts } from "./history.js";
import type { FileKind } from "./versioned-origin.js";

/** What must always hold, see docs/architecture.md. Each has a test that breaks it. */
export const INVARIANTS = {
  whole: "a reader of a destination sees the whole of one version that was published, or nothing yet",
  forward:
    "a destination never goes back to an older version: a worker whose lease ran out publishes nothing",
  acknowledged: "what a run says has arrived is there, no older than when the run was submitted",
  counts: "counts, listed outcomes and bitmaps of a run tell the same, and add up",
  ends: "every run ends once the faults are over",
  permanent: "what cannot succeed is not tried again",
  transient: "what can succeed does not end failed",
  converged: "after the last sync every destination has the last version",
  leftovers: "no staging file is left behind",
  secrets: "no secret is in a log, a key of Redis or a job",
  roots: "nothing is written outside of the root",
  memory: "the memory of every process is bounded",
  alive: "no process dies that nobody killed",
} as const;
export type Invariant = keyof typeof INVARIANTS;

export interface Violation {
  readonly invariant: Invariant;
  readonly message: string;
  /** The file that it is about, for {@link History.story}. */
  readonly name?: string;
}

/** What the checker must know beside the history. */
export interface Known {
  readonly kinds: ReadonlyMap<string, FileKind>;
  readonly mostMiB: number;
}

type Of<K extends Event["is"]> = Extract<Event, { is: K }>;

/** How long before a death of Redis its acknowledged writes may be lost, and the time that an answer takes. */
const FORGOTTEN_MS = 3_000;
/** Ends that Drover may give a file whose job somebody removed from the queue. */
const REMOVED = new Set(["removed", "cancelled"]);

/** Looks for every invariant that the history breaks. */
export function check(history: History, known: Known): Violation[] {
  const runs = history.of("submitted").map((submitted) => new RunStory(history, submitted));
  return [
    ...checkSeen(history, known),
    ...runs.flatMap((run) => [
      ...checkCounts(run, history),
      ...checkEnd(run, history),
      ...checkFailures(run, history, known),
    ]),
    ...checkAcknowledged(runs, history, known),
    ...checkGets(runs, history, known),
    ...checkConverged(history, known),
    ...checkRemains(history, known),
  ];
}

/** The events of one run. */
class RunStory {
  readonly label: string;
  /** What is known of it in the end. */
  readonly last: Of<"status"> | undefined;

  constructor(
    private readonly history: History,
    readonly submitted: Of<"submitted">,
  ) {
    this.label = submitted.run;
    this.last = this.of("status").at(-1);
  }

  of<K extends Event["is"]>(kind: K): Of<K>[] {
    return this.history.of(kind).filter((event) => "run" in event && event.run === this.label);
  }

  /** When it was last worked on. */
  get overMs(): number {
    return Math.max(this.submitted.atMs, ...this.of("ended").map(({ atMs }) => atMs), this.last?.atMs ?? 0);
  }

  /** Faults from its start to its end. */
  actions(): Of<"action">[] {
    return this.history.of("action").filter(({ atMs }) => atMs >= this.submitted.atMs && atMs <= this.overMs);
  }
}

/** The version that the origin had at a time. */
function versionsOf(history: History): (name: string, atMs: number) => number {
  const byName = Map.groupBy(history.of("published"), ({ name }) => name);
  return (name, atMs) => byName.get(name)?.findLast((event) => event.atMs <= atMs)?.version ?? 1;
}

function checkSeen(history: History, { kinds }: Known): Violation[] {
  const found: Violation[] = [];
  const published = versionsOf(history);
  const before = new Map<string, { version: number; doneMs: number }>();
  for (const { name, reading, fromMs, atMs } of history.of("seen")) {
    const say = (invariant: Invariant, message: string) => found.push({ invariant, name, message });
    const last = before.get(name);
    const kind = kinds.get(name);
    if (reading.is === "absent") {
      if (last) say("whole", "the destination has vanished");
      continue;
    }
    if (kind === "missing" || kind === "trap") say("whole", "a destination that nothing can bring is there");
    if (reading.is === "broken") {
      say("whole", reading.why);
      continue;
    }
    if (reading.version === "any") {
      before.set(name, { version: 0, doneMs: atMs });
      continue;
    }
    const { version } = reading;
    if (version < 1 || version > published(name, atMs)) {
      say("whole", `version ${version} was not published before ${atMs} ms`);
    }
    // Only what was read after the other reading was done is later than it.
    if (last && version < last.version && fromMs >= last.doneMs) {
      say("forward", `version ${version} after version ${last.version}`);
    }
    if (!last || version >= last.version) before.set(name, { version, doneMs: atMs });
  }
  return found;
}

/** The sum of a run's outcomes, whichever it has. */
const OUTCOMES = ["copied", "unchanged", "deleted", "failed", "blocked", "locked", "cancelled"] as const;
const BAD = OUTCOMES.slice(3);

function checkCounts(run: RunStory, history: History): Violation[] {
  const found: Violation[] = [];
  const say = (message: string, name?: string) =>
    found.push({ invariant: "counts", message: `${run.label}: ${message}`, ...(name ? { name } : {}) });
  const facts = run.last?.facts;
  if (!facts || facts.state === "lost") return found;
  const { counts, failures } = facts;
  const count = (key: string) => counts[key] ?? 0;
  const files = run.submitted.names.length;
  if (count("files") !== files) say(`${count("files")} files, ${files} were submitted`);
  const sum = OUTCOMES.reduce((total, outcome) => total + count(outcome), 0);
  if (sum !== count("files")) say(`outcomes add up to ${sum} of ${count("files")}`);
  const bad = BAD.reduce((total, outcome) => total + count(outcome), 0);
  if (failures.length !== bad) say(`${failures.length} failures listed, ${bad} counted`);
  const names = new Set(run.submitted.names);
  for (const { name } of failures) if (!names.delete(name)) say("a failure listed twice or unasked", name);
  checkBitmaps(facts, say);

  const forgot = run.actions().some(({ forgets }) => forgets) || forgotAfter(run, history);
  for (const ended of run.of("ended")) checkExit(run, ended, facts, forgot, say);
  return found;
}

function forgotAfter(run: RunStory, history: History): boolean {
  return history.of("action").some(({ forgets, atMs }) => forgets && atMs >= run.submitted.atMs);
}

function checkBitmaps({ bitmaps, counts }: RunFacts, say: (message: string) => void): void {
  const done = new Set(bitmaps.done);
  if (done.size !== (counts.files ?? 0)) say(`${done.size} bits of ${counts.files} are set`);
  const other = new Set<number>();
  for (const [outcome, bits] of Object.entries(bitmaps)) {
    if (outcome === "done") continue;
    if (bits.length !== (counts[outcome] ?? 0))
      say(`${bits.length} bits ${outcome}, ${counts[outcome] ?? 0} counted`);
    for (const bit of bits) {
      if (!done.has(bit)) say(`file ${bit} is ${outcome} and not done`);
      if (other.has(bit)) say(`file ${bit} has two outcomes, one is ${outcome}`);
      other.add(bit);
    }
  }
}

/** What the command printed, and its exit code, against what Redis holds. */
function checkExit(
  run: RunStory,
  ended: Of<"ended">,
  facts: RunFacts,
  forgot: boolean,
  say: (message: string, name?: string) => void,
): void {
  if (ended.code !== 0 && ended.code !== 1 && ended.code !== 3) return; // says nothing of the files
  const failed = new Set(facts.failures.map(({ name }) => name));
  const files = run.submitted.names.length;
  const due = failed.size === 0 ? 0 : failed.size === files ? 3 : 1;
  if (ended.code !== due && !forgot)
    say(`exit code ${ended.code}, ${failed.size} of ${files} files did not succeed`);
  if (!ended.whole) return;
  const output = run.of("outcome").filter(({ attempt }) => attempt === ended.attempt);
  const lines = Map.groupBy(output, ({ name }) => name);
  for (const name of run.submitted.names) {
    const told = lines.get(name) ?? [];
    if (told.length !== 1) say(`${told.length} lines of output for a file`, name);
    const ok = told[0]?.outcome === "copied" || told[0]?.outcome === "unchanged";
    if (told.length === 1 && ok === failed.has(name) && !forgot) {
      say(`the output says ${told[0]?.outcome}, the ledger ${ok ? "failed" : "success"}`, name);
    }
  }
  if (forgot) return;
  for (const outcome of OUTCOMES) {
    const printed = output.filter((line) => line.outcome === outcome).length;
    if (printed !== (facts.counts[outcome] ?? 0))
      say(`${printed} files printed as ${outcome}, ${facts.counts[outcome] ?? 0} counted`);
  }
}

function checkEnd(run: RunStory, history: History): Violation[] {
  const { label, last } = run;
  const told = new Set(run.of("outcome").map(({ name }) => name));
  const open = run.submitted.names.find((name) => !told.has(name));
  const say = (message: string): Violation[] => [
    { invariant: "ends", message: `${label}: ${message}`, ...(open ? { name: open } : {}) },
  ];
  if (!last) return say("nothing is known of it in the end");
  const { state, counts } = last.facts;
  if (state === "done") return [];
  if (state !== "lost") return say(`${state} with ${JSON.stringify(counts)}`);
  // A submission counts as accepted once its run has been told.
  const named = run.of("named").at(-1);
  const excused = history
    .of("action")
    .some(({ forgets, atMs }) => forgets && named && Math.abs(atMs - named.atMs) < FORGOTTEN_MS);
  return excused ? [] : say("Redis knows nothing of it, though it was accepted");
}

function checkFailures(run: RunStory, history: History, { kinds }: Known): Violation[] {
  const found: Violation[] = [];
  const listed = new Map(run.last?.facts.failures.map((failure) => [failure.name, failure]));
  const removed = history.of("action").some(({ what, atMs }) => what === "remove-jobs" && atMs < run.overMs);
  for (const name of run.submitted.names) {
    const kind = kinds.get(name) ?? "steady";
    const failure = listed.get(name);
    const due = kind === "missing" ? "not-found" : kind === "trap" ? "path" : undefined;
    if (failure?.class === due || (removed && REMOVED.has(failure?.class ?? ""))) continue;
    if (due !== undefined) {
      if (run.last?.facts.state !== "done") continue;
      const ended = failure ? `${failure.class}: ${failure.message}` : "success";
      found.push({ invariant: "counts", name, message: `${run.label}: ${ended} where ${due} was due` });
    } else {
      const message = `${run.label}: ${failure?.class}: ${failure?.message}`;
      found.push({ invariant: "transient", name, message });
    }
  }
  return found;
}

function checkAcknowledged(runs: readonly RunStory[], history: History, { kinds }: Known): Violation[] {
  const found: Violation[] = [];
  const published = versionsOf(history);
  const seen = Map.groupBy(history.of("seen"), ({ name }) => name);
  for (const run of runs) {
    if (run.last?.facts.state !== "done") continue;
    const failed = new Set(run.last.facts.failures.map(({ name }) => name));
    // What its output said counts from then on, whatever was forgotten later.
    const saidMs = new Map(
      run
        .of("outcome")
        .filter(({ outcome }) => outcome === "copied" || outcome === "unchanged")
        .map(({ name, atMs }) => [name, atMs]),
    );
    for (const name of run.submitted.names) {
      const since = failed.has(name) ? saidMs.get(name) : (saidMs.get(name) ?? run.last.atMs);
      if (since === undefined || kinds.get(name) === "missing" || kinds.get(name) === "trap") continue;
      const say = (message: string) =>
        found.push({ invariant: "acknowledged", name, message: `${run.label}: ${message}` });
      const due = published(name, run.submitted.atMs);
      const next = seen.get(name)?.find(({ fromMs }) => fromMs >= since);
      if (!next) say("nobody looked at the destination after it was acknowledged");
      else if (next.reading.is === "absent") say("acknowledged, and nothing is there");
      else if (next.reading.is === "whole" && next.reading.version !== "any" && next.reading.version < due)
        say(`acknowledged version ${due}, version ${next.reading.version} is there`);
    }
  }
  return found;
}

function checkGets(runs: readonly RunStory[], history: History, { kinds }: Known): Violation[] {
  const found: Violation[] = [];
  const gets = Map.groupBy(history.of("get"), ({ name }) => name);
  const actions = history.of("action").length;
  for (const [name, kind] of kinds) {
    if (kind !== "missing") continue;
    const all = gets.get(name) ?? [];
    const asking = runs.filter(({ submitted }) => submitted.names.includes(name));
    const again = asking.reduce((sum, run) => sum + run.of("again").length, 0);
    // A fault may cost a delivery of whatever file is on its way; without one there is no excuse.
    const most = asking.length + again + actions;
    if (all.length > most)
      found.push({ invariant: "permanent", name, message: `${all.length} GETs, at most ${most} are due` });
    for (const run of asking) {
      const within = (atMs: number) => atMs >= run.submitted.atMs && atMs <= run.overMs;
      const alone = asking.every((other) => other === run || !overlap(run, other));
      const inRun = all.filter(({ atMs }) => within(atMs)).length;
      if (alone && run.actions().length === 0 && inRun > 1)
        found.push({ invariant: "permanent", name, message: `${run.label}: ${inRun} GETs in peace` });
    }
  }
  return found;
}

function overlap(one: RunStory, other: RunStory): boolean {
  return one.submitted.atMs <= other.overMs && other.submitted.atMs <= one.overMs;
}

function checkConverged(history: History, { kinds }: Known): Violation[] {
  const found: Violation[] = [];
  const quiet = history.of("quiet").at(-1);
  if (!quiet) return [{ invariant: "ends", message: "the play never came to rest" }];
  const published = versionsOf(history);
  const last = new Map(history.of("seen").map((event) => [event.name, event]));
  for (const [name, kind] of kinds) {
    if (kind === "missing" || kind === "trap") continue;
    const seen = last.get(name);
    const due = published(name, Number.POSITIVE_INFINITY);
    const say = (message: string) => found.push({ invariant: "converged", name, message });
    if (!seen || seen.fromMs < quiet.atMs) say("nobody looked at the destination in the end");
    else if (seen.reading.is !== "whole") say(`${seen.reading.is} in the end`);
    else if (seen.reading.version !== "any" && seen.reading.version !== due)
      say(`version ${seen.reading.version} in the end, the last one is ${due}`);
  }
  return found;
}

function checkRemains(history: History, { mostMiB }: Known): Violation[] {
  const found: Violation[] = [];
  for (const event of history.events) {
    if (event.is === "leftover") found.push({ invariant: "leftovers", message: event.path });
    else if (event.is === "outside") found.push({ invariant: "roots", message: event.path });
    else if (event.is === "secret") found.push({ invariant: "secrets", message: event.where });
    else if (event.is === "died")
      found.push({ invariant: "alive", message: `${event.process}: ${event.how}` });
    else if (event.is === "memory" && event.mib > mostMiB)
      found.push({
        invariant: "memory",
        message: `${event.process}: ${event.mib} MiB, at most ${mostMiB} are due`,
      });
  }
  return found;
}

/** Violations as people read them: some of each kind, with what happened to its file and around it. */
export function report(violations: readonly Violation[], history: History, most = 2): string {
  const kinds = Map.groupBy(violations, ({ invariant }) => invariant);
  const parts = [...kinds].flatMap(([invariant, all]) => {
    const shown = all.slice(0, most).map(({ message, name }) => {
      const head = `✗ ${invariant} (${INVARIANTS[invariant]})\n  ${name ? `${name}: ` : ""}${message}`;
      return name ? `${head}\n${history.story(name)}` : head;
    });
    return all.length > most ? [...shown, `and ${all.length - most} more of ${invariant}`] : shown;
  });
  return parts.join("\n\n");
}

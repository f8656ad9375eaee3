import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Reading } from "./versioned-content.js";
import type { Answered } from "./versioned-origin.js";

/** What `drover status --json` tells of a run, and what its bitmaps in Redis hold. */
export interface RunFacts {
  /** `lost`: Redis knows nothing of it. */
  readonly state: string;
  readonly counts: Readonly<Record<string, number>>;
  /** What did not succeed. */
  readonly failures: readonly { readonly name: string; readonly class: string; readonly message: string }[];
  /** Indexes of the files that are set in each bitmap. */
  readonly bitmaps: Readonly<Record<string, readonly number[]>>;
}

export type Happening =
  /** The origin has a new version from now on. Version 1 is there from the start. */
  | { is: "published"; name: string; version: number }
  | ({ is: "get" } & Answered)
  /** Written down before the command is started. */
  | { is: "submitted"; run: string; names: readonly string[] }
  /** Drover has told the run's id. */
  | { is: "named"; run: string; id: string }
  /** `again`: resume, or one more try of a command that was refused. */
  | { is: "again"; run: string; command: string; why: string }
  /** A line of `--json`. */
  | {
      is: "outcome";
      run: string;
      /** Which of the run's commands it came from. */
      attempt: number;
      name: string;
      outcome: string;
      class?: string | undefined;
    }
  /** The command ended by itself. `whole`: it was to tell of all files. */
  | { is: "ended"; run: string; attempt: number; code: number | null; whole: boolean }
  | { is: "killed"; run: string }
  | { is: "status"; run: string; facts: RunFacts }
  /** A fault. `forgets`: Redis lost what it had acknowledged. */
  | { is: "action"; what: string; detail: string; forgets?: boolean }
  /** A destination was read, from `fromMs` to the time of the event. */
  | { is: "seen"; name: string; fromMs: number; reading: Reading }
  /** Faults and new versions are over. */
  | { is: "quiet" }
  /** Found at the end. */
  | { is: "leftover"; path: string }
  | { is: "outside"; path: string }
  | { is: "secret"; where: string }
  | { is: "memory"; process: string; mib: number }
  | { is: "died"; process: string; how: string };

/** What happened, and when: milliseconds since the start. */
export type Event = Happening & { readonly atMs: number };

/** How many milliseconds before and after are shown around an event. */
const AROUND_MS = 1_500;

/** Everything that happened in one play, in order. */
export class History {
  readonly events: Event[] = [];
  readonly #started = performance.now();

  /** @param told hears of each event at once. */
  constructor(private readonly told: (event: Event) => void = () => {}) {}

  nowMs(): number {
    return Math.round((performance.now() - this.#started) * 10) / 10;
  }

  add(happening: Happening): void {
    const event = { atMs: this.nowMs(), ...happening };
    this.events.push(event);
    this.told(event);
  }

  of<K extends Event["is"]>(...kinds: K[]): Extract<Event, { is: K }>[] {
    return this.events.filter((event): event is Extract<Event, { is: K }> =>
      (kinds as string[]).includes(event.is),
    );
  }

  /** The events of a file, with the faults around each of them: what one wants to read first. */
  story(name: string): string {
    const runs = new Set(
      this.of("submitted").flatMap((event) => (event.names.includes(name) ? [event.run] : [])),
    );
    const own = this.events.filter((event) =>
      "name" in event ? event.name === name : "run" in event && runs.has(event.run),
    );
    const near = (event: Event) => own.some(({ atMs }) => Math.abs(atMs - event.atMs) < AROUND_MS);
    return this.events
      .filter((event) => own.includes(event) || (event.is === "action" && near(event)))
      .map(showEvent)
      .join("\n");
  }

  /** Writes it down for people and programs. */
  save(directory: string): void {
    mkdirSync(directory, { recursive: true });
    writeFileSync(
      join(directory, "history.ndjson"),
      this.events.map((event) => `${JSON.stringify(event)}\n`).join(""),
    );
  }
}

/** An event as one line. */
export function showEvent(event: Event): string {
  const { atMs, is, ...rest } = event;
  const short = { ...rest } as Record<string, unknown>;
  if ("names" in short) short.names = `${(short.names as string[]).length} files`;
  if (event.is === "status") {
    const { state, counts, failures } = event.facts;
    short.facts = { state, counts, failures: failures.length };
  }
  const text = Object.entries(short).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${typeof value === "string" ? value : JSON.stringify(value)}`],
  );
  return `${(atMs / 1000).toFixed(3).padStart(9)}  ${is.padEnd(9)}  ${text.join("  ")}`;
}

import type { FakeS3 } from "./fake-s3.js";

/** A small generator of random numbers (mulberry32), so that a seed plays the same history. */
export function randomOf(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % most;
  };
}

/** Keys of every kind that are written, removed and renamed. */
const KEYS = [
  ...["a", "b", "c", "dir/a", "dir/b", "dir/deep/c", "d/e/f/g", "=sum", "with space", 'ü,"q"', "%2B+#?"],
  ...["\u{1f600}/é", "-dash", ".dot", "a;b&c=d"],
];
/** Keys whose permissions are asked for by events. No event of theirs is dropped, and none renames them. */
const ASKED = ["asked/a", "asked/b"];
const MODES = ["100640", "100600", "100644", "100755"];

/** What a file manager is to have of one object. */
export interface ExpectedFile {
  content: string;
  mode: string;
  owner?: string;
  grants?: string;
}

/** A random history of one bucket. */
export class History {
  /** Every version has a second of its own, since versions are told apart by that. */
  #modifiedMs = Date.now() - 86_400_000;
  #timeMs = Date.now() - 3_600_000;
  readonly #asked = new Map<string, { mode: string; owner: string; grants: string }>();

  /** @param event makes an event of a type, data and time (Unix ms). */
  constructor(
    private readonly s3: FakeS3,
    private readonly random: (most: number) => number,
    private readonly event: (type: string, data: Record<string, unknown>, timeMs: number) => string,
  ) {
    this.#put("always", "there"); // an empty listing removes nothing
  }

  /** Edits the bucket so many times. @returns the events that tell of it, perhaps dropped, twice, and in another order. */
  play(steps: number, drops: boolean): string[] {
    const { random } = this;
    const told: string[] = [];
    for (let step = 0; step < steps; step++) {
      for (const { text, isNeeded } of this.#edit()) {
        if (drops && !isNeeded && random(3) === 0) continue;
        told.push(text);
        if (random(4) === 0) told.push(text);
      }
    }
    for (let at = told.length - 1; at > 0; at--) {
      const other = random(at + 1);
      [told[at], told[other]] = [told[other] as string, told[at] as string];
    }
    return told;
  }

  #edit(): { text: string; isNeeded?: true }[] {
    const { random, s3 } = this;
    const timeMs = ++this.#timeMs;
    const tell = (type: string, data: Record<string, unknown>) => ({ text: this.event(type, data, timeMs) });
    const key = KEYS[random(KEYS.length)] as string;
    const other = KEYS[random(KEYS.length)] as string;
    const there = s3.stored(key);
    switch (random(8)) {
      case 0:
        s3.remove(key);
        return [tell("delete", { key })];
      case 1:
      case 2:
      case 3: {
        if (!there || other === key) return [];
        this.#put(other, String(there.content), random(4) > 0 ? there.headers : undefined);
        if (random(8) === 0) return [tell("move", { from: key, to: other })]; // it was a copy
        s3.remove(key);
        return [tell(random(2) === 0 ? "rename" : "move", { from: key, to: other })];
      }
      case 4: {
        const asked = ASKED[random(ASKED.length)] as string;
        const mode = ["0600", "0640", "0755"][random(3)] as string;
        const grants = [{ grantee: `g${random(3)}`, permission: "READ" }];
        const owner = `o${random(3)}`;
        this.#asked.set(asked, { mode, owner, grants: JSON.stringify(grants) });
        if (random(2) === 0 || !s3.stored(asked)) this.#put(asked, `asked ${random(1_000_000)}`);
        return [{ ...tell("change_permission", { path: asked, mode, owner, grants }), isNeeded: true }];
      }
      case 5:
        if (!there) return [tell("delete", { key: "never" })];
        this.#put(key, String(there.content)); // perhaps another mode
        return [tell("create", { key })];
      default:
        this.#put(key, `content ${random(5)}`);
        return [tell("create", { key })];
    }
  }

  #put(key: string, content: string, headers?: Record<string, string>): void {
    const mode = MODES[this.random(MODES.length)] as string;
    this.#modifiedMs += 1_000;
    this.s3.put(key, content, headers ?? { "x-amz-meta-mode": mode }, new Date(this.#modifiedMs));
  }

  /** What is to be there, by path. */
  expected(): Record<string, ExpectedFile> {
    return Object.fromEntries(
      this.s3.keys.map((key) => {
        const { content, headers } = this.s3.stored(key) as NonNullable<ReturnType<FakeS3["stored"]>>;
        const mode = `0${(headers["x-amz-meta-mode"] as string).slice(-3)}`;
        return [key, { content: String(content), mode, ...this.#asked.get(key) }];
      }),
    );
  }
}

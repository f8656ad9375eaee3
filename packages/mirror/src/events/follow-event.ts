import { isLive, type LastEvent, type WantedEntry } from "../state/entry.js";
import type { MirrorEvent } from "./event.js";

/** An event whose keys are names below the destination; undefined stands for a key that is not of the mirror. */
export type NamedEvent =
  | { event: MirrorEvent; at: string | undefined }
  | { event: MirrorEvent; from: string | undefined; to: string | undefined };

export interface Followed {
  /** `ignored`: nothing of it is of this mirror. `superseded`: an event that happened later was there before. */
  is: "applied" | "superseded" | "ignored";
  entries: Map<string, WantedEntry>;
  /** Paths whose applied state may differ now. */
  pending: string[];
}

/** What is known of paths when an event is followed. */
export interface Known {
  /** What is wanted. */
  at(path: string): WantedEntry | undefined;
  /** SHA-256 of what is applied, if it is of this version; "" where it is not known. */
  sumOf(path: string, version: string): string;
  /** Number of the present listing. */
  listing: number;
}

/**
 * What an event makes of the wanted state. It is a hint: the object is looked at before anything is done at the destination.
 *
 * @param timeMs when it happened (Unix ms).
 */
export function followEvent(named: NamedEvent, timeMs: number, known: Known): Followed {
  const { event } = named;
  const last: LastEvent = { id: event.id, timeMs };
  const following = new Following(last, known);
  if ("at" in named) {
    if (named.at !== undefined) following.change(named.at, (old) => changed(event, old, following.blank()));
    return following.end();
  }
  const { from, to } = named;
  const moved = from === undefined ? undefined : known.at(from);
  const sum = from !== undefined && isLive(moved) ? moved.sha256 || known.sumOf(from, moved.version) : "";
  if (from !== undefined) following.change(from, () => ({ ...following.blank(), isGone: true }));
  if (to !== undefined)
    following.change(to, () => ({
      ...following.blank(),
      ...(isLive(moved) ? kept(moved) : {}),
      ...(isLive(moved) ? { sizeBytes: moved.sizeBytes, sha256: sum } : {}),
      ...given(event),
      ...movedFrom(from, to, moved),
    }));
  return following.end();
}

/**
 * Where a file is that was renamed. One that was renamed before, and not looked at since, is where it was before that.
 */
function movedFrom(
  from: string | undefined,
  to: string,
  moved: WantedEntry | undefined,
): Pick<WantedEntry, "movedFrom"> {
  const isUnseen = isLive(moved) && moved.version.startsWith("u");
  const origin = isUnseen ? (moved.movedFrom ?? from) : from;
  return origin === undefined || origin === to ? {} : { movedFrom: origin };
}

class Following {
  readonly #entries = new Map<string, WantedEntry>();
  #superseded = 0;

  constructor(
    private readonly last: LastEvent,
    private readonly known: Known,
  ) {}

  /** An entry of which the event alone is known. */
  blank(): WantedEntry {
    const { last, known } = this;
    return {
      isGone: false,
      sizeBytes: 0,
      mtimeMs: Math.floor(last.timeMs / 1000) * 1000,
      version: `u${last.id}`,
      sha256: "",
      event: last,
      listing: known.listing,
    };
  }

  change(path: string, make: (old: WantedEntry | undefined) => WantedEntry): void {
    const old = this.known.at(path);
    if (old?.event !== undefined && old.event.timeMs > this.last.timeMs) this.#superseded++;
    else this.#entries.set(path, make(old));
  }

  end(): Followed {
    const entries = this.#entries;
    const is = entries.size > 0 ? "applied" : this.#superseded > 0 ? "superseded" : "ignored";
    return { is, entries, pending: [...entries.keys()] };
  }
}

function changed(event: MirrorEvent, old: WantedEntry | undefined, blank: WantedEntry): WantedEntry {
  switch (event.type) {
    case "delete":
      return { ...blank, isGone: true };
    case "change_permission": {
      if (!isLive(old)) return { ...blank, ...given(event) };
      const { event: last, listing } = blank;
      return { ...old, ...given(event), ...(last ? { event: last } : {}), listing };
    }
    default:
      return {
        ...blank,
        ...(isLive(old) ? { ...kept(old), sizeBytes: old.sizeBytes } : {}),
        ...given(event),
      };
  }
}

/** The permissions that earlier events asked for. */
function kept({ mode, owner, grants }: WantedEntry): Partial<WantedEntry> {
  return {
    ...(mode === undefined ? {} : { mode }),
    ...(owner === undefined ? {} : { owner }),
    ...(grants === undefined ? {} : { grants }),
  };
}

/** What an event says of its file. */
function given({ size, sha256, mode, owner, grants }: MirrorEvent): Partial<WantedEntry> {
  return {
    ...(size === undefined ? {} : { sizeBytes: size }),
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(mode === undefined ? {} : { mode }),
    ...(owner === undefined ? {} : { owner }),
    ...(grants === undefined ? {} : { grants }),
  };
}

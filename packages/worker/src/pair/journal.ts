import { shortHash } from "@drover/shared/ids";
import { type Ancestor, decodeAncestor } from "@drover/shared/pair/ancestor";
import { type CarriedOut, carriedOut } from "@drover/shared/pair/carried-out";
import type { Side } from "@drover/shared/pair/decide";
import type { Look } from "@drover/shared/pair/side";
import type { UndoEntry } from "@drover/shared/pair/store";
import type { Attempt } from "../attempt/attempt.js";
import type { Destination } from "../destinations/destination.js";
import type { PairContext } from "./pair-context.js";

/** A write that is about to be noted. */
export interface NotedWrite {
  to: Side;
  name: string;
  /** What it replaces. */
  over: Look;
  /** Whether that is kept. */
  keeps: boolean;
  isCopy: boolean;
}

/** What writes to a side, and where what it replaces is kept. */
interface Place {
  destination: Destination;
  /** "" for nowhere. */
  backup: string;
  /** Id of the version, where its own bucket keeps it. */
  version?: string;
}

/**
 * What the attempts of one run noted of one path before they wrote. A later attempt may find that an earlier one did its work
 * and was not heard any more; and it never replaces what that one has kept.
 */
export class Journal {
  readonly #known = new Map<string, UndoEntry | undefined>();
  /** What an earlier attempt wrote, by side. */
  readonly #carriedOut = new Map<Side, CarriedOut>();
  readonly #isRepeated: boolean;

  constructor(
    private readonly attempt: Attempt,
    private readonly pair: PairContext,
  ) {
    this.#isRepeated = attempt.admitted.predecessors.length > 0 || attempt.delivery.attempt > 1;
  }

  /**
   * @param on sides that this attempt may write.
   * @returns what an earlier attempt of this run brought about; undefined where none did, or that cannot be told.
   */
  async takeUp(name: string, on: readonly Side[] = ["local", "remote"]): Promise<CarriedOut | undefined> {
    if (!this.#isRepeated) return undefined;
    const noted = decodeAncestor(this.attempt.admitted.catalog);
    for (const side of on) {
      const entry = await this.#entry(side, name);
      const found = entry && (await carriedOut(entry, noted, this.pair.sides, this.attempt.lease.signal));
      if (!found) continue;
      this.#carriedOut.set(side, found);
      return found;
    }
    return undefined;
  }

  /**
   * Chooses where the version that is replaced is kept: where no other version of the path is.
   *
   * @throws TransferError class `changed` where the bucket keeps it, and it is another one by now.
   */
  async place({ to, name, over, keeps }: Omit<NotedWrite, "isCopy">): Promise<Place> {
    const end = this.pair.ends[to];
    if (!keeps || over.is !== "file") return { destination: keeps ? end.keeping : end.plain, backup: "" };
    const { sides, spec } = this.pair;
    const versions = to === "remote" && spec.versioned ? sides.remote.versions : undefined;
    if (versions) {
      const version = await versions.idOf(name, over, this.attempt.lease.signal);
      const backup = `${sides.remote.location(name)}?versionId=${version}`;
      return { destination: end.plain, backup, version };
    }
    const earlier = await this.#entry(to, name);
    const backup = end.kept(name);
    const isTaken = earlier !== undefined && keptBy(earlier).includes(backup);
    const isSame = earlier?.backup === backup && earlier.former === over.stamp;
    if (!isTaken || isSame) return { destination: end.keeping, backup };
    const again = end.again(shortHash(over.stamp));
    return { destination: again.keeping, backup: again.kept(name) };
  }

  /**
   * Notes what is about to be written, so that it can be taken back, and recognized after a crash.
   *
   * @param place where what is replaced will be kept.
   * @param sha256 of what will be there, hexadecimal; "" where it is deleted.
   */
  async note(
    { to, name, over, isCopy }: NotedWrite,
    { backup, version }: Place,
    sha256: string,
  ): Promise<void> {
    const { context, admitted } = this.attempt;
    const earlier = await this.#entry(to, name);
    const stamp = over.is === "file" ? over.stamp : "";
    // What this run has written itself is not what was there before it.
    const isOwn = earlier !== undefined && this.#carriedOut.get(to)?.stamp === stamp;
    const first = isOwn ? earlier : { former: stamp, backup, version };
    const kept = earlier === undefined ? [] : [...keptBy(earlier), backup];
    const more = [...new Set(kept)].filter((each) => each !== "" && each !== first.backup);
    const entry: UndoEntry = {
      name,
      side: to,
      sha256,
      before: isCopy ? "" : admitted.catalog.toString("base64"),
      former: first.former,
      backup: first.backup,
      ...(first.version === undefined ? {} : { version: first.version }),
      ...(isCopy ? { copy: 1 } : {}),
      ...(more.length > 0 ? { more } : {}),
    };
    await this.pair.store.intend(context.runId, entry);
    this.#known.set(`${to}/${name}`, entry);
  }

  async #entry(side: Side, name: string): Promise<UndoEntry | undefined> {
    const key = `${side}/${name}`;
    if (this.#isRepeated && !this.#known.has(key))
      this.#known.set(key, await this.pair.store.intended(this.attempt.context.runId, side, name));
    return this.#known.get(key);
  }
}

function keptBy({ backup, more = [] }: UndoEntry): string[] {
  return [backup, ...more];
}

/** The ancestor by which a path is decided on. */
export function ancestorBy(attempt: Attempt, found: CarriedOut | undefined): Ancestor | undefined {
  return found ? found.ancestor : decodeAncestor(attempt.admitted.catalog);
}

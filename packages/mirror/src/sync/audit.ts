import type { CatalogEntry } from "@drover/shared/protocol/catalog-entry";
import { type MirrorContext, sourceIdOf } from "../context.js";
import { asksOtherPermissions } from "../state/asked-permissions.js";
import { isLive, type WantedEntry } from "../state/entry.js";
import type { Holding } from "../state/holding.js";
import { pairs } from "../state/pairs.js";
import type { Listing } from "./listing.js";

/** What nobody wants any more is remembered for this time, in ms, to tell events that come late. */
const GONE_FOR_MS = 7 * 86_400_000;
/** Paths in one change. */
const BATCH = 1_000;

/** How wanted and applied state differ. */
export interface Audited {
  /** Files that are wanted otherwise than they are applied. */
  copies: number;
  /** Files that are applied and not wanted. */
  removals: number;
  /** Why no removal was begun; "" if they were, or there are none. */
  refused: string;
}

/**
 * Compares wanted and applied state after a complete listing: what differs is pending. What the listing did not see is wanted
 * no more, unless it saw nothing at all, or that would be more than the mirror's limit.
 *
 * @param marksCopies whether copies become pending, too.
 */
export async function audit(
  context: MirrorContext,
  holding: Holding,
  listing: Listing,
  marksCopies: boolean,
): Promise<Audited> {
  const audited: Audited = { copies: 0, removals: 0, refused: "" };
  let records = 0;
  const nowMs = Date.now();
  const copies = new Marking(context, holding);
  for await (const { path, wanted, applied } of pairs(context)) {
    holding.signal.throwIfAborted();
    if (isLive(wanted)) records++;
    const isSeen = wanted !== undefined && wanted.listing >= listing.number;
    if (isLive(wanted) && isSeen) {
      if (applied?.version === wanted.version && !asksOtherPermissions(wanted, applied)) continue;
      audited.copies++;
      if (marksCopies) await copies.add(path, wanted, false);
    } else if (isLive(wanted) || isOurs(context, path, applied)) audited.removals++;
    else if (wanted !== undefined && (wanted.event?.timeMs ?? 0) < nowMs - GONE_FOR_MS)
      await copies.forget(path);
  }
  await copies.end();
  if (audited.removals === 0) return audited;
  const { most } = context.config;
  const limit = "files" in most ? most.files : Math.floor((records * most.percent) / 100);
  if (listing.seen === 0) audited.refused = "the listing of the source is empty";
  else if (audited.removals > limit)
    audited.refused = `${audited.removals} files would be removed, and max-delete allows ${limit}`;
  if (audited.refused !== "") return audited;
  const removals = new Marking(context, holding);
  for await (const { path, wanted, applied } of pairs(context)) {
    if (isLive(wanted) && wanted.listing >= listing.number) continue;
    if (isLive(wanted))
      await removals.add(path, { ...wanted, isGone: true, version: "", sizeBytes: 0 }, true);
    else if (isOurs(context, path, applied)) await removals.add(path, wanted, false);
  }
  await removals.end();
  return audited;
}

function isOurs(context: MirrorContext, path: string, applied: CatalogEntry | undefined): boolean {
  return applied !== undefined && applied.source === sourceIdOf(context, path);
}

/** Makes paths pending, many in one step. */
class Marking {
  #entries = new Map<string, WantedEntry | undefined>();
  #pending: string[] = [];

  constructor(
    private readonly context: MirrorContext,
    private readonly holding: Holding,
  ) {}

  async add(path: string, wanted: WantedEntry | undefined, isChanged: boolean): Promise<void> {
    if (isChanged) this.#entries.set(path, wanted);
    this.#pending.push(path);
    if (this.#pending.length >= BATCH) await this.end();
  }

  async forget(path: string): Promise<void> {
    this.#entries.set(path, undefined);
    if (this.#entries.size >= BATCH) await this.end();
  }

  async end(): Promise<void> {
    const [entries, pending] = [this.#entries, this.#pending];
    this.#entries = new Map();
    this.#pending = [];
    if (entries.size + pending.length === 0) return;
    await this.context.state.change(this.holding.fence, { entries, pending });
  }
}

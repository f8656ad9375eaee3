import { messageOf, TransferError } from "@drover/shared/errors";
import { failpoint } from "@drover/shared/failpoint";
import { redactText } from "@drover/shared/redact";
import { destinationOf } from "@drover/shared/storage/registry";
import type { Listed } from "@drover/shared/storage/storage";
import { type MirrorContext, withLister } from "../context.js";
import { isLive, type WantedEntry } from "../state/entry.js";
import type { Holding } from "../state/holding.js";

const PAGE = 1_000;
/** A listing that broke off is gone on with for this time, in ms. */
const RESUMABLE_MS = 86_400_000;

/** A complete listing of the source. */
export interface Listing {
  number: number;
  /** Objects that it saw. */
  seen: number;
  /** Objects whose names no file of the destination can have. */
  refused: number;
  /** Objects that no event had told of, or not of this version. */
  missed: number;
  /** When the oldest of those was modified (Unix ms); undefined for none. */
  oldestMs: number | undefined;
}

/**
 * Lists the source into the wanted state, from where an earlier listing broke off.
 *
 * @throws TransferError if it cannot be listed to its end; MirrorLostError.
 */
export async function listSource(context: MirrorContext, holding: Holding): Promise<Listing> {
  const { state } = context;
  const fields = await state.fields();
  const resumes =
    (fields.listingState === "running" || fields.listingState === "failed") &&
    Date.now() < Number(fields.listingMs ?? 0) + RESUMABLE_MS;
  const before = Number(fields.listing ?? 0);
  const listing: Listing = resumes
    ? {
        number: before,
        seen: Number(fields.listingSeen ?? 0),
        refused: Number(fields.listingRefused ?? 0),
        missed: Number(fields.listingMissed ?? 0),
        oldestMs: Number(fields.listingOldestMs) || undefined,
      }
    : { number: before + 1, seen: 0, refused: 0, missed: 0, oldestMs: undefined };
  const after = resumes ? fields.listingCursor || undefined : undefined;
  if (!resumes)
    await state.change(holding.fence, {
      fields: {
        ...{ listing: listing.number, listingState: "running", listingMs: Date.now(), listingCursor: "" },
        ...countsOf(listing),
      },
    });
  else if (after !== undefined) context.tell(`the listing goes on behind ${after}`);
  try {
    await withLister(context, holding.signal, async (lister, location) => {
      let page: Extract<Listed, { is: "file" }>[] = [];
      for await (const each of lister.list(location, { wanted: () => true, after })) {
        if (each.is === "failed") listing.refused++;
        if (each.is === "file") page.push(each);
        if (page.length < PAGE) continue;
        await keepPage(context, holding, page, listing);
        page = [];
      }
      await keepPage(context, holding, page, listing);
    });
  } catch (error) {
    if (holding.signal.aborted || !(error instanceof TransferError)) throw error;
    const why = redactText(messageOf(error));
    await state.change(holding.fence, { fields: { listingState: "failed", listingError: why } });
    throw error;
  }
  await state.change(holding.fence, {
    fields: { listingState: "complete", listingEndMs: Date.now(), listingCursor: "", ...countsOf(listing) },
  });
  failpoint("mirror-listed");
  return listing;
}

function countsOf({ seen, refused, missed, oldestMs }: Listing) {
  return {
    ...{ listingSeen: seen, listingRefused: refused, listingMissed: missed },
    listingOldestMs: oldestMs ?? 0,
  };
}

async function keepPage(
  { state, config, warn }: MirrorContext,
  { fence }: Holding,
  page: Extract<Listed, { is: "file" }>[],
  listing: Listing,
): Promise<void> {
  const { checkName } = destinationOf(config.root);
  const good = page.filter(({ name, location }) => {
    try {
      checkName(name);
      return true;
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      listing.refused++;
      warn(`${location} is left out: ${error.message}`);
      return false;
    }
  });
  const olds = await state.lookUp(good.map(({ name }) => name));
  const entries = new Map<string, WantedEntry>();
  const touched: string[] = [];
  good.forEach(({ name, sizeBytes, mtimeMs, version = "" }, at) => {
    const old = olds[at];
    listing.seen++;
    if (isLive(old) && old.version === version && old.sizeBytes === sizeBytes) {
      entries.set(name, { ...old, listing: listing.number });
      return;
    }
    const { mode, owner, grants, event, movedFrom } = old ?? {};
    entries.set(name, {
      ...{ isGone: false, sizeBytes, mtimeMs, version, sha256: "", listing: listing.number },
      ...(isLive(old) && mode !== undefined ? { mode } : {}),
      ...(isLive(old) && owner !== undefined ? { owner } : {}),
      ...(isLive(old) && grants !== undefined ? { grants } : {}),
      ...(event === undefined ? {} : { event }),
      ...(isLive(old) && movedFrom !== undefined ? { movedFrom } : {}),
    });
    touched.push(name);
    // An event told of a version that nobody has seen yet: that is this one.
    if (isLive(old) && old.version.startsWith("u")) return;
    listing.missed++;
    listing.oldestMs = Math.min(listing.oldestMs ?? mtimeMs, mtimeMs);
  });
  const cursor = page.at(-1)?.mark;
  await state.change(fence, {
    entries,
    touched,
    touches: false,
    fields: { ...(cursor === undefined ? {} : { listingCursor: cursor }), ...countsOf(listing) },
  });
}

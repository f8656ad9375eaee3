import { TransferError } from "@drover/shared/errors";
import { STAGING_NAME } from "@drover/shared/paths";
import { destinationOf } from "@drover/shared/storage/registry";
import type { MirrorContext } from "../context.js";
import type { WantedEntry } from "../state/entry.js";
import type { Holding } from "../state/holding.js";
import { EventError, jsonOf, type MirrorEvent, parseEvent } from "./event.js";
import { msOfId, type StreamedEvent } from "./event-stream.js";
import { followEvent, type NamedEvent } from "./follow-event.js";

const BATCH = 500;
/** A time that is further ahead of the clock of Redis than this, in ms, is taken for the time of receipt. */
const MOST_AHEAD_MS = 60_000;

/** What became of the events of one replay. */
export interface Replayed {
  /** All that were taken. */
  processed: number;
  applied: number;
  /** An event of the same path that happened later was there before. */
  superseded: number;
  /** Their ids were acknowledged before. */
  duplicate: number;
  /** They are of nothing in the mirror. */
  ignored: number;
  /** They went to the dead letters. */
  dead: number;
  /** When the oldest that was applied happened (Unix ms); undefined for none. */
  oldestMs: number | undefined;
}

/** An event that was read, or why it cannot be followed. */
interface Taken {
  streamed: StreamedEvent;
  named?: NamedEvent;
  letter?: { why: string; body: string };
}

/**
 * Follows all events that wait: each changes the wanted state at most once, and what it changes is pending in the same step.
 *
 * @throws MirrorLostError if another sync has the mirror.
 */
export async function replayEvents(context: MirrorContext, holding: Holding): Promise<Replayed> {
  const { state, stream } = context;
  const replayed: Replayed = {
    ...{ processed: 0, applied: 0, superseded: 0, duplicate: 0, ignored: 0, dead: 0 },
    oldestMs: undefined,
  };
  let after = "0";
  for (;;) {
    holding.signal.throwIfAborted();
    await state.turnIds(holding.fence);
    const events = await stream.read(after, BATCH);
    if (events.length === 0 && after === "") return replayed;
    if (events.length > 0) await replayBatch(context, holding, events, replayed);
    // Those that a sync took which died come first; what is done with is in no list any more.
    after = events.length > 0 && after !== "" ? (events.at(-1) as StreamedEvent).id : "";
  }
}

async function replayBatch(
  context: MirrorContext,
  { fence }: Holding,
  events: StreamedEvent[],
  replayed: Replayed,
): Promise<void> {
  const { state, stream, catalog, tree } = context;
  const taken = events.map((each) => take(context, each));
  const named = taken.map((each) => each.named).filter((each) => each !== undefined);
  const known = await state.known(named.map(({ event }) => event.id));
  const done = new Set(named.filter((_, at) => known[at]).map(({ event }) => event.id));
  const paths = [...new Set(named.flatMap(pathsOf))];
  const entries = new Map<string, WantedEntry | undefined>();
  for (const [at, entry] of (await state.lookUp(paths)).entries()) entries.set(paths[at] as string, entry);
  const moved = [
    ...new Set(named.flatMap((each) => ("from" in each && each.from !== undefined ? [each.from] : []))),
  ];
  const applied = new Map((await catalog.lookUp(tree.id, moved)).map((entry, at) => [moved[at], entry]));
  const listing = Number((await state.fields()).listing ?? 0);
  const changed = new Map<string, WantedEntry>();
  const pending = new Set<string>();
  const at = (path: string) => entries.get(path);
  const sumOf = (path: string, version: string) => {
    const entry = applied.get(path);
    return entry?.version === version ? entry.sha256 : "";
  };
  const ids: string[] = [];
  for (const { streamed, named: each } of taken) {
    if (!each) continue;
    const { id } = each.event;
    if (done.has(id)) {
      replayed.duplicate++;
      continue;
    }
    done.add(id);
    ids.push(id);
    const receivedMs = msOfId(streamed.id);
    const saidMs = each.event.timeMs ?? receivedMs;
    const timeMs = saidMs > receivedMs + MOST_AHEAD_MS ? receivedMs : saidMs;
    const followed = followEvent(each, timeMs, { at, sumOf, listing });
    replayed[followed.is]++;
    if (followed.is === "applied") replayed.oldestMs = Math.min(replayed.oldestMs ?? timeMs, timeMs);
    for (const [path, entry] of followed.entries) {
      entries.set(path, entry);
      changed.set(path, entry);
    }
    for (const path of followed.pending) pending.add(path);
  }
  const letters = taken.map(({ letter }) => letter).filter((each) => each !== undefined);
  await stream.bury(letters);
  await state.change(fence, {
    ids,
    entries: changed,
    pending,
    taken: events.map(({ id }) => id),
  });
  replayed.processed += events.length;
  replayed.dead += letters.length;
}

function pathsOf(named: NamedEvent): string[] {
  const paths = "at" in named ? [named.at] : [named.from, named.to];
  return paths.filter((path) => path !== undefined);
}

function take({ config }: MirrorContext, streamed: StreamedEvent): Taken {
  const { id, event } = streamed;
  if (event === undefined) return { streamed };
  try {
    const read = parseEvent(typeof event === "string" ? jsonOf(event) : event, id);
    return { streamed, named: namedOf(config, read) };
  } catch (error) {
    if (!(error instanceof EventError) && !(error instanceof TransferError)) throw error;
    const body = typeof event === "string" ? event : JSON.stringify(event);
    return { streamed, letter: { why: error.message, body } };
  }
}

/** @throws TransferError if no file of the destination can have the name of a key. */
function namedOf(mirror: { prefix: string; root: string }, event: MirrorEvent): NamedEvent {
  const { checkName } = destinationOf(mirror.root);
  const nameOf = (key: string): string | undefined => {
    if (!key.isWellFormed()) throw new EventError(`the key ${JSON.stringify(key)} is not valid Unicode`);
    if (!key.startsWith(mirror.prefix) || key.endsWith("/")) return undefined;
    const name = key.slice(mirror.prefix.length);
    if (STAGING_NAME.test(name.slice(name.lastIndexOf("/") + 1))) return undefined;
    checkName(name);
    return name;
  };
  return "key" in event
    ? { event, at: nameOf(event.key) }
    : { event, from: nameOf(event.from), to: nameOf(event.to) };
}

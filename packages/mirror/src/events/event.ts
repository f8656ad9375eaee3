import { messageOf } from "@drover/shared/errors";
import { z } from "zod";

/** What can happen to a file of the source. */
export const EVENT_TYPES = ["create", "delete", "change_permission", "rename", "move"] as const;
export type EventType = (typeof EVENT_TYPES)[number];
/** Types as CloudEvents has them: this, and one of {@link EVENT_TYPES}. */
export const TYPE_PREFIX = "drover.mirror.";

const MOST_PATH = 1_024;
const key = z.string().min(1).max(MOST_PATH);
const mode = z.union([
  z.string().regex(/^0?[0-7]{3}$/, "must be permission bits in octal, such as 0644"),
  z
    .int()
    .min(0)
    .max(0o777)
    .transform((value) => value.toString(8)),
]);

/** What an event says of its file. Keys are those of the bucket. */
const dataSchema = z.object({
  /** Key of the object; for a rename or move its new one may stand here. */
  key: key.optional(),
  /** Another name of `key`. */
  path: key.optional(),
  /** Keys before and after a rename or move. */
  from: key.optional(),
  to: key.optional(),
  size: z.int().nonnegative().optional(),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/i, "must be 64 hexadecimal digits")
    .optional(),
  mode: mode.optional(),
  owner: z.string().max(256).optional(),
  grants: z
    .array(z.object({ grantee: z.string().max(256), permission: z.string().max(64) }))
    .max(100)
    .optional(),
});

/** An event in the envelope of CloudEvents 1.0 (structured mode, JSON). */
export const cloudEventSchema = z
  .object({
    specversion: z.literal("1.0"),
    id: z.string().min(1).max(1_024),
    source: z.string().min(1).max(1_024),
    type: z.string().max(256),
    time: z.string().max(64).optional(),
    subject: z.string().max(MOST_PATH).optional(),
    data: dataSchema.optional(),
  })
  .meta({ id: "MirrorEvent" });

/** An event that was understood. */
export type MirrorEvent = {
  /** Unique among all sources: source and id of the envelope. */
  id: string;
  /** When it happened (Unix ms); undefined where it does not say. */
  timeMs: number | undefined;
  size?: number;
  sha256?: string;
  mode?: number;
  owner?: string;
  /** Grants (JSON). */
  grants?: string;
} & (
  | { type: "create" | "delete" | "change_permission"; key: string }
  | { type: "rename" | "move"; from: string; to: string }
);

/** What is no event, or none that can be followed. */
export class EventError extends Error {
  override name = "EventError";
}

/** Names that other programs give to the fields of an event that has no envelope. */
const ALIASES: Record<string, readonly string[]> = {
  type: ["type", "event", "event_type", "operation"],
  key: ["key", "path", "file_path"],
  from: ["from", "old_path", "source_path", "old_key"],
  to: ["to", "new_path", "destination_path", "new_key"],
  mode: ["mode", "permissions"],
  time: ["time", "timestamp"],
};

/**
 * Reads an event: in the envelope of CloudEvents, or its bare fields.
 *
 * @param fallbackId of an event that has none.
 * @throws EventError saying what is wrong.
 */
export function parseEvent(value: unknown, fallbackId: string): MirrorEvent {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new EventError("it is no JSON object");
  const enveloped = "specversion" in value ? value : envelopeOf(value as Record<string, unknown>, fallbackId);
  const read = cloudEventSchema.safeParse(enveloped, { jitless: true });
  if (!read.success) {
    const [issue] = read.error.issues;
    throw new EventError(`${issue?.path.join(".") || "the event"}: ${issue?.message}`);
  }
  const { id, source, type: given, time, subject, data = {} } = read.data;
  const type = typeOf(given);
  const { size, sha256, mode, owner, grants } = data;
  const common = {
    id: `${source}\n${id}`,
    timeMs: time === undefined ? undefined : timeOf(time),
    ...(size === undefined ? {} : { size }),
    ...(sha256 === undefined ? {} : { sha256: sha256.toLowerCase() }),
    ...(mode === undefined ? {} : { mode: Number.parseInt(mode, 8) }),
    ...(owner === undefined ? {} : { owner }),
    ...(grants === undefined ? {} : { grants: JSON.stringify(grants) }),
  };
  if (type === "rename" || type === "move") {
    const { from } = data;
    const to = data.to ?? data.key ?? data.path ?? subject;
    if (from === undefined || to === undefined) throw new EventError(`a ${type} needs data.from and data.to`);
    if (from === to) throw new EventError(`it is a ${type} of ${JSON.stringify(from)} onto itself`);
    return { ...common, type, from, to };
  }
  const key = data.key ?? data.path ?? subject;
  if (key === undefined || key === "") throw new EventError("it names no key: set data.key or subject");
  if (type === "change_permission" && mode === undefined && owner === undefined && grants === undefined)
    throw new EventError("it changes no permission: set data.mode, data.owner or data.grants");
  return { ...common, type, key };
}

function typeOf(given: string): EventType {
  const bare = given.startsWith(TYPE_PREFIX) ? given.slice(TYPE_PREFIX.length) : given;
  const found = EVENT_TYPES.find((each) => each === bare);
  if (found === undefined) throw new EventError(`unknown type ${JSON.stringify(given.slice(0, 100))}`);
  return found;
}

function timeOf(text: string): number {
  const timeMs = Date.parse(text);
  if (Number.isNaN(timeMs)) throw new EventError(`time: ${JSON.stringify(text)} is no time (RFC 3339)`);
  return Math.max(timeMs, 0);
}

/** The envelope of an event that has none. */
function envelopeOf(value: Record<string, unknown>, fallbackId: string): unknown {
  const field = (name: string) =>
    (ALIASES[name] ?? [name]).map((each) => value[each]).find((each) => each !== undefined && each !== "");
  const time = field("time");
  const number = (given: unknown) =>
    typeof given === "string" && /^\d+$/.test(given) ? Number(given) : given;
  const grants = field("grants");
  const data = {
    ...{ key: field("key"), from: field("from"), to: field("to") },
    ...{ size: number(field("size")), sha256: field("sha256"), mode: field("mode"), owner: field("owner") },
    grants: typeof grants === "string" ? jsonOf(grants) : grants,
  };
  return {
    specversion: "1.0",
    id: String(field("id") ?? fallbackId),
    source: String(field("source") ?? "bare"),
    type: field("type") ?? "",
    ...(time === undefined ? {} : { time: timeText(time) }),
    data,
  };
}

/** A number is Unix time, in seconds or milliseconds. */
function timeText(given: unknown): unknown {
  const number =
    typeof given === "number" ? given : /^\d+(\.\d+)?$/.test(String(given)) ? Number(given) : Number.NaN;
  if (Number.isNaN(number)) return given;
  const timeMs = number < 1e11 ? number * 1000 : number;
  return timeMs <= 8.64e15 ? new Date(timeMs).toISOString() : given;
}

/** Parses JSON. @throws EventError */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new EventError(`it is not JSON: ${messageOf(error)}`);
  }
}

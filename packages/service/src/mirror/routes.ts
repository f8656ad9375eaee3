import { type DeadLetter, EventStream, msOfId } from "@drover/mirror/events/event-stream";
import { mirrorStatusSchema, statusOf } from "@drover/mirror/status";
import type { Engine } from "@drover/shared/engine";
import { redactText } from "@drover/shared/redact";
import { z } from "zod";
import type { DurableWrites } from "../durable-writes.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import { ByteBudget } from "../intake/byte-budget.js";

const TAG = "Mirrors";
/** Events in one request, and bodies in memory at once, in bytes. */
const MOST_EVENTS = 1_000;
const MOST_BYTES_AT_ONCE = 32 << 20;
const MOST_LETTERS = 1_000;

const letterSchema = z
  .object({
    id: z.string(),
    received_at: z.iso.datetime(),
    why: z.string(),
    body: z.string(),
    replayable: z.boolean(),
  })
  .meta({ id: "MirrorDeadLetter" });
const paramsSchema = z.object({ name: z.string().min(1).max(64) });

/** `/api/v1/mirrors/…`: events for mirrors, and how these stand. @param names of the mirrors. */
export function mirrorRoutes(
  engine: Pick<Engine, "redis" | "keys">,
  durable: DurableWrites,
  names: readonly string[],
): Route[] {
  const budget = new ByteBudget(MOST_BYTES_AT_ONCE);
  const streamOf = (name: string) => {
    if (!names.includes(name)) throw new Problem(404, `there is no mirror ${name}`);
    return new EventStream(engine, name);
  };
  return [
    route({
      method: "post",
      path: "/api/v1/mirrors/{name}/events",
      scope: "notify",
      tag: TAG,
      summary: "Tell a mirror of changes at its source",
      description:
        "One event, or an array of at most 1,000, as CloudEvents 1.0 in structured or batched mode, or their bare fields. They are on Redis's disk when this is answered, and followed by the next sync; what cannot be followed becomes a dead letter then.",
      params: paramsSchema,
      rawBody: { description: "JSON in UTF-8.", hold: (bytes: number) => budget.hold(bytes) },
      answers: {
        202: {
          description: "They were taken.",
          schema: z.object({ accepted: z.int() }).meta({ id: "MirrorEventReceipt" }),
        },
      },
      async handle({ params: { name }, body }) {
        const stream = streamOf(name);
        const events = eventsOf(body);
        if (events.length === 0) return { status: 202, body: { accepted: 0 } };
        const isDurable = await durable.write((pipeline) => stream.addTo(pipeline, events));
        if (!isDurable)
          throw new Problem(503, "Redis does not say that it has the events on its disk: send them again");
        return { status: 202, body: { accepted: events.length } };
      },
    }),
    route({
      method: "get",
      path: "/api/v1/mirrors",
      scope: "read",
      tag: TAG,
      summary: "How all mirrors stand",
      answers: {
        200: {
          description: "Each with its last sync.",
          schema: z.object({ mirrors: z.array(mirrorStatusSchema) }).meta({ id: "MirrorList" }),
        },
      },
      async handle() {
        const mirrors = await Promise.all(names.map((name) => statusOf(engine, name, 1)));
        return { status: 200, body: { mirrors } };
      },
    }),
    route({
      method: "get",
      path: "/api/v1/mirrors/{name}",
      scope: "read",
      tag: TAG,
      summary: "How a mirror stands",
      params: paramsSchema,
      answers: { 200: { description: "With its last syncs.", schema: mirrorStatusSchema } },
      async handle({ params: { name } }) {
        streamOf(name);
        return { status: 200, body: await statusOf(engine, name) };
      },
    }),
    route({
      method: "get",
      path: "/api/v1/mirrors/{name}/dead-letters",
      scope: "read",
      tag: TAG,
      summary: "Events that could not be followed, the newest first",
      params: paramsSchema,
      query: z.object({ limit: z.coerce.number().int().min(1).max(MOST_LETTERS).default(100) }),
      answers: {
        200: {
          description: "With their reasons.",
          schema: z.object({ dead_letters: z.array(letterSchema) }).meta({ id: "MirrorDeadLetters" }),
        },
      },
      async handle({ params: { name }, query: { limit } }) {
        const letters = await streamOf(name).letters(limit);
        return { status: 200, body: { dead_letters: letters.map(shown) } };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/mirrors/{name}/dead-letters/replay",
      scope: "operate",
      tag: TAG,
      summary: "Put dead letters among the events that wait again",
      description: `One of them by its id, or all: at most ${MOST_LETTERS}, the newest first.`,
      params: paramsSchema,
      query: z.object({
        id: z
          .string()
          .regex(/^\d+-\d+$/, "must be an id as the list has it")
          .optional(),
      }),
      answers: {
        200: {
          description: "What became of them.",
          schema: z.object({ replayed: z.int(), kept: z.int() }).meta({ id: "MirrorReplayReceipt" }),
        },
      },
      async handle({ params: { name }, query: { id } }) {
        const stream = streamOf(name);
        const letters = await stream.letters(MOST_LETTERS, id);
        if (id !== undefined && letters.length === 0) throw new Problem(404, `there is no dead letter ${id}`);
        const replayed = await stream.replay(letters);
        return { status: 200, body: { replayed, kept: letters.length - replayed } };
      },
    }),
  ];
}

/** The events of a body, each as JSON. @throws Problem 422 where it is none. */
function eventsOf(body: Buffer): string[] {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new Problem(400, "the body is no JSON in UTF-8");
  }
  const events = Array.isArray(value) ? value : [value];
  if (events.length > MOST_EVENTS) throw new Problem(413, `more than ${MOST_EVENTS} events`);
  if (!events.every((each) => typeof each === "object" && each !== null && !Array.isArray(each)))
    throw new Problem(422, "an event is a JSON object, and several are an array of them");
  return events.map((each) => JSON.stringify(each));
}

function shown({ id, why, body, isWhole }: DeadLetter): z.infer<typeof letterSchema> {
  const received_at = new Date(msOfId(id)).toISOString();
  return { id, received_at, why: redactText(why), body: redactText(body), replayable: isWhole };
}

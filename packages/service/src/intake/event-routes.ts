import { redactText } from "@drover/shared/redact";
import { z } from "zod";
import { ENTRY_ID, entryCursor } from "../http/entry-id.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import { receiptSchema } from "./notification-routes.js";
import { type DeadLetter, type EventQueue, msOfId, type Tally } from "./queue.js";
import type { Reception } from "./reception.js";

const TAG = "Notifications";
const MOST_LETTERS = 100;
/** Dead letters that one request replays. */
const MOST_REPLAYED = 1_000;
/** Characters of a body that are shown. */
const MOST_SHOWN = 2_000;

const stateSchema = z
  .object({
    waiting: z.int().meta({ description: "Events that no run has been made of yet." }),
    oldest_waiting_at: z.iso.datetime().nullable(),
    accepted: z.int().meta({ description: "Events that were to be acted on, so far." }),
    ignored: z.int(),
    dead: z.int().meta({ description: "What went to the dead letters, so far." }),
    dead_letters: z.int().meta({ description: "Dead letters that are kept." }),
  })
  .meta({ id: "EventState" });
const letterSchema = z
  .object({
    id: z.string(),
    received_at: z.iso.datetime(),
    from: z.string().meta({ description: "Id of the token that sent it." }),
    why: z.string(),
    bytes: z.int().meta({ description: "Size of the body." }),
    replayable: z.boolean().meta({ description: "Whether all of the body was kept." }),
    body: z.string().meta({ description: `The first ${MOST_SHOWN} characters of the body.` }),
  })
  .meta({ id: "DeadLetter" });
const replaySchema = z
  .object({
    replayed: z.int().meta({ description: "Dead letters that are none any more." }),
    kept: z.int().meta({ description: "Dead letters that could not be understood again, or are not whole." }),
    accepted: z.int(),
    ignored: z.int(),
  })
  .meta({ id: "ReplayReceipt" });
const idSchema = z.string().regex(ENTRY_ID, "must be an id as the list has it");

/** `/api/v1/events`: how the intake of notifications stands, and its dead letters. */
export function eventRoutes(queue: EventQueue, reception: Reception): Route[] {
  return [
    route({
      method: "get",
      path: "/api/v1/events",
      scope: "read",
      tag: TAG,
      summary: "How the intake of notifications stands",
      answers: { 200: { description: "Counts of all servers.", schema: stateSchema } },
      async handle() {
        const { oldestMs, deadLetters, ...counts } = await queue.state();
        return {
          status: 200,
          body: {
            ...counts,
            oldest_waiting_at: oldestMs === undefined ? null : new Date(oldestMs).toISOString(),
            dead_letters: deadLetters,
          },
        };
      },
    }),
    route({
      method: "get",
      path: "/api/v1/events/dead-letters",
      scope: "read",
      tag: TAG,
      summary: "What could not be understood or must not be acted on, the newest first",
      query: z.object({
        limit: z.coerce.number().int().min(1).max(MOST_LETTERS).default(20),
        cursor: entryCursor,
      }),
      answers: {
        200: {
          description: "One page.",
          schema: z
            .object({ dead_letters: z.array(letterSchema), next: z.string().nullable() })
            .meta({ id: "DeadLetterPage" }),
        },
      },
      async handle({ query: { limit, cursor = "" } }) {
        const letters = await queue.letters(cursor, limit + 1);
        const page = letters.slice(0, limit);
        const next = letters.length > limit ? (page.at(-1)?.id ?? null) : null;
        return { status: 200, body: { dead_letters: page.map(shown), next } };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/events/dead-letters/{id}/replay",
      scope: "operate",
      tag: TAG,
      summary: "Take a dead letter again",
      description:
        "It stays a dead letter if it still cannot be understood. A limit of removals does not stop it a second time.",
      params: z.object({ id: idSchema }),
      answers: { 200: { description: "What became of it.", schema: receiptSchema } },
      async handle({ params: { id } }) {
        const letter = await queue.letter(id);
        if (letter === undefined) throw new Problem(404, `there is no dead letter ${id}`);
        if (!isWhole(letter))
          throw new Problem(409, "only the beginning of it was kept: it cannot be replayed");
        return { status: 200, body: { status: "accepted", ...(await reception.replay(letter)) } };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/events/dead-letters/replay",
      scope: "operate",
      tag: TAG,
      summary: "Take all dead letters again",
      description: `At most ${MOST_REPLAYED}, the newest first: those that can be understood are gone after it.`,
      answers: { 200: { description: "What became of them.", schema: replaySchema } },
      isSlow: true,
      async handle() {
        const sum = { replayed: 0, kept: 0, accepted: 0, ignored: 0 };
        let cursor = "";
        for (let at = 0; at < MOST_REPLAYED; at += MOST_LETTERS) {
          const letters = await queue.letters(cursor, MOST_LETTERS);
          for (const tally of await Promise.all(letters.map((letter) => replayed(letter, reception)))) {
            if (tally === undefined || tally.dead > 0) sum.kept++;
            else sum.replayed++;
            sum.accepted += tally?.accepted ?? 0;
            sum.ignored += tally?.ignored ?? 0;
          }
          cursor = letters.at(-1)?.id ?? "";
          if (letters.length < MOST_LETTERS) break;
        }
        return { status: 200, body: sum };
      },
    }),
  ];
}

async function replayed(letter: DeadLetter, reception: Reception): Promise<Tally | undefined> {
  return isWhole(letter) ? await reception.replay(letter) : undefined;
}

function isWhole({ body, bytes }: DeadLetter): boolean {
  return body.length === bytes;
}

function shown(letter: DeadLetter): z.infer<typeof letterSchema> {
  const { id, from, why, bytes, body } = letter;
  return {
    ...{ id, from, why, bytes },
    received_at: new Date(msOfId(id)).toISOString(),
    replayable: isWhole(letter),
    body: redactText(body.subarray(0, MOST_SHOWN * 4).toString()).slice(0, MOST_SHOWN),
  };
}

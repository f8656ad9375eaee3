import { html } from "../html.js";
import type { Page } from "../page.js";
import { pick } from "./failures.js";
import { bytes, counted, number, since } from "./format.js";
import { link, result, step, table } from "./parts.js";

/** Dead letters that one replay takes. */
const MOST_REPLAYED = 1_000;

interface EventState {
  waiting: number;
  oldest_waiting_at: string | null;
  accepted: number;
  ignored: number;
  dead: number;
  dead_letters: number;
}

interface DeadLetter {
  id: string;
  received_at: string;
  from: string;
  why: string;
  bytes: number;
  replayable: boolean;
  body: string;
}

/** Notifications of storages: how many came, and those that were not understood. */
export const eventsPage: Page = {
  path: "/events",
  title: "Events",
  isInNavigation: true,
  async render({ get, caller, query }) {
    const [state, { dead_letters: letters, next }] = (await Promise.all([
      get("/api/v1/events"),
      get("/api/v1/events/dead-letters", pick(query, ["cursor"])),
    ])) as [EventState, { dead_letters: DeadLetter[]; next: string | null }];
    const mayOperate = caller.scopes.includes("operate");
    const tile = (name: string, value: number, says: unknown) =>
      html`<div><dt>${name}</dt><dd><span class="value">${number(value)}</span><span class="says">${says as string}</span></dd></div>`;
    const received = state.accepted + state.ignored + state.dead;
    return html`<h1>Events</h1>
<dl class="numbers">
${tile("Received", received, `${number(state.accepted)} to be acted on`)}
${tile("Waiting", state.waiting, state.oldest_waiting_at === null ? "for their run" : html`the oldest came ${since(state.oldest_waiting_at)}`)}
${tile("Ignored", state.ignored, "no route takes them")}
${tile("Dead-lettered", state.dead, `${number(state.dead_letters)} kept`)}
</dl>
<section aria-labelledby="letters" data-key="letters"><h2 id="letters">Dead letters</h2>
${
  letters.length === 0
    ? html`<p class="empty">${received === 0 ? "No notification has come yet. Storages send them to /sync/s3-notification." : "None: everything was understood."}</p>`
    : table(
        "What was not understood, or must not be acted on",
        [
          { title: "Why" },
          { title: "From" },
          { title: "Size", isNumber: true },
          { title: "Came", isNumber: true },
          ...(mayOperate ? [{ title: "Action" }] : []),
        ],
        letters.map((letter) => row(letter, mayOperate)),
      )
}
${next !== null && html`<p><a href="${link("/events", { cursor: next })}">Older dead letters</a></p>`}
${mayOperate && state.dead_letters > 1 && replayAll(state.dead_letters)}</section>`;
  },
  actions: [
    {
      path: "/events/replay",
      async run({ change }) {
        const sum = (await change("POST", "/api/v1/events/dead-letters/replay")) as {
          replayed: number;
          kept: number;
          accepted: number;
        };
        return result(
          `${counted(sum.replayed, "dead letter")} replayed`,
          `${counted(sum.accepted, "event")} came of them. ${counted(sum.kept, "dead letter")} could not be understood again and stayed.`,
          AFTERWARDS,
        );
      },
    },
    {
      path: "/events/:id/replay",
      async run({ params, change }) {
        const path = `/api/v1/events/dead-letters/${encodeURIComponent(params.id as string)}/replay`;
        const { accepted, dead } = (await change("POST", path)) as { accepted: number; dead: number };
        return result(
          dead > 0 ? "It is a dead letter again" : "1 dead letter replayed",
          dead > 0
            ? "It still cannot be understood, or must not be acted on."
            : `${counted(accepted, "event")} came of it.`,
          AFTERWARDS,
        );
      },
    },
  ],
};

const AFTERWARDS: [string, string][] = [
  ["/runs?label=events", "The runs of events"],
  ["/events", "The events"],
];

function row(letter: DeadLetter, mayOperate: boolean) {
  const { id, why, from, received_at, replayable, body } = letter;
  return {
    key: id,
    cells: [
      html`${why}<details id="letter-${id}"><summary>Look at it</summary><pre tabindex="0"><code>${body}</code></pre>${body.length < letter.bytes && html`<p class="partial">This is its beginning.</p>`}</details>`,
      from,
      bytes(letter.bytes),
      since(received_at),
      ...(mayOperate
        ? [
            replayable
              ? step({
                  id: `replay-${id}`,
                  label: "Replay",
                  explains:
                    "1 dead letter is taken again, as if it came now. It stays one if it still cannot be understood.",
                  confirms: "Replay it",
                  path: `/events/${id}/replay`,
                })
              : html`<small>only its beginning was kept</small>`,
          ]
        : []),
    ],
  };
}

function replayAll(count: number) {
  const most = Math.min(count, MOST_REPLAYED);
  return step({
    id: "replay-all",
    label: `Replay all ${number(most)}`,
    explains: `${counted(most, "dead letter")}${most < count ? ", the newest," : ""} ${most === 1 ? "is" : "are"} taken again, as if they came now. Those that still cannot be understood stay.`,
    confirms: `Replay ${counted(most, "dead letter")}`,
    path: "/events/replay",
  });
}

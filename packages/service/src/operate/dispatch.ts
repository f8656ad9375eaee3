import {
  type DispatchPause,
  dispatchPause,
  pauseDispatch,
  resumeDispatch,
} from "@drover/shared/protocol/dispatch-pause";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";
import { type DailyWindow, windowText } from "../schedule/window.js";

const TAG = "Operation";

const dispatchSchema = z
  .object({
    paused: z.boolean(),
    since: z.iso.datetime().nullable(),
    by: z
      .string()
      .nullable()
      .meta({ description: "Id of the token, or `clock` outside of the window of dispatch." }),
    until: z.iso
      .datetime()
      .optional()
      .meta({ description: "When it goes on by itself: for a pause by the clock alone." }),
    window: z
      .object({ times: z.string().meta({ example: "22:00-06:00" }), time_zone: z.string() })
      .optional()
      .meta({ description: "When this server lets files be dispatched: only where SYNC_WINDOW is set." }),
  })
  .meta({ id: "Dispatch" });
const DISPATCH = { description: "Whether files are dispatched.", schema: dispatchSchema };

/** `/api/v1/dispatch`: whether files are given to the workers. */
export function dispatchRoutes({ engine: { redis, keys }, config }: ServiceContext): Route[] {
  const show = (pause: DispatchPause | undefined) => showDispatch(pause, config.window);
  return [
    route({
      method: "get",
      path: "/api/v1/dispatch",
      scope: "read",
      tag: TAG,
      summary: "Whether dispatch is paused",
      answers: { 200: DISPATCH },
      async handle() {
        return { status: 200, body: show(await dispatchPause(redis, keys)) };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/dispatch/pause",
      scope: "operate",
      tag: TAG,
      summary: "Give no more files to the workers",
      description:
        "What is in their queue already is still carried. Runs can be started, and wait. It lasts until `resume`, whatever is restarted.",
      answers: { 200: DISPATCH },
      async handle({ caller }) {
        return { status: 200, body: show(await pauseDispatch(redis, keys, caller.id)) };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/dispatch/resume",
      scope: "operate",
      tag: TAG,
      summary: "Give files to the workers again",
      description: "Outside of the window of dispatch they wait until it opens.",
      answers: { 200: DISPATCH },
      async handle() {
        await resumeDispatch(redis, keys);
        return { status: 200, body: show(await dispatchPause(redis, keys)) };
      },
    }),
  ];
}

function showDispatch(
  pause: DispatchPause | undefined,
  window: DailyWindow | undefined,
): z.infer<typeof dispatchSchema> {
  return {
    paused: pause !== undefined,
    since: pause === undefined ? null : new Date(pause.sinceMs).toISOString(),
    by: pause?.by ?? null,
    ...(pause?.untilMs === undefined ? {} : { until: new Date(pause.untilMs).toISOString() }),
    ...(window && { window: { times: windowText(window), time_zone: window.timeZone } }),
  };
}

import {
  type DispatchPause,
  dispatchPause,
  pauseDispatch,
  resumeDispatch,
} from "@drover/shared/protocol/dispatch-pause";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { type Route, route } from "../http/route.js";

const TAG = "Operation";

const dispatchSchema = z
  .object({
    paused: z.boolean(),
    since: z.iso.datetime().nullable(),
    by: z.string().nullable().meta({ description: "Id of the token." }),
  })
  .meta({ id: "Dispatch" });
const DISPATCH = { description: "Whether files are dispatched.", schema: dispatchSchema };

/** `/api/v1/dispatch`: whether files are given to the workers. */
export function dispatchRoutes({ engine: { redis, keys } }: ServiceContext): Route[] {
  return [
    route({
      method: "get",
      path: "/api/v1/dispatch",
      scope: "read",
      tag: TAG,
      summary: "Whether dispatch is paused",
      answers: { 200: DISPATCH },
      async handle() {
        return { status: 200, body: showDispatch(await dispatchPause(redis, keys)) };
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
        return { status: 200, body: showDispatch(await pauseDispatch(redis, keys, caller.id)) };
      },
    }),
    route({
      method: "post",
      path: "/api/v1/dispatch/resume",
      scope: "operate",
      tag: TAG,
      summary: "Give files to the workers again",
      answers: { 200: DISPATCH },
      async handle() {
        await resumeDispatch(redis, keys);
        return { status: 200, body: showDispatch(undefined) };
      },
    }),
  ];
}

function showDispatch(pause: DispatchPause | undefined): z.infer<typeof dispatchSchema> {
  return {
    paused: pause !== undefined,
    since: pause === undefined ? null : new Date(pause.sinceMs).toISOString(),
    by: pause?.by ?? null,
  };
}

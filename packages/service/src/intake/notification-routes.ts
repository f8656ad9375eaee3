import { z } from "zod";
import type { ServiceConfig } from "../config.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import { ByteBudget } from "./byte-budget.js";
import type { Reception } from "./reception.js";
import { routesOfSecret } from "./route.js";

const TAG = "Notifications";
/** Bodies in memory at once, in bytes; what comes beyond them waits. */
const MOST_BYTES_AT_ONCE = 64 << 20;
/** Nearly all notifications are no larger, in bytes. A part of the memory is for them alone: large ones may come slowly. */
const SMALL_BYTES = 256 << 10;
const SMALL_BYTES_AT_ONCE = 16 << 20;

export const receiptSchema = z
  .object({
    status: z.literal("accepted"),
    accepted: z.int().meta({ description: "Events that will be acted on." }),
    ignored: z.int().meta({ description: "Events that no route takes, and what says nothing of an object." }),
    dead: z.int().meta({
      description:
        "Records, messages or whole bodies that went to the dead letters: /api/v1/events/dead-letters.",
    }),
  })
  .meta({ id: "NotificationReceipt" });

const DESCRIPTION =
  "Takes notifications of AWS S3, Amazon EventBridge, SNS and SQS, Ceph, versitygw and SeaweedFS, whatever their Content-Type. Answers once the events are on Redis's disk, also for what cannot be understood, which goes to the dead letters: sent again it would be no better.";

/** `POST /sync/s3-notification`, with a token or with the secret of a route. */
export function notificationRoutes({ events: { routes } }: ServiceConfig, reception: Reception): Route[] {
  const small = new ByteBudget(SMALL_BYTES_AT_ONCE);
  const large = new ByteBudget(MOST_BYTES_AT_ONCE - SMALL_BYTES_AT_ONCE);
  const common = {
    method: "post",
    scope: "notify",
    tag: TAG,
    description: DESCRIPTION,
    rawBody: {
      description: "JSON in UTF-8, as the storage sends it.",
      hold: (bytes: number) => (bytes <= SMALL_BYTES ? small : large).hold(bytes),
    },
    answers: { 200: { description: "It was taken.", schema: receiptSchema } },
  } as const;
  return [
    route({
      ...common,
      path: "/sync/s3-notification",
      summary: "Tell of created and removed objects",
      async handle({ body, caller }) {
        const tally = await reception.receive(body, { id: caller.id, routes });
        return { status: 200, body: { status: "accepted", ...tally } };
      },
    }),
    route({
      ...common,
      path: "/sync/s3-notification/{secret}",
      summary: "Tell of created and removed objects, without a token",
      params: z.object({
        secret: z
          .string()
          .min(1)
          .max(200)
          .meta({ description: "The secret of a route, which opens it alone." }),
      }),
      identify: ({ secret = "" }) => {
        const [first] = routesOfSecret(routes, secret);
        return first && { id: `secret of ${first.bucket}`, scopes: ["notify"] };
      },
      async handle({ body, caller, params }) {
        const allowed = routesOfSecret(routes, params.secret);
        if (allowed.length === 0) throw new Problem(401, "no route has this secret");
        const tally = await reception.receive(body, { id: caller.id, routes: allowed });
        return { status: 200, body: { status: "accepted", ...tally } };
      },
    }),
  ];
}

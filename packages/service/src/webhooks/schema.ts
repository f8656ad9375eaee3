import { TransferError } from "@drover/shared/errors";
import type { WebhookStanding } from "@drover/shared/protocol/webhooks";
import { WEBHOOK_STATES } from "@drover/shared/protocol/webhooks";
import { WEBHOOK_EVENTS, type WebhookTarget } from "@drover/shared/run";
import type { AddressGuard } from "@drover/shared/storage/http/guard";
import { z } from "zod";
import { Problem } from "../http/problem.js";
import { SECRET_PATTERN } from "./signature.js";

/** What a request says of its webhook. */
export const webhookRequestSchema = z
  .strictObject({
    url: z.url({ protocol: /^https?$/ }).max(8_192),
    secret: z.string().regex(SECRET_PATTERN, "must be whsec_ and 24 to 64 bytes in base64").optional().meta({
      description: "Deliveries are signed with it, as Standard Webhooks has it. Default: they are not.",
    }),
    events: z.array(z.enum(WEBHOOK_EVENTS)).min(1).optional().meta({
      description:
        "Ends of the run that are told of. `failed`: a file failed, or a source could not be listed. Default: all.",
    }),
  })
  .meta({ id: "WebhookRequest" });

/** @throws Problem 422 where the URL says that it leads to a closed address. */
export function webhookTargetOf(
  { url, secret, events }: z.infer<typeof webhookRequestSchema>,
  guard: AddressGuard,
): WebhookTarget {
  try {
    guard.check(new URL(url));
  } catch (error) {
    throw error instanceof TransferError ? new Problem(422, `webhook.url: ${error.message}`) : error;
  }
  return { url, ...(secret === undefined ? {} : { secret }), events: events ?? [...WEBHOOK_EVENTS] };
}

export const webhookSchema = z
  .object({
    url: z.string().meta({ description: "Without secrets." }),
    state: z.enum(WEBHOOK_STATES).meta({
      description:
        "`waiting` for the run's end or for the next try, `delivered`, `failed` (the receiver answered 410), `given-up` (tried for too long), `skipped` (the run ended otherwise than was asked for).",
    }),
    attempts: z.int().min(0),
    last_status: z.int().nullable(),
    last_error: z.string().nullable(),
  })
  .meta({ id: "Webhook" });

export function showWebhook(standing: WebhookStanding): z.infer<typeof webhookSchema> {
  const { url, state, attempts, lastStatus, lastError } = standing;
  return { url, state, attempts, last_status: lastStatus ?? null, last_error: lastError ?? null };
}

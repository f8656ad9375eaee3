import type { Engine } from "@drover/shared/engine";
import { messageOf } from "@drover/shared/errors";
import { redactText, redactUrl } from "@drover/shared/redact";
import { z } from "zod";
import type { MirrorConfig } from "../config.js";
import { MirrorKeys } from "../state/mirror-keys.js";

/** How long a report is tried, and the waits between two tries, in ms: the first, from which they double, and the longest. */
const RETRY_FOR_MS = 86_400_000;
const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 3_600_000;
/** Deliveries that have not ended, of one mirror. */
const MOST = 1_000;

const deliverySchema = z.object({
  /** Id of the report. */
  report: z.string(),
  url: z.string(),
  body: z.string(),
  firstMs: z.number(),
  nextMs: z.number(),
  attempts: z.number(),
  error: z.string(),
});
type Delivery = z.infer<typeof deliverySchema>;

/**
 * Posts a report, signed.
 *
 * @returns the status of the answer.
 */
export type PostReport = (url: string, id: string, body: string) => Promise<number>;

/** Keeps a report for every URL, to be delivered. */
export async function queueReport(
  { redis, keys }: Pick<Engine, "redis" | "keys">,
  { name, reportUrls }: MirrorConfig,
  report: string,
  body: string,
): Promise<void> {
  const key = new MirrorKeys(keys, name).deliveries();
  for (const [at, url] of reportUrls.entries()) {
    if ((await redis.hlen(key)) >= MOST) return;
    const nowMs = Date.now();
    const delivery: Delivery = { report, url, body, firstMs: nowMs, nextMs: nowMs, attempts: 0, error: "" };
    await redis.hset(key, `${report}:${at}`, JSON.stringify(delivery));
  }
}

/** Tries all deliveries that are due, once each. What was tried for 24 hours, or is not wanted any more (410), is given up. */
export async function deliverReports(
  { redis, keys }: Pick<Engine, "redis" | "keys">,
  name: string,
  post: PostReport,
  warn: (message: string) => void,
): Promise<void> {
  const key = new MirrorKeys(keys, name).deliveries();
  for (const [field, text] of Object.entries(await redis.hgetall(key))) {
    const delivery = deliverySchema.parse(JSON.parse(text));
    const nowMs = Date.now();
    if (delivery.nextMs > nowMs) continue;
    const error = await tryOnce(delivery, post);
    if (error === undefined) {
      await redis.hdel(key, field);
      continue;
    }
    const attempts = delivery.attempts + 1;
    const isOver = error === "answered 410" || nowMs > delivery.firstMs + RETRY_FOR_MS;
    const then = isOver ? "given up" : "tried again later";
    warn(`report ${delivery.report} to ${redactUrl(delivery.url)} ${error}: ${then}`);
    if (isOver) await redis.hdel(key, field);
    else {
      const waitMs = Math.min(FIRST_WAIT_MS * 2 ** (attempts - 1), LONGEST_WAIT_MS);
      const next: Delivery = {
        ...delivery,
        attempts,
        error,
        nextMs: nowMs + waitMs * (0.5 + Math.random() / 2),
      };
      await redis.hset(key, field, JSON.stringify(next));
    }
  }
}

/** @returns why it was not delivered; undefined if it was. */
async function tryOnce({ url, report, body }: Delivery, post: PostReport): Promise<string | undefined> {
  try {
    const status = await post(url, report, body);
    return status >= 200 && status < 300 ? undefined : `answered ${status}`;
  } catch (error) {
    return `cannot be sent: ${redactText(messageOf(error))}`;
  }
}

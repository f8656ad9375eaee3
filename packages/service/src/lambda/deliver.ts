import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "@drover/shared/errors";
import type { Log } from "./log.js";
import type { Notification } from "./notification.js";
import type { Target } from "./settings.js";

/** The longest wait before the second try is the first of these; it doubles up to the second. */
const FIRST_BACKOFF_MS = 200;
const LONGEST_BACKOFF_MS = 10_000;
/** A try that has less time than this is not begun. */
const LEAST_ATTEMPT_MS = 100;

/** The service did not take a notification. The message says why, without the notification or the token. */
export class DeliveryError extends Error {
  override name = "DeliveryError";
}

/** How a try ended that may be repeated. */
interface Failure {
  why: string;
  /** Wait that the service asked for. */
  retryAfterMs: number;
  status?: number;
}

/** What one call of the function has for its deliveries. */
export interface Delivery {
  target: Target;
  /** How long it may still take, in ms. */
  remainingMs: () => number;
  log: Log;
}

/**
 * Posts a notification until the service takes it. What may pass (no connection, no answer in time, 429, 5xx) is tried
 * again after a random part of a wait that doubles, or after what Retry-After says.
 *
 * @throws {DeliveryError} if the service refuses it, or tries or time are used up.
 */
export async function deliver(notification: Notification, delivery: Delivery): Promise<void> {
  const { target, remainingMs } = delivery;
  for (let attempt = 1; ; attempt += 1) {
    if (remainingMs() < LEAST_ATTEMPT_MS) throw new DeliveryError("no time is left to deliver it");
    const failure = await tryOnce(notification, attempt, delivery);
    if (failure === undefined) return;
    if (attempt >= target.attempts) throw new DeliveryError(`${failure.why}, ${attempt} tries`);
    const longestMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (attempt - 1));
    const waitMs = Math.max(failure.retryAfterMs, Math.random() * longestMs);
    if (waitMs + LEAST_ATTEMPT_MS > remainingMs())
      throw new DeliveryError(`${failure.why}, and no time is left to try again`);
    await sleep(waitMs);
  }
}

/**
 * @returns undefined if the service took it.
 * @throws {DeliveryError} if it refused it.
 */
async function tryOnce(
  notification: Notification,
  attempt: number,
  { target, remainingMs, log }: Delivery,
): Promise<Failure | undefined> {
  const startMs = performance.now();
  const outcome = await post(notification.body, target, Math.min(target.timeoutMs, remainingMs()));
  const { bucket, keys } = notification;
  const durationMs = Math.round(performance.now() - startMs);
  const isTaken = "status" in outcome && isSuccess(outcome.status);
  const fields = { bucket, keys, attempt, durationMs, status: outcome.status };
  if (isTaken) {
    log("info", "delivered", fields);
    return undefined;
  }
  log("warn", "not delivered", { ...fields, error: outcome.why });
  const { status } = outcome;
  if (status !== undefined && status !== 429 && status < 500) throw new DeliveryError(outcome.why);
  return outcome;
}

function isSuccess(status: number | undefined): boolean {
  return status !== undefined && status >= 200 && status < 300;
}

async function post(body: string, { url, token }: Target, timeoutMs: number): Promise<Failure> {
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "user-agent": "drover-lambda",
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body,
      // Followed, it would take the token and a GET elsewhere.
      redirect: "manual",
      signal: AbortSignal.timeout(Math.max(1, Math.floor(timeoutMs))),
    });
    await response.body?.cancel();
    const { status } = response;
    return { status, why: `the service answered ${status}`, retryAfterMs: retryAfterMs(response.headers) };
  } catch (error) {
    const cause = error instanceof Error && error.cause ? error.cause : error;
    return { why: `the service cannot be reached: ${messageOf(cause)}`, retryAfterMs: 0 };
  }
}

/** Retry-After in ms: seconds or a date. 0 if there is none. */
function retryAfterMs(headers: Headers): number {
  const text = headers.get("retry-after")?.trim() ?? "";
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return waitMs > 0 ? waitMs : 0;
}

import { messageOf, SettingsError, TransferError, UnavailableError } from "@drover/shared/errors";
import { ForgottenError, RunLostError } from "@drover/shared/protocol/backlog";
import { redactText } from "@drover/shared/redact";
import type { Logger } from "pino";
import type { z } from "zod";
import type { AuditLog } from "../security/audit.js";
import { Problem } from "./problem.js";
import { shownUrl } from "./request-log.js";
import type { Call, Reply, Route } from "./route.js";

/** Where a call is noted. */
export interface Noting {
  audit: AuditLog;
  log: Logger;
  /** Path that was asked for. */
  path: string;
  /** As in the log. */
  requestId: string | undefined;
}

/** What came of a call. */
export interface Performed {
  /** As {@link Route.handle}. */
  reply: Reply | undefined;
  /** Id of its entry in the audit log, once that is written; undefined where it has none, or where that failed. */
  noted: Promise<string | undefined>;
}

/**
 * Handles a call, and has it noted where it changes something. It does not wait for that: where Redis is away, it is written
 * once it is back.
 */
export async function audited(
  route: Route,
  call: Call<unknown, unknown, unknown>,
  { audit, log, path, requestId }: Noting,
): Promise<Performed> {
  // Notifications are hints, and many: they are counted by the intake.
  if (route.method === "get" || route.scope === "open" || route.scope === "notify")
    return { reply: await route.handle(call as never), noted: Promise.resolve(undefined) };
  const note = async (status: number, on: string, changed: number) => {
    const what = `${route.method.toUpperCase()} ${route.path}`;
    const entry = { who: call.caller.id, what, on: redactText(on), requestId, status, changed };
    return await audit.record(entry).catch((error) => {
      log.error({ request_id: requestId, error: messageOf(error) }, "cannot be audited");
      return undefined;
    });
  };
  try {
    const reply = await route.handle(call as never);
    const on = reply?.headers?.Location ?? shownUrl(path);
    return { reply, noted: note(reply?.status ?? 200, on, reply?.changed ?? 1) };
  } catch (error) {
    void note(problemOf(error).status, shownUrl(path), 0);
    throw error;
  }
}

/**
 * What a schema makes of something.
 *
 * @param status of the problem where it is not as it should be.
 * @param what it is, for people.
 * @throws Problem.
 */
export function checked(
  schema: z.ZodType | undefined,
  given: unknown,
  status: number,
  what: string,
): unknown {
  if (schema === undefined) return {};
  const parsed = schema.safeParse(given, { jitless: true });
  if (parsed.success) return parsed.data;
  throw invalid(parsed.error, status, what);
}

function invalid(error: z.ZodError, status: number, what: string): Problem {
  const errors = error.issues.slice(0, 20).map(({ path, message }) => ({ at: path.join("."), message }));
  const [first] = errors;
  return new Problem(status, `${first?.at || what}: ${first?.message}`, { extra: { errors } });
}

/** What an error means to a caller. Only a defect is a 500, and its message stays in the log. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof SettingsError) return new Problem(422, redactText(error.message), { cause: error });
  if (error instanceof UnavailableError)
    return new Problem(503, redactText(error.message), { headers: { "Retry-After": "5" }, cause: error });
  if (error instanceof RunLostError) return new Problem(409, error.message, { cause: error });
  if (error instanceof ForgottenError) return new Problem(404, error.message, { cause: error });
  if (error instanceof TransferError)
    return new Problem(error.class === "not-found" ? 404 : 502, redactText(error.message), {
      extra: { class: error.class },
      cause: error,
    });
  const status = (error as { status?: unknown } | null)?.status;
  if (error instanceof URIError || status === 400) return new Problem(400, "the URL cannot be decoded");
  return new Problem(500, "something went wrong here: the log of the service says what", { cause: error });
}

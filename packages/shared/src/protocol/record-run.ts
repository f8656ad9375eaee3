import type { Redis } from "ioredis";
import { newRunId } from "../ids.js";
import { redactUrl } from "../redact.js";
import { kindOf, type Run, type RunSecrets, type RunSpec, type WebhookTarget } from "../run.js";
import { RUN, SECRETS, WEBHOOK } from "./fields.js";
import { formatOf } from "./format.js";
import { ClaimLostError, type RequestClaim } from "./idempotency.js";
import type { Keys } from "./keys.js";
import { PRODUCER_SILENCE_MS } from "./ledger.js";
import { createRunScript } from "./lua/create-run.lua.js";
import { FOLLOW_MS } from "./outcome-stream.js";
import { readRun } from "./run-record.js";
import { SECRETS_TTL_SECONDS } from "./secret-store.js";

/** What is recorded in the same step as a run: all of it is there, or neither it nor the run. */
export interface CreatedAlong {
  /** Whether a server of the HTTP service expands the run, and any other if that one dies. Default false. */
  isExpandedByServer?: boolean;
  /** The request that makes it, if that has an idempotency key, and what is answered when it is repeated. */
  request?: { claim: Pick<RequestClaim, "name" | "token">; answer(run: Run): string } | undefined;
}

/** Where runs are recorded, and by whom. */
export interface RunRecorder {
  readonly redis: Redis;
  readonly keys: Keys;
  readonly owner: string;
}

/**
 * Records a run that a process works on.
 *
 * @param recorder where, and the name of the process, see process-name.ts.
 * @param id of a run that Redis has forgotten. Default: a new one.
 * @param along what is recorded in the same step. Default: nothing.
 * @returns its id.
 * @throws ClaimLostError, with nothing recorded, where the claim of its request is another's by now.
 */
export async function recordRun(
  { redis, keys, owner }: RunRecorder,
  spec: RunSpec,
  secrets: RunSecrets,
  id = newRunId(),
  { isExpandedByServer = false, request }: CreatedAlong = {},
): Promise<string> {
  const startedMs = Date.now();
  const ofRun = {
    [RUN.format]: String(formatOf(spec)),
    [RUN.state]: "running",
    [RUN.owner]: owner,
    [RUN.startedMs]: String(startedMs),
    [RUN.kind]: kindOf(spec),
    [RUN.spec]: JSON.stringify(spec),
    [RUN.batch]: "0",
    [RUN.files]: "0",
    [RUN.bytes]: "0",
    [RUN.generation]: "0",
    [RUN.keepOutcomes]: String(spec.keepOutcomes?.most ?? 0),
    [RUN.keepOutcomesMs]: String(spec.keepOutcomes?.ms ?? 0),
    ...(spec.deadlineMs === undefined ? {} : { [RUN.deadlineMs]: String(spec.deadlineMs) }),
    ...(spec.stopAfterFailures === undefined
      ? {}
      : { [RUN.stopAfterFailures]: String(spec.stopAfterFailures) }),
    ...(spec.budgets === undefined ? {} : { [RUN.budgets]: JSON.stringify(spec.budgets) }),
    // What nobody is about to follow is not kept in full.
    ...(spec.fleet && !isExpandedByServer ? { [RUN.followedUntilMs]: String(startedMs + FOLLOW_MS) } : {}),
    ...(request === undefined ? {} : { [RUN.idempotency]: request.claim.name }),
  };
  const ofSecrets = {
    [SECRETS.headers]: JSON.stringify(secrets.headers),
    [SECRETS.sources]: JSON.stringify(secrets.sources),
    ...(secrets.baseUrl === undefined ? {} : { [SECRETS.baseUrl]: secrets.baseUrl }),
    ...(secrets.list === undefined ? {} : { [SECRETS.list]: secrets.list }),
    ...(secrets.logins === undefined ? {} : { [SECRETS.logins]: JSON.stringify(secrets.logins) }),
    ...(secrets.customerKeys === undefined
      ? {}
      : { [SECRETS.customerKeys]: JSON.stringify(secrets.customerKeys) }),
  };
  const [runValues = [], secretValues = [], webhookValues = []] = [
    ofRun,
    ofSecrets,
    webhookFields(secrets.webhook),
  ].map((fields) => Object.entries(fields).flat());
  const created = await createRunScript.run(
    redis,
    [
      ...[keys.run(id), keys.secrets(id), keys.runs(), keys.runIndexes()[0] as string, keys.active()],
      ...[keys.expanding(), keys.webhook(id), keys.webhooks()],
      request === undefined ? keys.run(id) : keys.idempotency(request.claim.name),
    ],
    [
      ...[id, startedMs, hasSecrets(secrets) ? SECRETS_TTL_SECONDS : 0, spec.fleet ? PRODUCER_SILENCE_MS : 0],
      isExpandedByServer ? 1 : 0,
      request?.claim.token ?? "",
      request === undefined ? "" : request.answer(newRun(id, ofRun)),
      ...[runValues.length, secretValues.length, ...runValues, ...secretValues, ...webhookValues],
    ],
  );
  if (created !== 1) throw new ClaimLostError();
  return id;
}

function webhookFields(target: WebhookTarget | undefined): Record<string, string> {
  if (target === undefined) return {};
  return {
    [WEBHOOK.state]: "waiting",
    [WEBHOOK.url]: redactUrl(target.url),
    [WEBHOOK.attempts]: "0",
    [WEBHOOK.target]: JSON.stringify(target),
  };
}

/** A run as it is in the moment that it is recorded: its producer is alive. */
function newRun(id: string, fields: Record<string, string>): Run {
  return readRun(id, { ...fields, [RUN.ownerUntilMs]: String(Number.MAX_SAFE_INTEGER) }) as Run;
}

/** Whether anything of what a command line said is secret. What is not is kept as long as the run, to go on with it. */
function hasSecrets({ headers, sources, baseUrl, list, logins, customerKeys }: RunSecrets): boolean {
  const locations = baseUrl === undefined ? sources : [...sources, baseUrl];
  const isSecret = locations.some((location) => redactUrl(location) !== location);
  return (
    isSecret ||
    Object.keys(headers).length > 0 ||
    list !== undefined ||
    logins !== undefined ||
    customerKeys !== undefined
  );
}

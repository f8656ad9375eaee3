import type { Engine } from "@drover/shared/engine";
import { failpoint } from "@drover/shared/failpoint";
import type { RunCounts } from "@drover/shared/outcome";
import { ClaimLostError, type RequestClaim } from "@drover/shared/protocol/idempotency";
import type { Run } from "@drover/shared/run";
import { TRACEPARENT } from "@drover/shared/tracing";
import { z } from "zod";
import type { ServiceContext } from "../context.js";
import { Problem } from "../http/problem.js";
import { type Asked, type Reply, type Route, route } from "../http/route.js";
import { webhookTargetOf } from "../webhooks/schema.js";
import { claimRequest, IDEMPOTENCY_KEY, idempotencyHeaders, underWay } from "./repetition.js";
import { TAG } from "./run-param.js";
import { runSchema, showRun } from "./shown.js";
import { planSubmission, type Submission, submissionSchema } from "./submission.js";

/** Unfinished runs beyond which no more are taken. */
const MOST_UNFINISHED = 10_000;

const acceptedSchema = runSchema.extend({ warnings: z.array(z.string()) }).meta({ id: "AcceptedRun" });
type Accepted = z.infer<typeof acceptedSchema>;

const NO_FILES: RunCounts = {
  files: 0,
  settled: 0,
  copied: 0,
  unchanged: 0,
  deleted: 0,
  failed: 0,
  blocked: 0,
  locked: 0,
  cancelled: 0,
};

/** `POST /api/v1/runs`: makes a run. */
export function startRoute({ engine, config, keeper, guard }: ServiceContext): Route {
  /** @param claim of a request that can be repeated: the answer to it is recorded with the run. */
  const take = async (body: Submission, { headers }: Asked, claim?: RequestClaim): Promise<Accepted> => {
    await refuseTooMany(engine);
    const planned = await planSubmission(body, config);
    const { traceparent } = headers;
    if (typeof traceparent === "string" && TRACEPARENT.test(traceparent))
      planned.spec.traceparent = traceparent;
    if (body.webhook !== undefined) planned.secrets.webhook = webhookTargetOf(body.webhook, guard);
    const warnings: string[] = [];
    const show = (run: Run) => ({ ...showRun({ run, counts: NO_FILES }), warnings });
    const repeatable = claim && { claim, answer: (run: Run) => JSON.stringify(show(run)) };
    return show(await keeper.submit(planned, (message) => warnings.push(message), repeatable));
  };
  return route({
    method: "post",
    path: "/api/v1/runs",
    scope: "enqueue",
    tag: TAG,
    summary: "Start a run",
    description:
      "The answer comes once the run is on Redis's disk. Its files are found and copied after that, whatever becomes of the server that answered.",
    headers: idempotencyHeaders,
    body: submissionSchema,
    answers: {
      202: {
        description: "The run was taken.",
        schema: acceptedSchema,
        headers: {
          Location: "Where the run is.",
          "Idempotency-Replayed":
            "`true` where this request was answered before: the answer is the first one.",
        },
      },
    },
    isSlow: false,
    async handle({ body, caller, request }) {
      const key = request.headers[IDEMPOTENCY_KEY] as string | undefined;
      if (key === undefined) return accepted(await take(body, request));
      const claimed = await claimRequest({ ...engine, caller, key, body });
      if ("answer" in claimed) {
        await keeper.untilOnDisk();
        const replayed = accepted(JSON.parse(claimed.answer), { "Idempotency-Replayed": "true" });
        return { ...replayed, changed: 0 };
      }
      failpoint("claimed");
      try {
        return accepted(await take(body, request, claimed));
      } catch (error) {
        throw error instanceof ClaimLostError ? underWay(1_000) : error;
      } finally {
        await claimed.release().catch(() => {}); // it expires
      }
    },
  });
}

function accepted(body: Accepted, headers: Record<string, string> = {}): Reply {
  return { status: 202, body, headers: { Location: `/api/v1/runs/${body.id}`, ...headers } };
}

async function refuseTooMany({ redis, keys }: Engine): Promise<void> {
  const [open = ""] = keys.runIndexes();
  const unfinished = await redis.zcard(open);
  if (unfinished < MOST_UNFINISHED) return;
  throw new Problem(429, `${unfinished} runs have not ended: wait until some have`, {
    headers: { "Retry-After": "10" },
  });
}

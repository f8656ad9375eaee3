import { z } from "zod";
import { ENTRY_ID, entryCursor } from "../http/entry-id.js";
import { Problem } from "../http/problem.js";
import { type Route, route } from "../http/route.js";
import type { AuditLog, KeptEntry } from "../security/audit.js";

const entrySchema = z
  .object({
    id: z.string(),
    at: z.iso.datetime(),
    who: z.string().meta({ description: "Id of the token; `command line` for `drover token`." }),
    what: z.string().meta({ example: "POST /api/v1/runs/{run}/cancel" }),
    on: z.string().meta({ description: "What it was done to." }),
    request_id: z.string().nullable(),
    status: z.int().nullable().meta({ description: "Of the answer. From 400 on, nothing was changed." }),
    changed: z.int().min(0).meta({ description: "How many things it changed." }),
  })
  .meta({ id: "AuditEntry" });

/** `/api/v1/audit`: who changed what. */
export function auditRoutes(audit: AuditLog): Route[] {
  const list = route({
    method: "get",
    path: "/api/v1/audit",
    scope: "operate",
    tag: "Operation",
    summary: "Who changed what, the newest first",
    description:
      "Every request that changes something, and `drover token`. The newest 100,000 entries are kept.",
    query: z.object({
      limit: z.coerce.number().int().min(1).max(1_000).default(100),
      cursor: entryCursor,
    }),
    answers: {
      200: {
        description: "One page.",
        schema: z
          .object({ entries: z.array(entrySchema), next: z.string().nullable() })
          .meta({ id: "AuditPage" }),
      },
    },
    async handle({ query: { limit, cursor } }) {
      const found = await audit.list(limit + 1, cursor);
      const page = found.slice(0, limit);
      const next = found.length > limit ? (page.at(-1)?.id ?? null) : null;
      return { status: 200, body: { entries: page.map(showEntry), next } };
    },
  });
  const one = route({
    method: "get",
    path: "/api/v1/audit/{entry}",
    scope: "operate",
    tag: "Operation",
    summary: "One entry of the audit log",
    params: z.object({ entry: z.string().regex(ENTRY_ID).meta({ example: "1795959201232-0" }) }),
    answers: { 200: { description: "The entry.", schema: entrySchema } },
    async handle({ params }) {
      const entry = await audit.find(params.entry);
      if (entry === undefined)
        throw new Problem(404, `there is no audit entry ${params.entry}, or it is not kept any more`);
      return { status: 200, body: showEntry(entry) };
    },
  });
  return [list, one];
}

function showEntry({ atMs, requestId, status, ...entry }: KeptEntry): z.infer<typeof entrySchema> {
  return {
    ...entry,
    at: new Date(atMs).toISOString(),
    request_id: requestId ?? null,
    status: status ?? null,
  };
}

import type { Availability } from "@drover/service/http/availability";
import { callerOfRoutes } from "@drover/service/http/in-process";
import { Problem } from "@drover/service/http/problem";
import { route } from "@drover/service/http/route";
import type { AuditEntry, AuditLog } from "@drover/service/security/audit";
import { SettingsError } from "@drover/shared/errors";
import { type Logger, pino } from "pino";
import { describe, expect, it } from "vitest";
import { z } from "zod";

const answers = { 200: { description: "" } };
const thing = z.object({ name: z.string().max(5) });

const ROUTES = [
  route({
    ...{ method: "get", path: "/things/{name}", scope: "read", tag: "", summary: "", answers },
    params: thing,
    query: z.object({ limit: z.coerce.number().int().default(7) }),
    handle: async ({ params, query, caller }) => ({
      status: 200,
      body: { ...params, ...query, who: caller.id },
    }),
  }),
  route({
    ...{ method: "post", path: "/things/{name}/{rest*}", scope: "operate", tag: "", summary: "", answers },
    params: thing.extend({ rest: z.string() }),
    body: z.strictObject({ why: z.string().optional() }),
    bodyIsOptional: true,
    async handle({ params, body }) {
      if (body.why === "gone") throw new Problem(404, "gone");
      if (body.why === "wrong") throw new SettingsError("cannot get https://a.example/?token=secret");
      if (body.why === "broken") throw new Error("a defect");
      return { status: 202, body: params, changed: 3 };
    },
  }),
  route({
    ...{ method: "get", path: "/report", scope: "read", tag: "", summary: "" },
    answers: { 200: { description: "", contentType: "text/csv" } },
    handle: async () => undefined,
  }),
];

function make() {
  const noted: AuditEntry[] = [];
  const record = async (entry: AuditEntry) => `${noted.push(entry)}-0`;
  const audit = { record } as unknown as AuditLog;
  const availability = { whileThere: (work: Promise<unknown>) => work } as unknown as Availability;
  const log: Logger = pino({ level: "silent" });
  return { noted, call: callerOfRoutes(ROUTES, { audit, availability, log }) };
}

const reader = { id: "reader", scopes: ["read"] as const };
const operator = { id: "operator", scopes: ["read", "operate"] as const };

describe("a call of the API without HTTP", () => {
  it("is checked by the route's schemas and answered by its handler", async () => {
    const { call } = make();
    expect(await call(reader, "GET", "/things/a%2Fb")).toEqual({
      status: 200,
      body: { name: "a/b", limit: 7, who: "reader" },
    });
    expect((await call(reader, "GET", "/things/a", { query: { limit: "2" } })).body.limit).toBe(2);
    expect((await call(reader, "GET", "/things/a", { query: { limit: "x" } })).status).toBe(400);
    expect((await call(reader, "GET", "/things/toolong")).status).toBe(404);
    expect((await call(reader, "GET", "/things/%ff")).status).toBe(400);
    expect((await call(operator, "POST", "/things/a/b/c")).body).toEqual({ name: "a", rest: "b/c" });
    expect((await call(operator, "POST", "/things/a/b", { body: { other: 1 } })).status).toBe(422);
    expect((await call(operator, "PUT", "/things/a/b")).status).toBe(404);
  });

  it("needs the route's scope, and is audited where it changes something", async () => {
    const { call, noted } = make();
    expect((await call(reader, "POST", "/things/a/b")).status).toBe(403);
    expect(noted).toEqual([]);
    expect((await call(operator, "POST", "/things/a/b", { requestId: "r" })).entry).toBe("1-0");
    expect(await call(operator, "GET", "/things/a")).not.toHaveProperty("entry");
    await call(operator, "POST", "/things/a/b", { body: { why: "gone" } });
    const what = "POST /things/{name}/{rest*}";
    expect(noted).toEqual([
      { who: "operator", what, on: "/things/a/b", requestId: "r", status: 202, changed: 3 },
      { who: "operator", what, on: "/things/a/b", requestId: undefined, status: 404, changed: 0 },
    ]);
  });

  it("answers errors as problems, without secrets", async () => {
    const { call } = make();
    const wrong = await call(operator, "POST", "/things/a/b", { body: { why: "wrong" }, requestId: "r" });
    expect(wrong).toMatchObject({ status: 422, body: { status: 422, request_id: "r" } });
    expect(wrong.body.detail).not.toContain("secret");
    const broken = await call(operator, "POST", "/things/a/b", { body: { why: "broken" } });
    expect([broken.status, broken.body.detail]).toEqual([500, expect.not.stringContaining("defect")]);
    expect((await call(reader, "GET", "/report")).status).toBe(500); // it needs HTTP: a defect of who calls it
  });
});

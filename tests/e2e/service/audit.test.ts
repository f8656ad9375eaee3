import { describe, expect } from "vitest";
import { it } from "../../harness/service.js";

describe("the audit log", () => {
  it("says who changed what, how often, and no secret", async ({ serve, box, work }) => {
    const env = { XDG_STATE_HOME: work.at("state"), ENABLE_PERIODIC_SYNC: "false" };
    const service = await serve(["--root", work.at("")], env);
    const token = (await box.run(["token", "create", "ops", "--scopes", "read,enqueue,operate"], { env }))
      .stdout;
    const [, id] = token.split("_");
    const authorization = `Bearer ${token.trim()}`;
    const headers = { authorization, "x-request-id": "the-run" };
    const { body: run } = await service.ask("/api/v1/runs", {
      json: {
        sources: [work.write({ "in/a": "a" })],
        to: work.at("out"),
        headers: { "X-Key": "SECRET-CANARY" },
      },
      headers,
    });
    await service.ask(`/api/v1/runs/${run.id}?wait=30`, { headers });
    await service.ask("/api/v1/hosts/example.com/limit", { method: "PUT", json: { files: 1 }, headers });
    const refused = await service.ask("/api/v1/runs/nonesuch/cancel", { method: "POST", headers });
    expect(refused.status).toBe(404);
    await service.ask("/api/v1/failures/retry", { method: "POST", headers });
    const { body } = await service.ask("/api/v1/audit", { headers });
    expect(body.next).toBeNull();
    const common = { who: id, request_id: "the-run" };
    expect(body.entries).toMatchObject([
      { ...common, what: "POST /api/v1/failures/retry", status: 202, changed: 0 },
      {
        ...common,
        what: "POST /api/v1/runs/{run}/cancel",
        on: "/api/v1/runs/nonesuch/cancel",
        status: 404,
        changed: 0,
      },
      { ...common, what: "PUT /api/v1/hosts/{host}/limit", status: 200, changed: 2 },
      { ...common, what: "POST /api/v1/runs", on: `/api/v1/runs/${run.id}`, status: 202, changed: 1 },
      { who: "command line", what: "token create", on: id, request_id: null, status: null, changed: 1 },
    ]);
    for (const secret of ["SECRET-CANARY", token.trim().split("_").at(-1) as string])
      expect(JSON.stringify(body)).not.toContain(secret);
    for (const entry of body.entries)
      expect((await service.ask(`/api/v1/audit/${entry.id}`, { headers })).body).toEqual(entry);
    for (const id of ["1-1", "x"])
      expect((await service.ask(`/api/v1/audit/${id}`, { headers })).status).toBe(404);
    const paged: unknown[] = [];
    for (let next: string | null = ""; next !== null; ) {
      const page = await service.ask(`/api/v1/audit?limit=2${next && `&cursor=${next}`}`, { headers });
      paged.push(...page.body.entries);
      next = page.body.next;
    }
    expect(paged).toEqual(body.entries);
    expect((await service.ask("/api/v1/audit?cursor=x", { headers })).status).toBe(400);

    const reader = (
      await box.run(["token", "create", "dashboard", "--scopes", "read"], { env })
    ).stdout.trim();
    const asReader = { authorization: `Bearer ${reader}` };
    expect((await service.ask("/api/v1/audit", { headers: asReader })).status).toBe(403);
    const entry = `/api/v1/audit/${body.entries[0].id}`;
    expect((await service.ask(entry, { headers: asReader })).status).toBe(403);
    await box.run(["token", "revoke", reader.split("_")[1] as string], { env });
    const [last] = (await service.ask("/api/v1/audit?limit=1", { headers })).body.entries;
    expect(last).toMatchObject({ who: "command line", what: "token revoke", on: reader.split("_")[1] });
  });

  it("does not count the answer to a repeated request as a change", async ({ serve, work }) => {
    const service = await serve(["--root", work.at("")]);
    const request = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    for (let time = 0; time < 2; time++)
      await service.ask("/api/v1/runs", { json: request, headers: { "idempotency-key": "k" } });
    const { body } = await service.ask("/api/v1/audit");
    expect(body.entries.map(({ changed }: { changed: number }) => changed)).toEqual([0, 1]);
  });
});

import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { until } from "../../harness/gate.js";
import { it, type TestService } from "../../harness/service.js";

const QUIET = { ENABLE_PERIODIC_SYNC: "false" };

async function runsOf(service: TestService): Promise<{ id: string; state: string; copied: number }[]> {
  return (await service.ask("/api/v1/runs")).body.runs;
}

describe("a request with an Idempotency-Key", () => {
  it("makes one run however often it is sent, and gives the first answer again", async ({ serve, work }) => {
    const service = await serve(["--root", work.path], QUIET);
    const json = { sources: [work.write({ "in/a": "a" })], to: work.at("out"), label: "x" };
    const headers = { "idempotency-key": 'key "1"' };
    const first = await service.ask("/api/v1/runs", { json, headers });
    expect([first.status, first.headers.get("idempotency-replayed")]).toEqual([202, null]);
    await service.ask(`/api/v1/runs/${first.body.id}?wait=30`);
    const { label, sources, to } = json;
    const again = await service.ask("/api/v1/runs", { json: { label, to, sources }, headers });
    expect([again.status, again.headers.get("idempotency-replayed")]).toEqual([202, "true"]);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("location")).toBe(`/api/v1/runs/${first.body.id}`);
    expect(await runsOf(service)).toHaveLength(1);
    const other = await service.ask("/api/v1/runs", { json: { ...json, label: "y" }, headers });
    expect([other.status, other.body.detail]).toEqual([422, expect.stringContaining("another body")]);
    const fresh = await service.ask("/api/v1/runs", { json, headers: { "idempotency-key": "2" } });
    expect(fresh.body.id).not.toBe(first.body.id);
  });

  it("makes one run when it is sent many times at once", async ({ serve, work }) => {
    const service = await serve(["--root", work.path], QUIET);
    const json = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    const headers = { "idempotency-key": "at-once" };
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => service.ask("/api/v1/runs", { json, headers })),
    );
    for (const { status, headers: told } of answers) {
      expect([202, 409]).toContain(status);
      if (status === 409) expect(Number(told.get("retry-after"))).toBeGreaterThanOrEqual(1);
    }
    const taken = answers.filter(({ status }) => status === 202);
    expect(new Set(taken.map(({ body }) => body.id)).size).toBe(1);
    expect(taken.filter(({ headers: told }) => told.get("idempotency-replayed") === null)).toHaveLength(1);
    expect(await runsOf(service)).toHaveLength(1);
  });

  it("is refused with a key that is none, and free again after a refusal", async ({ serve, work }) => {
    const service = await serve(["--root", work.path], QUIET);
    const json = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    for (const key of ["", "x".repeat(256), "caf\u00e9", "a\tb"]) {
      const { status, body } = await service.ask("/api/v1/runs", {
        json,
        headers: { "idempotency-key": key },
      });
      expect([status, body.detail], JSON.stringify(key)).toEqual([
        400,
        expect.stringContaining("1 to 255 printable characters"),
      ]);
    }
    const headers = { "idempotency-key": "x".repeat(255) };
    const refused = await service.ask("/api/v1/runs", { json: { ...json, to: "/elsewhere" }, headers });
    expect(refused.status).toBe(403);
    expect((await service.ask("/api/v1/runs", { json, headers })).status).toBe(202);
  });

  it("counts for the token that it came with", async ({ serve, work, box }) => {
    const env = { ...QUIET, XDG_STATE_HOME: work.at("state") };
    const service = await serve(["--root", work.path], env);
    const json = { sources: [work.write({ "in/a": "a" })], to: work.at("out") };
    const ids: string[] = [];
    for (const name of ["one", "other"]) {
      const { stdout } = await box.run(["token", "create", name], { env });
      const headers = { authorization: `Bearer ${stdout.trim()}`, "idempotency-key": "same" };
      const { status, headers: told, body } = await service.ask("/api/v1/runs", { json, headers });
      expect([status, told.get("idempotency-replayed")]).toEqual([202, null]);
      ids.push(body.id);
    }
    expect(new Set(ids).size).toBe(2);
  });

  for (const step of ["claimed", "created"])
    it(`makes one run, which is carried, when the server is killed once it is ${step}`, async ({
      serve,
      work,
      fleet,
      origin,
    }) => {
      const url = origin.route("/a", does.file("a"));
      await fleet.worker("--allow-address", origin.host);
      const args = [...fleet.own, "--root", work.out];
      const request = {
        json: { sources: [url], to: work.out },
        headers: { "idempotency-key": "crash" },
      };
      const first = await serve(args, { ...QUIET, DROVER_FAULT: step });
      await first.ask("/readyz"); // its document is known from here on
      await expect(first.ask("/api/v1/runs", request)).rejects.toThrow("fetch failed");
      const second = await serve(args, QUIET);
      const answered = await until("an answer", async () => {
        const answer = await second.ask("/api/v1/runs", request);
        expect([202, 409]).toContain(answer.status);
        return answer.status === 202 && answer;
      });
      expect(answered.headers.get("idempotency-replayed")).toBe(step === "created" ? "true" : null);
      await until(
        "the end",
        async () => {
          const runs = await runsOf(second);
          expect(runs).toMatchObject([{ id: answered.body.id }]);
          return runs[0]?.state === "done" && runs[0].copied === 1;
        },
        40_000,
      );
      expect(origin.requestsTo("/a")).toHaveLength(1);
    });
});

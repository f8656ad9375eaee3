import { expect } from "vitest";
import { until } from "../../harness/gate.js";
import { it } from "../../harness/service.js";

const QUIET = { ENABLE_PERIODIC_SYNC: "false" };
const AT_ONCE = Array.from({ length: 6 });

it("each caller may ask so often, at all servers of a fleet together, and again after a while", async ({
  serve,
  fleet,
  box,
  work,
}) => {
  const env = { ...QUIET, XDG_STATE_HOME: work.at("state"), API_RATE_LIMIT: "1" };
  const services = [await serve(fleet.own, env), await serve(fleet.own, env)] as const;
  const statuses = async (headers: Record<string, string>, path = "/api/v1/runs") => {
    const answers = await Promise.all(
      AT_ONCE.map((_, at) => services[at % 2 === 0 ? 0 : 1].ask(path, { headers })),
    );
    for (const { status, headers: told, body } of answers)
      if (status === 429) {
        expect(told.get("content-type")).toBe("application/problem+json");
        expect(Number(told.get("retry-after"))).toBeGreaterThanOrEqual(1);
        expect(body.detail).toContain("too many requests");
      }
    return answers.map(({ status }) => status).sort();
  };
  const untokened = await statuses({});
  expect(untokened.filter((status) => status === 200).length).toBeLessThanOrEqual(3); // one may come back meanwhile
  expect(untokened).toContain(429);
  expect(await statuses({}, "/healthz")).toEqual(AT_ONCE.map(() => 200));
  const tokens: string[] = [];
  for (const name of ["one", "other"])
    tokens.push((await box.run(["token", "create", ...fleet.own, name], { env })).stdout.trim());
  for (const token of tokens) {
    const limited = await statuses({ authorization: `Bearer ${token}` });
    expect(limited.filter((status) => status === 200).length).toBeGreaterThanOrEqual(2);
    expect(limited).toContain(429);
  }
  const headers = { authorization: `Bearer ${tokens[0]}` };
  await until(
    "another turn",
    async () => (await services[0].ask("/api/v1/runs", { headers })).status === 200,
  );
});

it("what ends in 401 is limited by address, whatever token it comes with, and holds up no right token", async ({
  serve,
}) => {
  const API_TOKEN = "a-token-of-the-operator";
  const service = await serve(["--host", "127.0.0.1"], { ...QUIET, API_TOKEN });
  const forged = await Promise.all(
    Array.from({ length: 60 }, async (_, at) => {
      const [path, method] = at % 3 === 0 ? ["/sync/s3-notification/wrong-secret", "POST"] : ["/api/v1/runs"];
      const headers = at % 3 === 1 ? {} : { authorization: `Bearer drv_${at}_forged` };
      const answer = await service.ask(path as string, { headers, ...(method ? { method } : {}) });
      if (answer.status === 429) expect(Number(answer.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
      return answer.status;
    }),
  );
  const unauthorized = forged.filter((status) => status === 401).length;
  expect(new Set(forged)).toEqual(new Set([401, 429]));
  expect(unauthorized).toBeGreaterThanOrEqual(20);
  expect(unauthorized).toBeLessThan(50); // some come back meanwhile
  const headers = { authorization: `Bearer ${API_TOKEN}` };
  expect((await service.ask("/api/v1/runs", { headers })).status).toBe(200);
  await until("another answer", async () => (await service.ask("/api/v1/runs")).status === 401);
});

it("there is no limit where that is said", async ({ serve }) => {
  const service = await serve([], { ...QUIET, API_RATE_LIMIT: "0" });
  const answers = await Promise.all(
    Array.from({ length: 300 }, async () => (await service.ask("/api/v1/runs")).status),
  );
  expect(new Set(answers)).toEqual(new Set([200]));
});

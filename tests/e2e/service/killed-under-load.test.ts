import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { until } from "../../harness/gate.js";
import { Receiver } from "../../harness/receiver.js";
import { it, type TestService } from "../../harness/service.js";

const QUIET = { ENABLE_PERIODIC_SYNC: "false", API_RATE_LIMIT: "0" };
const CLIENTS = 6;
const RUNS_OF_EACH = 12;
const FILES = 3;

interface Acknowledged {
  id: string;
  tries: number;
}

it("every run that was acknowledged is there once and is carried, whenever a server is killed", {
  timeout: 180_000,
}, async ({ serve, work, fleet, origin }) => {
  await using receiver = await Receiver.start();
  const allowed = ["--allow-address", "127.0.0.1"];
  await fleet.worker(...allowed);
  const args = [...fleet.own, ...allowed, "--root", work.out];
  const servers: TestService[] = [await serve(args, QUIET), await serve(args, QUIET)];
  for (const each of servers) await each.ask("/readyz");
  origin.route("/data/*", does.file("data"));

  /** Posts a run until it is acknowledged, each time at the other server. */
  const post = async (label: string, first: number): Promise<Acknowledged> => {
    const key = randomUUID();
    const json = {
      files: Array.from({ length: FILES }, (_, at) => ({
        source: origin.url(`/data/${label}-${at}`),
        name: `${label}/${at}`,
      })),
      to: work.out,
      label,
      webhook: { url: receiver.url },
    };
    let tries = 0;
    return await until("an acknowledgement", async () => {
      const server = servers[(first + ++tries) % 2] as TestService;
      const answer = await server
        .ask("/api/v1/runs", { json, headers: { "idempotency-key": key } })
        .catch((error: Error) => error);
      if (answer instanceof Error) return false; // nobody knows what became of it
      expect([202, 409], answer.text).toContain(answer.status);
      return answer.status === 202 && { id: answer.body.id, tries };
    });
  };

  let posted = 0;
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    const acknowledged: Acknowledged[] = [];
    for (let nth = 0; nth < RUNS_OF_EACH; nth++) {
      acknowledged.push(await post(`c${client}-${nth}`, client + nth));
      posted++;
    }
    return acknowledged;
  });
  // One server, then the other, is killed while requests are on their way, and another takes its place.
  for (const [at, after] of [CLIENTS * 2, CLIENTS * 6].entries()) {
    await until("a part of the runs", () => posted >= after);
    await (servers[at] as TestService).stop("SIGKILL");
    const next = await serve(args, QUIET);
    servers[at] = next;
  }
  const acknowledged = (await Promise.all(clients)).flat();
  const [server] = servers as [TestService];
  const ids = acknowledged.map(({ id }) => id);
  expect(new Set(ids).size).toBe(CLIENTS * RUNS_OF_EACH);
  expect(acknowledged.filter(({ tries }) => tries > 1).length).toBeGreaterThan(0); // it was in the middle

  const listed = async () => (await server.ask("/api/v1/runs?limit=1000")).body.runs;
  await until(
    "the ends of all runs",
    async () => (await listed()).every(({ state }: { state: string }) => state === "done"),
    90_000,
  );
  const runs = await listed();
  expect(runs.map(({ id }: { id: string }) => id).sort()).toEqual([...ids].sort());
  for (const run of runs) expect(run).toMatchObject({ files: FILES, copied: FILES, failed: 0 });
  const names = readdirSync(work.out, { recursive: true, withFileTypes: true }).filter((each) =>
    each.isFile(),
  );
  expect(names).toHaveLength(ids.length * FILES);
  for (const each of names) expect(readFileSync(`${each.parentPath}/${each.name}`, "utf8")).toBe("data");
  // Each end is told of; twice only where the server was killed between the answer and its note.
  const told = () => new Set(receiver.deliveries.map(({ headers }) => headers["webhook-id"]));
  await until("all webhooks", () => told().size === ids.length, 60_000);
  expect([...told()].sort()).toEqual(ids.map((id) => `msg_${id}`).sort());
});

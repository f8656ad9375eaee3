import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { askPage, it } from "../../harness/dashboard.js";
import { until } from "../../harness/gate.js";
import { TestService } from "../../harness/service.js";

describe("drover dashboard", () => {
  it("is the service and its pages, and leaves the files to workers", async ({
    box,
    work,
    fleet,
    origin,
  }) => {
    const env = { ENABLE_PERIODIC_SYNC: "false", XDG_STATE_HOME: work.at("state") };
    const args = [...fleet.own, "--root", work.out, "--allow-address", "127.0.0.1", "--concurrency", "4"];
    const process = box.start(["dashboard", "--port", "0", ...args], {
      timeoutMs: 120_000,
      cwd: work.path,
      env,
    });
    const [line] = await process.waitFor("stdout", /\{.*"service ready".*\}/);
    const { port, concurrency } = JSON.parse(line) as { port: number; concurrency: number };
    expect(concurrency).toBe(0);
    const service = new TestService(process, `http://127.0.0.1:${port}`);

    const root = await askPage(service, "/");
    expect([root.status, root.headers.get("location")]).toEqual([302, "/dashboard/"]);
    const program = await service.ask("/");
    expect([program.status, program.body.endpoints["GET /api/v1/runs"]]).toEqual([200, expect.any(String)]);
    const none = await askPage(service, "/dashboard/nonesuch");
    expect([none.status, await none.text()]).toEqual([404, expect.stringContaining("there is no page at")]);
    const asProgram = await askPage(service, "/dashboard/nonesuch", { headers: { accept: "*/*" } });
    expect([asProgram.status, asProgram.headers.get("content-type")]).toEqual([
      404,
      "application/problem+json",
    ]);

    const source = origin.route("/a", does.file("a"));
    const { body: run } = await service.ask("/api/v1/runs", { json: { sources: [source], to: work.out } });
    const state = async () => (await service.ask(`/api/v1/runs/${run.id}`)).body;
    await until("its files", async () => (await state()).files === 1);
    expect(await (await askPage(service, "/dashboard/workers")).text()).toContain("No worker is alive");
    await fleet.worker("--allow-address", "127.0.0.1");
    await until("its end", async () => (await state()).copied === 1);
    expect(await (await askPage(service, "/dashboard/workers")).text()).toContain("1 alive");
    process.kill("SIGTERM");
    expect((await process.result).code).toBe(0);
  });
});

import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hasBrowser, it } from "../../harness/dashboard.js";
import { confirm, heading, OPEN, openPage } from "../../harness/dashboard-pages.js";
import { Gate, until } from "../../harness/gate.js";

describe.skipIf(!hasBrowser)("the pages", () => {
  it("follow a run until it ends, are never done before it, and cancel a file and the rest", async ({
    dashboard,
    work,
    origin,
    browser,
  }) => {
    const gates = [new Gate(), new Gate(), new Gate()];
    const [first = "", second = "", third = ""] = gates.map((gate, at) =>
      origin.route(`/held-${at}`, does.gated(gate, does.file("x"))),
    );
    const service = await dashboard(["--root", work.at(""), ...OPEN]);
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources: [first, second, third], to: work.at("out") },
    });
    await Promise.all(gates.map(({ reached }) => reached));
    const { page, wrong } = await openPage(browser, service, `/dashboard/runs/${run.id}`);
    expect(await page.locator("#state").textContent()).toBe("running");
    const log = page.locator("#live li");
    gates[0]?.open();
    await expect.poll(() => log.allTextContents(), { timeout: 20_000 }).toEqual([`copied ${first}`]);
    await expect
      .poll(() => page.locator(".big-progress").textContent(), { timeout: 20_000 })
      .toContain("1 of 3 · 33 %");
    expect(await page.locator("main .ok").count()).toBe(0); // green is for what has ended well

    const carried = page.getByRole("table", { name: "Files that workers carry" });
    await expect.poll(() => carried.getByRole("row", { name: second }).count(), { timeout: 20_000 }).toBe(1);
    const row = carried.getByRole("row", { name: second });
    await row.locator("summary").click();
    await row.getByRole("button").click();
    expect(await heading(page)).toBe("1 file is cancelled");
    await until("its end", async () => (await service.ask(`/api/v1/runs/${run.id}`)).body.cancelled === 1);
    await page.getByRole("link", { name: `Run ${run.id}` }).click();
    await confirm(page, "Cancel: 1 file to go", "Cancel 1 file");
    expect(await heading(page)).toBe("The run is cancelled");
    await page.getByRole("link", { name: `Run ${run.id}` }).click();
    await expect.poll(() => page.locator("#state").textContent(), { timeout: 20_000 }).toBe("cancelled");
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({
      state: "cancelled",
      copied: 1,
      cancelled: 2,
    });
    for (const gate of gates) gate.open();

    gates.splice(0, 1, new Gate());
    const last = origin.route("/last", does.gated(gates[0] as Gate, does.file("x")));
    const { body: next } = await service.ask("/api/v1/runs", {
      json: { sources: [last], to: work.at("last") },
    });
    await page.goto(`${service.url}/dashboard/runs/${next.id}`);
    await gates[0]?.reached;
    gates[0]?.open();
    await expect.poll(() => page.locator("#state").textContent(), { timeout: 20_000 }).toBe("done");
    await expect
      .poll(() => page.locator("#live").getAttribute("data-events"), { timeout: 20_000 })
      .toBe(null);
    expect(wrong).toEqual([]);
  });

  it("stay usable for a run of 100,000 files, all of which failed", { timeout: 240_000 }, async ({
    dashboard,
    fleet,
    work,
    browser,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1", "--root", work.out]);
    await service.ask("/api/v1/dispatch/pause", { method: "POST" });
    await fleet.worker(); // which leads: it ends what is cancelled
    const list = Array.from({ length: 100_000 }, (_, at) => `http://127.0.0.1:9/${at}`).join("\n");
    const { body: run } = await service.ask("/api/v1/runs", { json: { list, to: work.out, label: "large" } });
    const of = async () => (await service.ask(`/api/v1/runs/${run.id}`)).body;
    await until("its files", async () => (await of()).sealed, 120_000);
    const { page, wrong } = await openPage(browser, service, `/dashboard/runs/${run.id}`);
    await confirm(page, "Cancel: 100,000 files to go", "Cancel 100,000 files");
    expect(await heading(page)).toBe("The run is cancelled");
    await until("its end", async () => (await of()).cancelled === 100_000, 120_000);
    for (const [path, says] of [
      [`/runs/${run.id}`, "Retry these 100,000"],
      [`/runs/${run.id}/files?outcome=cancelled`, "http://127.0.0.1:9/99"],
      ["/overview", "Retry these 100,000"],
      [`/failures?class=cancelled`, "100,000 files"],
      ["/runs", "large"],
    ] as const) {
      await page.goto(`${service.url}/dashboard${path}`, { timeout: 60_000 });
      const html = await page.content();
      expect(html, path).toContain(says);
      expect(html.length, path).toBeLessThan(200_000);
    }
    const begunMs = Date.now();
    await page.goto(`${service.url}/dashboard/overview`);
    expect(Date.now() - begunMs).toBeLessThan(5_000); // it is counted once
    expect(wrong).toEqual([]);
  });
});

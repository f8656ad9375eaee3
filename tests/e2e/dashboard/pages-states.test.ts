import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hasBrowser, it, logIn } from "../../harness/dashboard.js";
import { confirm, DESKTOP, heading, numberedPaths, OPEN, openPage } from "../../harness/dashboard-pages.js";

describe.skipIf(!hasBrowser)("the pages", () => {
  it("tell in one sentence how the fleet stands, in four numbers, and what to do where there is nothing", async ({
    dashboard,
    fleet,
    work,
    origin,
    browser,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1", "--root", work.out]);
    const { page, wrong } = await openPage(browser, service, "/");
    expect(page.url()).toBe(`${service.url}/dashboard/overview`);
    const main = page.locator("main");
    expect(await main.textContent()).toContain("drover worker --redis");
    expect(await main.textContent()).toContain("drover sync https://example.com/prices.csv");
    expect(await page.locator("#verdict").textContent()).toContain(
      "Idle: nothing waits, and no worker is alive",
    );
    const sources = numberedPaths("quick", 25).map((path) => origin.url(path));
    origin.route("/quick-*", does.file("x"));
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources, to: work.out, label: "prices" },
    });
    await expect
      .poll(() => page.locator("#verdict").textContent(), { timeout: 20_000 })
      .toContain("Stuck: no workers, 25 files wait");
    expect(await page.locator("#verdict").getAttribute("class")).toContain("critical");
    expect(await page.locator("#aloud").textContent()).toBe("Stuck: no workers, 25 files wait");
    expect(await page.getByRole("progressbar").getAttribute("value")).toBe("0");
    const recent = async () =>
      (await service.ask("/api/v1/overview/recent")).body.samples as { waiting_files: number }[];
    await expect
      .poll(async () => (await recent()).at(-1), { timeout: 20_000 })
      .toMatchObject({ waiting_files: 25 });
    await fleet.worker(...OPEN);
    await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    await expect
      .poll(() => page.locator("#verdict").textContent(), { timeout: 20_000 })
      .toContain("Healthy: nothing waits");
    const row = page
      .getByRole("table", { name: "Runs that ended last" })
      .getByRole("row", { name: "prices" });
    expect(await row.textContent()).toContain("done");
    expect(await page.locator(".numbers polyline").count()).toBeGreaterThanOrEqual(4);
    expect(wrong).toEqual([]);
  });

  it("work without a script, and show no button to those who may only read", async ({
    dashboard,
    work,
    origin,
    browser,
    token,
  }) => {
    const service = await dashboard(["--root", work.at(""), ...OPEN]);
    const [reads, operates] = [await token("read"), await token("read,enqueue,operate")];
    const headers = { authorization: `Bearer ${operates}` };
    const missing = origin.route("/missing", does.status(404));
    const run = await service.runToEnd({ sources: [missing], to: work.at("out") }, headers);
    const visit = async (secret: string) => {
      const { cookie } = await logIn(service, secret);
      const context = await browser.newContext({ ...DESKTOP, javaScriptEnabled: false });
      const [name = "", value = ""] = cookie.split("=");
      await context.addCookies([{ name, value, url: service.url }]);
      return await context.newPage();
    };
    const reader = await visit(reads);
    for (const path of ["overview", "hosts", "events", "audit", `runs/${run.id}`, `runs/${run.id}/files`]) {
      await reader.goto(`${service.url}/dashboard/${path}`);
      expect(await reader.locator("main form:not(.filter)").count(), path).toBe(0);
    }
    const operator = await visit(operates);
    await operator.goto(`${service.url}/dashboard/overview`);
    await confirm(operator, "Retry these 1", "Retry 1 file");
    expect(await heading(operator)).toBe("1 file is tried again");
    await operator.goto(`${service.url}/dashboard/runs?state=done`);
    expect(await operator.getByRole("combobox").inputValue()).toBe("done");
  });

  it("keep what they show while Redis is away, say since when, and go on once it is back", async ({
    dashboard,
    fleet,
    work,
    origin,
    browser,
  }) => {
    origin.route("/a", does.file("x"));
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1", "--root", work.out]);
    await fleet.worker(...OPEN);
    await service.runToEnd({ sources: [origin.url("/a")], to: work.out, label: "prices" });
    const { page } = await openPage(browser, service, "/dashboard/overview");
    const shown = async () => await page.locator("main").textContent();
    expect(await shown()).toContain("prices");
    await fleet.redis.kill();
    const freshness = page.locator("#freshness");
    await expect
      .poll(() => freshness.textContent(), { timeout: 30_000 })
      .toMatch(/^Redis unreachable: this is as of \d\d:\d\d, \d+ s ago\.$/);
    expect(await shown()).toContain("prices");
    const late = await openPage(browser, service, "/dashboard/overview");
    expect(await late.page.getByRole("alert").textContent()).toContain("Redis is away");
    await fleet.redis.start();
    await expect.poll(() => freshness.textContent(), { timeout: 60_000 }).toBe("");
    expect(await shown()).toContain("prices");
    await expect.poll(() => late.page.locator("main").textContent(), { timeout: 60_000 }).toContain("prices");
  });
});

import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect } from "vitest";
import { hasBrowser, it } from "../../harness/dashboard.js";
import { confirm, heading, openPage, PHONE } from "../../harness/dashboard-pages.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

describe.skipIf(!hasBrowser)("the page of a pair", () => {
  it("shows conflicts with both versions, and resolves them", { timeout: 120_000 }, async ({
    dashboard,
    work,
    browser,
  }) => {
    work.write({ "data/a/one": "1", "data/a/two": "2" });
    mkdirSync(work.at("data/b"));
    const service = await dashboard(["--root", work.at("data")]);
    const { page, wrong } = await openPage(browser, service, "/dashboard/pairs");
    expect(await page.locator("main").textContent()).toContain("No pair was synced yet");
    const json = { local: work.at("data/a"), remote: work.at("data/b"), conflict: "manual" };
    const { run, pair } = (await service.ask("/api/v1/pairs", { json })).body;
    await service.ask(`/api/v1/runs/${run}?wait=30`);
    while ((await service.ask(`/api/v1/pairs/${pair}`)).body.ended_at === null) await sleep(20);
    await sleep(60); // no edit is of the tick of the file system in which this was written
    work.write({ "data/a/one": "local", "data/b/one": "remote side", "data/b/two": "22" });

    await page.goto(`${service.url}/dashboard/pairs`);
    await page.getByRole("link", { name: work.at("data/a") }).click();
    await confirm(page, "Sync now", "Sync this pair");
    expect(await heading(page)).toBe("It has begun");
    expect(await page.locator("main").textContent()).toContain("1 from it");
    await page.getByRole("link", { name: "The pair" }).click();
    const conflict = page.getByRole("row", { name: "one" });
    expect(await conflict.textContent()).toMatch(/both changed.*5 B.*11 B/);
    for (const viewport of [undefined, PHONE.viewport]) {
      if (viewport) await page.setViewportSize(viewport);
      await page.evaluate(AXE);
      const violations = await page.evaluate(async () => {
        const { axe } = globalThis as unknown as {
          axe: { run(): Promise<{ violations: { id: string }[] }> };
        };
        return (await axe.run()).violations.map(({ id }) => id);
      });
      expect(violations).toEqual([]);
    }
    await conflict.locator("summary").click();
    await conflict.getByLabel("Take").selectOption("remote");
    await conflict.getByRole("button", { name: "Resolve one" }).click();
    expect(await heading(page)).toBe("It has begun");
    const resolving = await page.getByRole("link", { name: "Its run" }).getAttribute("href");
    const id = resolving?.split("/").at(-1);
    expect((await service.ask(`/api/v1/runs/${id}?wait=30`)).body).toMatchObject({ copied: 1, failed: 0 });
    expect(readFileSync(work.at("data/a/one"), "utf8")).toBe("remote side");
    expect(wrong).toEqual([]);
  });
});

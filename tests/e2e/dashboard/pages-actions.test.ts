import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hasBrowser, it } from "../../harness/dashboard.js";
import { confirm, heading, numberedPaths, OPEN, openPage } from "../../harness/dashboard-pages.js";

describe.skipIf(!hasBrowser)("the pages", () => {
  it("retry what failed: of a class, of all, and what is ticked, each after its count was said", async ({
    dashboard,
    work,
    origin,
    browser,
  }) => {
    let gone = true;
    origin.route("/gone-*", (exchange) => (gone ? does.status(404) : does.file("found"))(exchange));
    origin.route("/secret-*", does.status(403));
    const service = await dashboard(["--root", work.at(""), ...OPEN]);
    const sources = [...numberedPaths("gone", 12), ...numberedPaths("secret", 3)].map((path) =>
      origin.url(path),
    );
    const run = await service.runToEnd({ sources, to: work.at("out") });
    const { page, wrong } = await openPage(browser, service, "/dashboard/overview");
    const failed = page.getByRole("table", { name: "Failures by class" });
    expect(await failed.getByRole("row").allTextContents()).toEqual([
      "ClassHostFilesAction",
      expect.stringContaining("Retry these 12"),
      expect.stringContaining("Retry these 3"),
    ]);
    // What is unfolded, and the focus, stay over refreshes.
    await page.locator("summary", { hasText: "Retry these 12" }).click();
    await page.waitForResponse((response) => response.request().headers()["x-fragment"] !== undefined);
    expect(await page.locator("details[open]").textContent()).toContain("12 files of 127.0.0.1");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Retry these 12");
    gone = false;
    await page.getByRole("button", { name: "Retry 12 files" }).click();
    expect(await heading(page)).toBe("12 files are tried again");
    await page.getByRole("link", { name: `Run ${run.id}` }).click();
    await expect
      .poll(() => page.locator("#state").textContent(), { timeout: 20_000 })
      .toBe("done, with failures");
    expect(await service.ask(`/api/v1/runs/${run.id}`)).toMatchObject({ body: { copied: 12, failed: 3 } });

    await page.getByRole("link", { name: "failed", exact: true }).click();
    await page.getByRole("checkbox").nth(0).check();
    await page.getByRole("checkbox").nth(2).check();
    await page.getByRole("button", { name: "Retry the ticked files" }).click();
    expect(await heading(page)).toBe("Retry 2 files?");
    const before = origin.requests.length;
    await page.getByRole("button", { name: "Retry 2 files" }).click();
    expect(await heading(page)).toBe("The run goes on");
    await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    const asked = origin.requests.slice(before).map(({ path }) => path);
    expect([...new Set(asked)].sort()).toEqual(["/secret-0000", "/secret-0002"]);
    await page.getByRole("link", { name: "The audit log" }).click();
    expect(await page.getByRole("table").textContent()).toContain("POST /api/v1/runs/{run}/retry");
    expect(await page.getByRole("row").count()).toBe(2); // the entry itself, under its head
    await page.getByRole("link", { name: "The run" }).click();
    expect(page.url()).toBe(`${service.url}/dashboard/runs/${run.id}`);

    await page.goto(`${service.url}/dashboard/runs/${run.id}`);
    await confirm(page, "Retry all 3", "Retry 3 files");
    expect(await heading(page)).toBe("The run goes on");
    await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    expect(wrong).toEqual([]);
  });

  it("close breakers, limit hosts, pause dispatch and replay dead letters", async ({
    dashboard,
    work,
    origin,
    browser,
  }) => {
    let broken = true;
    const url = origin.route("/a", (exchange) => (broken ? does.status(503) : does.file("fine"))(exchange));
    const service = await dashboard(["--root", work.at(""), ...OPEN]);
    const { body: run } = await service.ask("/api/v1/runs", {
      json: { sources: [url], to: work.at("out"), circuit_ttl: 3_600, retries: 8, backoff_factor: 1 },
    });
    const { page, wrong } = await openPage(browser, service, "/dashboard/overview");
    await expect
      .poll(() => page.locator("#verdict").textContent(), { timeout: 20_000 })
      .toContain("1 host blocked");
    const blocked = page.getByRole("table", { name: "Hosts whose breakers are open" });
    expect(await blocked.getByRole("row", { name: origin.host }).textContent()).toMatch(/in (1 h|\d+ min)/);
    broken = false;
    await page.locator("summary", { hasText: "Close the breaker: 1 file" }).waitFor();
    expect(await blocked.locator("details").textContent()).toContain("About 1 file of 1 run waits for it");
    await confirm(page, "Close the breaker", `Close the breaker of ${origin.host}`);
    expect([await heading(page), await page.locator("main").textContent()]).toEqual([
      "The breaker is closed",
      expect.stringContaining("1 file that waited"),
    ]);
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({ copied: 1 });
    await page.getByRole("link", { name: "The audit log" }).click();
    expect(await page.getByRole("row").last().textContent()).toContain("/breaker/close");
    await page.getByRole("link", { name: "The host" }).click();
    expect(await page.getByRole("rowheader").allTextContents()).toEqual([origin.host]);

    await page.goto(`${service.url}/dashboard/hosts`);
    const host = page.getByRole("row", { name: origin.host });
    await host.locator("summary", { hasText: "Limit" }).click();
    await host.getByLabel("Files at once").fill("7");
    await host.getByRole("button", { name: "Limit" }).click();
    expect(await page.locator("main").textContent()).toContain("7 files at once");
    expect((await service.ask("/api/v1/hosts")).body.hosts[0].limit).toEqual({ files: 7 });
    await page.goto(`${service.url}/dashboard/hosts`);
    await confirm(page, "Remove limit", /Remove the limit/);
    expect((await service.ask("/api/v1/hosts")).body.hosts[0].limit).toBe(null);
    await page.goto(`${service.url}/dashboard/hosts`);
    await host.locator("summary", { hasText: "Limit" }).click();
    await host.getByRole("button", { name: "Limit" }).click(); // with nothing filled in
    expect(await page.getByRole("alert").textContent()).toContain("name files");
    expect(await page.locator("main").textContent()).toContain("Nothing was changed.");
    wrong.length = 0; // the browser's console tells of the status

    await page.goto(`${service.url}/dashboard/overview`);
    await confirm(page, "Pause dispatch", "Pause dispatch");
    expect((await service.ask("/api/v1/dispatch")).body.paused).toBe(true);
    await page.getByRole("link", { name: "The overview" }).click();
    expect(await page.locator("#verdict").textContent()).toContain("Dispatch is paused");
    await confirm(page, "Resume dispatch", "Resume dispatch");
    expect((await service.ask("/api/v1/dispatch")).body.paused).toBe(false);

    for (const body of ["{ nonsense", "{ rubbish"])
      await service.ask("/sync/s3-notification", { method: "POST", body });
    await page.goto(`${service.url}/dashboard/events`);
    await page.locator("summary", { hasText: "Look at it" }).first().click();
    expect(await page.locator("details[open] pre").textContent()).toBe("{ rubbish");
    await confirm(page, "Replay all 2", "Replay 2 dead letters");
    expect(await page.locator("main").textContent()).toContain(
      "2 dead letters could not be understood again",
    );
    await page.goto(`${service.url}/dashboard/events`);
    await page
      .locator("summary", { hasText: /^Replay$/ })
      .first()
      .click();
    await page.getByRole("button", { name: "Replay it" }).first().click();
    expect(await heading(page)).toBe("It is a dead letter again");
    expect(wrong).toEqual([]);
  });
});

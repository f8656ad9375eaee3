import type { Page } from "playwright-core";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hasBrowser, it } from "../../harness/dashboard.js";
import { Gate } from "../../harness/gate.js";

/** What a page did that it must not. */
function watch(page: Page, own: string): string[] {
  const wrong: string[] = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/ERR_INTERNET_DISCONNECTED/.test(message.text()))
      wrong.push(message.text());
  });
  page.on("request", (request) => {
    if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(own)) wrong.push(request.url());
  });
  return wrong;
}

const refreshed = (page: Page) =>
  page.waitForResponse((response) => response.request().headers()["x-fragment"] === "1", { timeout: 15_000 });

describe.skipIf(!hasBrowser)("the pages in a browser", () => {
  it("are behind a login, stay fresh, and keep what somebody does there", async ({
    dashboard,
    fleet,
    token,
    browser,
    work,
    origin,
  }) => {
    const gate = new Gate();
    const held = origin.route("/held", does.gated(gate, does.file("held")));
    const open = ["--allow-address", "127.0.0.1"];
    await fleet.worker(...open);
    const service = await dashboard([...fleet.own, ...open, "--root", work.out, "--host", "127.0.0.1"]);
    const operates = await token("read,enqueue,operate", ...fleet.own);
    const headers = { authorization: `Bearer ${operates}` };
    const { status } = await service.ask("/api/v1/runs", {
      json: { sources: [held], to: work.out },
      headers,
    });
    expect(status).toBe(202);
    await gate.reached;

    const context = await browser.newContext({ viewport: { width: 375, height: 700 } });
    const page = await context.newPage();
    const wrong = watch(page, service.url);
    await page.goto(`${service.url}/`);
    expect(page.url()).toBe(`${service.url}/dashboard/login?next=%2Fdashboard%2F`);
    await page.getByLabel("Token").fill(operates);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    expect(await page.evaluate("document.cookie")).toBe(""); // no script sees it
    await page.goto(`${service.url}/dashboard/workers`);
    expect(await page.locator("nav [aria-current=page]").innerText()).toBe("Workers");

    await page.evaluate("window.isTheSamePage = true");
    const files = page.getByText("Its files");
    await files.click({ timeout: 15_000 });
    await files.focus();
    await refreshed(page);
    await refreshed(page);
    await expect.poll(() => page.locator("details").getAttribute("open")).toBe("");
    await page.getByText(held).waitFor();
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Its files");
    expect(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")).toBe(true);
    await fleet.worker();
    await page.locator("tbody th").nth(1).waitFor({ timeout: 15_000 });

    await context.setOffline(true);
    await page
      .getByRole("status")
      .getByText(/This is as of .* s ago: the server does not answer\./)
      .waitFor({ timeout: 15_000 });
    expect(await page.locator("tbody th").count()).toBe(2); // what was there stays
    await context.setOffline(false);
    await expect.poll(() => page.getByRole("status").innerText(), { timeout: 40_000 }).toBe("");
    expect(await page.evaluate("window.isTheSamePage")).toBe(true);
    gate.open();
    await expect.poll(() => page.getByText("Its files").count(), { timeout: 15_000 }).toBe(0);
    expect(wrong).toEqual([]);

    // A link of another site leads here although the cookie does not come along with it.
    await page.route("http://other.example/", (route) =>
      route.fulfill({ contentType: "text/html", body: `<a href="${service.url}/dashboard/hosts">here</a>` }),
    );
    await page.goto("http://other.example/");
    await page.getByText("here").click();
    await page.getByRole("heading", { name: "Hosts", level: 1 }).waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token").waitFor();
    await page.goto(`${service.url}/dashboard/hosts`);
    await page.getByLabel("Token").waitFor();
    await context.close();
  }, 120_000);

  it("ask for nothing while they are hidden", async ({ dashboard, browser }) => {
    const service = await dashboard();
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.clock.install();
    await page.goto(`${service.url}/dashboard/workers`);
    let asked = 0;
    page.on("request", () => asked++);
    const hide = (isHidden: boolean) =>
      page.evaluate(
        `Object.defineProperty(document, "hidden", { value: ${isHidden}, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));`,
      );
    const first = refreshed(page);
    await page.clock.runFor(3_000);
    await first;
    await hide(true);
    const before = asked;
    await page.clock.runFor(120_000);
    expect(asked).toBe(before);
    const again = refreshed(page);
    await hide(false);
    await again;
    await context.close();
  });

  it("tell what is wrong while Redis is away, and go on when it is back", async ({
    dashboard,
    fleet,
    browser,
  }) => {
    const service = await dashboard([...fleet.own]);
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${service.url}/dashboard/workers`);
    await page.getByText("No worker is alive").waitFor();
    await fleet.redis.kill();
    await page
      .getByRole("status")
      .getByText(/Redis unreachable: this is as of .* ago/)
      .waitFor({ timeout: 30_000 });
    await page.getByText("No worker is alive").waitFor();
    await fleet.redis.start();
    await expect.poll(() => page.getByRole("status").innerText(), { timeout: 60_000 }).toBe("");
    await context.close();
  });
});

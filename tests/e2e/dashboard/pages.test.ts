import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hasBrowser, it, logIn } from "../../harness/dashboard.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { Gate, until } from "../../harness/gate.js";
import type { TestService } from "../../harness/service.js";

const OPEN = ["--allow-address", "127.0.0.1"];
const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 360, height: 740 } };
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Opens a page of the dashboard, whose errors and requests to other hosts are kept. */
async function open(browser: Browser, service: TestService, path: string, options?: BrowserContextOptions) {
  const context = await browser.newContext({ ...DESKTOP, ...options });
  const page = await context.newPage();
  const wrong: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(service.url) && !request.url().startsWith("data:"))
      wrong.push(request.url());
  });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  await page.goto(service.url + path);
  return { page, wrong, context };
}

/** What axe has to say of a page, and whether it scrolls sideways. @param rule default: all of them. */
async function complaintsOf(page: Page, rule?: string): Promise<string[]> {
  await page.evaluate(AXE);
  return await page.evaluate(async (only) => {
    const { axe, document, innerWidth } = globalThis as unknown as {
      axe: { run(options: object): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> };
      document: { documentElement: { scrollWidth: number } };
      innerWidth: number;
    };
    const { violations } = await axe.run(only === undefined ? {} : { runOnly: [only] });
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join("\n")}`);
    return document.documentElement.scrollWidth > innerWidth ? [...found, "it scrolls sideways"] : found;
  }, rule);
}

/** Presses a button that asks, and confirms. */
async function confirm(page: Page, summary: string | RegExp, button: string | RegExp): Promise<void> {
  await page.locator("summary", { hasText: summary }).first().click();
  await page.getByRole("button", { name: button }).first().click();
}

const heading = async (page: Page) => await page.locator("h1").textContent();
const numbersOf = (names: string, count: number) =>
  Array.from({ length: count }, (_, at) => `/${names}-${String(at).padStart(4, "0")}`);

describe.skipIf(!hasBrowser)("the pages", () => {
  it("can be read by everybody, in light and dark, on a desk and on a phone, and ask no other host", {
    timeout: 240_000,
  }, async ({ dashboard, work, origin, browser }) => {
    const gate = new Gate();
    const bad = await FaultOrigin.start();
    const held = origin.route("/held", does.pausedAt("x".repeat(100_000), 60_000, gate));
    origin.route("/quick-*", does.file("x"));
    origin.route("/gone-*", does.status(404));
    const service = await dashboard(["--root", work.at(""), ...OPEN]);
    const look = async (paths: readonly string[]) => {
      const { page, wrong, context } = await open(browser, service, paths[0] as string);
      for (const path of paths) {
        await page.goto(service.url + path);
        // All that can be unfolded is looked at too.
        await page.locator("details").evaluateAll((all) => {
          for (const each of all) each.setAttribute("open", "");
        });
        for (const { viewport } of [DESKTOP, PHONE]) {
          await page.setViewportSize(viewport);
          await page.emulateMedia({ colorScheme: "light" });
          expect(await complaintsOf(page), `${path} ${viewport.width}`).toEqual([]);
          await page.emulateMedia({ colorScheme: "dark" });
          expect(await complaintsOf(page, "color-contrast"), `${path} dark ${viewport.width}`).toEqual([]);
        }
      }
      expect(wrong).toEqual([]);
      await context.close();
    };
    const paths = ["overview", "runs", "hosts", "workers", "events", "audit", "failures"];
    await look(paths.map((path) => `/dashboard/${path}`));

    const url = (path: string) => origin.url(path);
    const sources = [...numbersOf("quick", 30), ...numbersOf("gone", 5)].map(url);
    const done = await service.runToEnd({ sources, to: work.at("done"), label: "nightly" });
    const { body: running } = await service.ask("/api/v1/runs", {
      json: { sources: [held, url("/gone-0001")], to: work.at("held") },
    });
    const { body: blocked } = await service.ask("/api/v1/runs", {
      json: {
        sources: [bad.route("/a", does.status(503))],
        to: work.at("bad"),
        circuit_ttl: 600,
        retries: 9,
      },
    });
    await service.ask("/sync/s3-notification", { method: "POST", body: "{ nonsense" });
    await service.ask(`/api/v1/hosts/${origin.host}/limit`, { method: "PUT", json: { files: 8 } });
    await until("a blocked host", async () => {
      const { body } = await service.ask("/api/v1/overview");
      return body.blocked_hosts.length > 0 && body.workers.carrying > 0;
    });
    await look([
      ...paths.map((path) => `/dashboard/${path}`),
      `/dashboard/runs/${done.id}`,
      `/dashboard/runs/${done.id}/files`,
      `/dashboard/runs/${done.id}/files?outcome=failed`,
      `/dashboard/runs/${running.id}`,
      `/dashboard/runs/${blocked.id}`,
      "/dashboard/runs?state=cancelled",
    ]);
    gate.open();
    await bad.stop();
  });

  it("tell in one sentence how the fleet stands, in four numbers, and what to do where there is nothing", async ({
    dashboard,
    fleet,
    work,
    origin,
    browser,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1", "--root", work.out]);
    const { page, wrong } = await open(browser, service, "/");
    expect(page.url()).toBe(`${service.url}/dashboard/overview`);
    const main = page.locator("main");
    await expect.poll(() => main.textContent()).toContain("drover worker --redis");
    expect(await main.textContent()).toContain("drover sync https://example.com/prices.csv");
    expect(await page.locator("#verdict").textContent()).toContain(
      "Idle: nothing waits, and no worker is alive",
    );
    const sources = numbersOf("quick", 25).map((path) => origin.url(path));
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
    const sources = [...numbersOf("gone", 12), ...numbersOf("secret", 3)].map((path) => origin.url(path));
    const run = await service.runToEnd({ sources, to: work.at("out") });
    const { page, wrong } = await open(browser, service, "/dashboard/overview");
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

    await page.goto(`${service.url}/dashboard/runs/${run.id}`);
    await confirm(page, "Retry all 3", "Retry 3 files");
    expect(await heading(page)).toBe("The run goes on");
    await service.ask(`/api/v1/runs/${run.id}?wait=30`);
    expect(wrong).toEqual([]);
  });

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
    const { page, wrong } = await open(browser, service, `/dashboard/runs/${run.id}`);
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
    const { page, wrong } = await open(browser, service, "/dashboard/overview");
    await expect
      .poll(() => page.locator("#verdict").textContent(), { timeout: 20_000 })
      .toContain("1 host blocked");
    const blocked = page.getByRole("table", { name: "Hosts whose breakers are open" });
    expect(await blocked.getByRole("row", { name: origin.host }).textContent()).toMatch(/in (1 h|\d+ min)/);
    broken = false;
    await confirm(page, "Close the breaker", `Close the breaker of ${origin.host}`);
    expect([await heading(page), await page.locator("main").textContent()]).toEqual([
      "The breaker is closed",
      expect.stringContaining("1 file that waited"),
    ]);
    expect((await service.ask(`/api/v1/runs/${run.id}?wait=30`)).body).toMatchObject({ copied: 1 });

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

  it("ask for nothing in a hidden tab, and at once when it is seen again", async ({ dashboard, browser }) => {
    const service = await dashboard();
    const { page } = await open(browser, service, "/dashboard/overview");
    const show = async (isShown: boolean) => {
      await page.evaluate(`Object.defineProperty(document, "hidden", { configurable: true, value: ${!isShown} });
        document.dispatchEvent(new Event("visibilitychange"));`);
    };
    const isNews = (request: { headers(): Record<string, string> }) =>
      request.headers()["x-fragment"] !== undefined;
    await page.waitForRequest(isNews);
    await show(false);
    await page.waitForTimeout(500); // what was asked for before has come
    let asked = 0;
    page.on("request", () => asked++);
    await page.waitForTimeout(7_000); // more than two refreshes
    expect(asked).toBe(0);
    await Promise.all([page.waitForRequest(isNews, { timeout: 2_000 }), show(true)]);
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
    const { page } = await open(browser, service, "/dashboard/overview");
    const shown = async () => await page.locator("main").textContent();
    expect(await shown()).toContain("prices");
    await fleet.redis.kill();
    const freshness = page.locator("#freshness");
    await expect
      .poll(() => freshness.textContent(), { timeout: 30_000 })
      .toMatch(/^Redis unreachable: what is shown is as of \d\d:\d\d, \d+ s ago\.$/);
    expect(await shown()).toContain("prices");
    const late = await open(browser, service, "/dashboard/overview");
    expect(await late.page.getByRole("alert").textContent()).toContain("Redis is away");
    await fleet.redis.start();
    await expect.poll(() => freshness.textContent(), { timeout: 60_000 }).toBe("");
    expect(await shown()).toContain("prices");
    await expect.poll(() => late.page.locator("main").textContent(), { timeout: 60_000 }).toContain("prices");
  });

  it("stay usable for a run of 100,000 files, all of which failed", { timeout: 240_000 }, async ({
    dashboard,
    fleet,
    work,
    browser,
  }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1", "--root", work.out]);
    const list = Array.from({ length: 100_000 }, (_, at) => `http://127.0.0.1:9/${at}`).join("\n");
    const { body: run } = await service.ask("/api/v1/runs", { json: { list, to: work.out, label: "large" } });
    const of = async () => (await service.ask(`/api/v1/runs/${run.id}`)).body;
    await until("its files", async () => (await of()).sealed, 120_000);
    const { page, wrong } = await open(browser, service, `/dashboard/runs/${run.id}`);
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
      const begunMs = Date.now();
      await page.goto(`${service.url}/dashboard${path}`, { timeout: 60_000 });
      console.log(path, Date.now() - begunMs, "ms");
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

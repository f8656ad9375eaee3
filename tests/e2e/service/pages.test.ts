import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { it } from "../../harness/service.js";

const CHROMIUM = process.env.DROVER_TEST_CHROMIUM ?? "/usr/bin/chromium";

describe.skipIf(!existsSync(CHROMIUM))("the pages of the service", () => {
  let browser: Browser;
  beforeAll(async () => {
    const args = ["--no-sandbox", "--disable-background-networking"];
    browser = await chromium.launch({ executablePath: CHROMIUM, args });
  }, 60_000);
  afterAll(async () => await browser.close());

  it.for([
    ["/docs", "Start a run"],
    ["/redoc", "Start a run"],
  ])("%s shows the API and asks no other host", async ([path, text], { serve }) => {
    const service = await serve([], { ENABLE_PERIODIC_SYNC: "false" });
    const page = await browser.newPage();
    const asked: string[] = [];
    const wrong: string[] = [];
    page.on("request", (request) => asked.push(request.url()));
    page.on("pageerror", (error) => wrong.push(String(error)));
    page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
    await page.goto(service.url + path);
    await page
      .getByText(text as string, { exact: true })
      .last()
      .waitFor({ timeout: 30_000 });
    expect(asked.filter((url) => !/^(data|blob):/.test(url) && !url.startsWith(service.url))).toEqual([]);
    expect(wrong).toEqual([]);
    await page.close();
  });
});

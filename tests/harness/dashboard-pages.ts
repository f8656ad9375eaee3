import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import type { TestService } from "./service.js";

/** Lets workers fetch from servers of a test. */
export const OPEN = ["--allow-address", "127.0.0.1"];
export const DESKTOP = { viewport: { width: 1280, height: 800 } };
export const PHONE = { viewport: { width: 360, height: 740 } };

/** Opens a page of the dashboard, whose errors and requests to other hosts are kept. */
export async function openPage(
  browser: Browser,
  service: TestService,
  path: string,
  options?: BrowserContextOptions,
) {
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

/** Presses a button that asks, and confirms. */
export async function confirm(page: Page, summary: string | RegExp, button: string | RegExp): Promise<void> {
  await page.locator("summary", { hasText: summary }).first().click();
  await page.getByRole("button", { name: button }).first().click();
}

/** The heading of the first level. */
export const heading = async (page: Page) => await page.locator("h1").textContent();
/** Paths like `/name-0001`. */
export const numberedPaths = (names: string, count: number) =>
  Array.from({ length: count }, (_, at) => `/${names}-${String(at).padStart(4, "0")}`);

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { hasBrowser, it } from "../../harness/dashboard.js";
import { DESKTOP, numberedPaths, OPEN, openPage, PHONE } from "../../harness/dashboard-pages.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { Gate, until } from "../../harness/gate.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

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
      const { page, wrong, context } = await openPage(browser, service, paths[0] as string);
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
    const sources = [...numberedPaths("quick", 30), ...numberedPaths("gone", 5)].map(url);
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
});

import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";
import { it as base, type TestService } from "./service.js";

const CHROMIUM = process.env.DROVER_TEST_CHROMIUM ?? "/usr/bin/chromium";
/** Whether there is a browser to test with. */
export const hasBrowser = existsSync(CHROMIUM);

/** A login of a test, as a browser would have it. */
export interface Login {
  readonly cookie: string;
  /** The cookie's attributes, as the server set them. */
  readonly attributes: string;
}

export interface AskedPage {
  readonly method?: string;
  readonly cookie?: string;
  /** Origin to claim; `own` for the service's. Default: none. */
  readonly origin?: string;
  readonly form?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A page's answer. Redirects are not followed. */
export async function askPage(service: TestService, path: string, asked: AskedPage = {}): Promise<Response> {
  const { method = asked.form ? "POST" : "GET", cookie, origin, form, headers } = asked;
  return await fetch(service.url + path, {
    method,
    redirect: "manual",
    headers: {
      accept: "text/html",
      ...(cookie === undefined ? {} : { cookie }),
      ...(origin === undefined ? {} : { origin: origin === "own" ? service.url : origin }),
      ...headers,
    },
    ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
  });
}

/** Logs in with a token. */
export async function logIn(service: TestService, token: string): Promise<Login> {
  const response = await askPage(service, "/dashboard/login", { form: { token }, origin: "own" });
  const [set = ""] = response.headers.getSetCookie();
  const [cookie = "", ...attributes] = set.split("; ");
  return { cookie, attributes: attributes.join("; ") };
}

interface Fixtures {
  /** Starts `drover serve --dashboard`, without periodic syncs. */
  dashboard(args?: readonly string[], env?: Readonly<Record<string, string>>): Promise<TestService>;
  /** Makes a token of the state directory of services, or of the Redis that the options name. */
  token(scopes: string, ...options: string[]): Promise<string>;
  /** One per test file. */
  browser: Browser;
}

export const it = base.extend<Fixtures>({
  dashboard: async ({ serve }, use) => {
    await use((args = [], env = {}) =>
      serve(["--dashboard", ...args], { ENABLE_PERIODIC_SYNC: "false", ...env }),
    );
  },
  token: async ({ box, work }, use) => {
    await use(async (scopes, ...options) => {
      const env = { XDG_STATE_HOME: work.at("state") };
      const args = ["token", "create", "test", "--scopes", scopes, ...options];
      const { code, stdout, stderr } = await box.run(args, { env });
      if (code !== 0) throw new Error(stderr);
      return stdout.trim();
    });
  },
  browser: [
    // biome-ignore lint/correctness/noEmptyPattern: vitest reads what a fixture needs from the pattern
    async ({}, use) => {
      const args = ["--no-sandbox", "--disable-background-networking"];
      const browser = await chromium.launch({ executablePath: CHROMIUM, args });
      await use(browser);
      await browser.close();
    },
    { scope: "file" },
  ],
});

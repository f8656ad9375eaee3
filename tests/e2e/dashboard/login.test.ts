import { connect } from "@drover/shared/redis/connect";
import { describe, expect } from "vitest";
import { askPage, it, logIn } from "../../harness/dashboard.js";

const PAGES = ["/dashboard/workers", "/dashboard/hosts", "/dashboard/queues/"];

describe("who may see the dashboard", () => {
  it("is this machine where there is no token, asked by its own name from its own pages", async ({
    dashboard,
  }) => {
    const service = await dashboard();
    for (const path of PAGES) expect((await askPage(service, path)).status, path).toBe(200);
    const foreign = await askPage(service, "/dashboard/hosts/a/close", {
      form: {},
      origin: "https://example.com",
    });
    expect(foreign.status).toBe(403);
    const without = await askPage(service, "/dashboard/hosts/a/close", { form: {} });
    expect(without.status).toBe(403);
    const own = await askPage(service, "/dashboard/hosts/a.example/close", { form: {}, origin: "own" });
    expect([own.status, await own.text()]).toEqual([200, expect.stringContaining("was closed already")]);
    const forwarded = await askPage(service, PAGES[0] as string, { headers: { "x-forwarded-user": "root" } });
    expect(forwarded.status).toBe(403);
  });

  it("is who has logged in with a token, until logging out", async ({ dashboard, token }) => {
    const service = await dashboard();
    const reads = await token("read");
    for (const path of PAGES) {
      const answer = await askPage(service, path);
      expect([answer.status, answer.headers.get("location")], path).toEqual([
        303,
        `/dashboard/login?next=${encodeURIComponent(path)}`,
      ]);
      expect((await askPage(service, path, { headers: { "x-fragment": "1" } })).status, path).toBe(401);
    }
    expect(
      (await askPage(service, "/dashboard/queues/api/queues", { headers: { accept: "application/json" } }))
        .status,
    ).toBe(401);
    const wrong = await askPage(service, "/dashboard/login", { form: { token: "wrong" }, origin: "own" });
    expect([wrong.status, wrong.headers.getSetCookie()]).toEqual([401, []]);
    const elsewhere = await askPage(service, "/dashboard/login", {
      form: { token: reads },
      origin: "http://a.example",
    });
    expect(elsewhere.status).toBe(403);

    const { cookie, attributes } = await logIn(service, reads);
    expect(cookie).toMatch(/^drover=[\w-]{43}$/);
    expect(attributes).toMatch(/^Max-Age=\d+; Path=\/; Expires=[^;]+; HttpOnly; SameSite=Strict$/);
    for (const path of PAGES) expect((await askPage(service, path, { cookie })).status, path).toBe(200);
    expect((await fetch(`${service.url}/api/v1/workers`, { headers: { cookie } })).status).toBe(200);
    const operates = { form: {}, cookie, origin: "own" };
    expect((await askPage(service, "/dashboard/hosts/a/close", operates)).status).toBe(403); // it may only read

    const out = await askPage(service, "/dashboard/logout", { form: {}, cookie, origin: "own" });
    expect(out.headers.getSetCookie()[0]).toMatch(/^drover=; Max-Age=0;/);
    expect((await askPage(service, PAGES[0] as string, { cookie })).status).toBe(303);
    expect((await fetch(`${service.url}/api/v1/workers`, { headers: { cookie } })).status).toBe(401);
  });

  it("gets a cookie for TLS alone where the request came through a proxy", async ({ dashboard, token }) => {
    const service = await dashboard();
    const reads = await token("read");
    const login = await askPage(service, "/dashboard/login", {
      form: { token: reads },
      headers: { "x-forwarded-proto": "https" },
      origin: service.url.replace("http:", "https:"),
    });
    expect(login.headers.getSetCookie()[0]).toMatch(/^__Host-drover=.*; HttpOnly; Secure; SameSite=Strict$/);
  });

  it("ends with the token and with the session", async ({ dashboard, fleet, token, box }) => {
    const service = await dashboard([...fleet.own, "--host", "127.0.0.1"]);
    const redis = await connect(fleet.redis.address);
    const page = async (cookie: string) => (await askPage(service, "/dashboard/workers", { cookie })).status;
    const brief = await logIn(service, await token("read", "--expires", "4s", ...fleet.own));
    expect(await page(brief.cookie)).toBe(200);

    const revoked = await logIn(service, await token("read,operate", ...fleet.own));
    expect(await page(revoked.cookie)).toBe(200);
    const { stdout } = await box.run(["token", "list", "--json", ...fleet.own]);
    const [, second] = JSON.parse(stdout) as { id: string }[];
    await box.run(["token", "revoke", second?.id as string, ...fleet.own]);
    expect(await page(revoked.cookie)).toBe(303);
    await expect.poll(() => page(brief.cookie), { timeout: 10_000 }).toBe(303);

    const idle = await logIn(service, await token("read", ...fleet.own));
    const sessions = async () => await redis.keys("{drover}:service:session:*");
    const names = await sessions();
    expect(names.join()).not.toContain(idle.cookie.split("=")[1]); // only hashes are kept
    const left = await Promise.all(names.map((name) => redis.pttl(name)));
    expect(Math.max(...left)).toBeGreaterThan(11 * 3_600_000);
    expect(Math.max(...left)).toBeLessThanOrEqual(12 * 3_600_000);
    await redis.del(...names); // as Redis does when they expire
    expect(await page(idle.cookie)).toBe(303);
    redis.disconnect();
  });

  it("may not be guessed quickly", async ({ dashboard, token }) => {
    const service = await dashboard();
    await token("read");
    const statuses: number[] = [];
    for (let tries = 0; tries < 40; tries++) {
      const { status } = await askPage(service, "/dashboard/login", {
        form: { token: "guess" },
        origin: "own",
      });
      statuses.push(status);
    }
    expect(new Set(statuses)).toEqual(new Set([401, 429]));
  });

  it("goes on to where it was, and to no other host", async ({ dashboard, token }) => {
    const service = await dashboard();
    const reads = await token("read");
    for (const [next, goesTo] of [
      ["/dashboard/hosts?cursor=a", "/dashboard/hosts?cursor=a"],
      ["//example.com/dashboard/", "/dashboard/"],
      ["https://example.com/dashboard/", "/dashboard/"],
      ["/\\example.com/dashboard/", "/dashboard/"],
      ["/api/v1/runs", "/dashboard/"],
    ] as const) {
      const form = { token: reads, next };
      const { headers } = await askPage(service, "/dashboard/login", { form, origin: "own" });
      expect(headers.get("location"), next).toBe(goesTo);
    }
  });
});

describe("a proxy that logs users in", () => {
  it("is believed from its own address, and its users may read unless more is said", async ({
    dashboard,
  }) => {
    const proxy = ["--trusted-proxy", "127.0.0.1", "--proxy-scope", "alice@example.com=read,operate"];
    const service = await dashboard(proxy);
    const as = (user: string) => ({ "x-forwarded-user": user });
    const workers = async (headers: Record<string, string>) =>
      (await fetch(`${service.url}/api/v1/workers`, { headers })).status;
    expect(await workers(as("bob"))).toBe(200);
    expect(await workers({ ...as("bob"), authorization: "Basic Ym9iOg==" })).toBe(200); // as oauth2-proxy sends it
    expect(await workers({ authorization: "Basic Ym9iOg==" })).toBe(401);
    expect(await workers({})).toBe(401); // even on this machine
    expect(await workers({ "x-auth-request-email": "bob" })).toBe(401);
    const page = await askPage(service, "/dashboard/workers", { headers: as("bob@example.com") });
    expect(await page.text()).toContain("bob@example.com");
    const close = async (user: string, origin: string) =>
      (await askPage(service, "/dashboard/hosts/a/close", { form: {}, headers: as(user), origin })).status;
    expect(await close("bob", "own")).toBe(403);
    expect(await close("alice@example.com", "own")).toBe(200);
    expect(await close("alice@example.com", "https://example.com")).toBe(403);
    const pause = async (headers: Record<string, string>) =>
      (await fetch(`${service.url}/api/v1/dispatch/resume`, { method: "POST", headers })).status;
    expect(await pause(as("alice@example.com"))).toBe(403); // no Origin: it may be another page's
    expect(await pause({ ...as("alice@example.com"), origin: service.url })).toBe(200);
    const { body } = await service.ask("/api/v1/audit", { headers: as("alice@example.com") });
    expect(body.entries[0]).toMatchObject({
      who: "proxy:alice@example.com",
      what: "POST /api/v1/dispatch/resume",
    });
  });

  it("is not believed from another address", async ({ dashboard }) => {
    const service = await dashboard(["--trusted-proxy", "192.0.2.0/24"]);
    const headers = { "x-forwarded-user": "alice" };
    expect((await fetch(`${service.url}/api/v1/workers`, { headers })).status).toBe(401);
    expect((await askPage(service, "/dashboard/workers", { headers })).status).toBe(303);
  });

  it("needs settings that mean something", async ({ box, work }) => {
    for (const [args, message] of [
      [["--trusted-proxy", "127.0.0.1"], /add --dashboard/],
      [["--dashboard", "--trusted-proxy", "nonsense"], /no address of a proxy/],
      [["--dashboard", "--proxy-scope", "a=read"], /--trusted-proxy/],
      [["--dashboard", "--trusted-proxy", "127.0.0.1", "--proxy-scope", "a=root"], /no user and scopes/],
      [["--dashboard", "--trusted-proxy", "127.0.0.1", "--proxy-user-header", "a b"], /no name of a header/],
    ] as const) {
      const { code, stderr } = await box.run(["serve", "--port", "0", ...args], { cwd: work.path });
      expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
    }
  });
});

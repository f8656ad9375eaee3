import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type HttpAnswer, HttpClient } from "@drover/shared/storage/http/client";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import * as does from "../../harness/behaviours.js";
import { type Certificate, selfSigned } from "../../harness/certificate.js";
import { pattern, toBuffer } from "../../harness/content.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { TestProxy } from "../../harness/proxy.js";

const LARGE = toBuffer(pattern(3 << 20));
const BASIC = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;

let directory: string;
let certificate: Certificate;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "drover-proxy-"));
  certificate = await selfSigned(directory, "DNS:origin.test,IP:127.0.0.1");
});
afterAll(() => rmSync(directory, { recursive: true }));

let origin: FaultOrigin;
let secure: FaultOrigin;
let proxy: TestProxy;
const clients: HttpClient[] = [];
beforeEach(async () => {
  for (const name of ["http_proxy", "https_proxy", "all_proxy", "no_proxy"]) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toUpperCase(), undefined);
  }
  [origin, secure, proxy] = await Promise.all([
    FaultOrigin.start(),
    FaultOrigin.start(certificate),
    TestProxy.start(),
  ]);
  vi.stubEnv("DROVER_CA_FILE", certificate.certPath);
  vi.stubEnv("HTTP_PROXY", proxy.url());
  vi.stubEnv("HTTPS_PROXY", proxy.url());
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await Promise.all([origin.stop(), secure.stop(), proxy.stop()]);
});

/** A name that only the proxy knows. */
const named = (server: FaultOrigin, path: string) => server.url(path).replace("127.0.0.1", "origin.test");

function client(timeoutMs = 5_000): HttpClient {
  const made = new HttpClient({ timeoutMs, connections: 4 });
  clients.push(made);
  return made;
}

const get = (url: string, of = client()) => of.get(url, {}, {}, new AbortController().signal);

async function bytesOf({ body }: HttpAnswer): Promise<Buffer> {
  body.reuseMemory();
  const parts: Buffer[] = [];
  for (let chunks = await body.read(); chunks !== null; chunks = await body.read())
    parts.push(Buffer.concat(chunks));
  return Buffer.concat(parts);
}

describe("through a proxy", () => {
  test("an http URL is asked for whole, and the origin gets its own host and no credentials of the proxy", async () => {
    proxy.wants = BASIC;
    vi.stubEnv("HTTP_PROXY", proxy.url("me:p%40ss"));
    origin.route("/a", does.file("content"));
    const url = named(origin, "/a?b=c");
    expect((await bytesOf(await get(url))).toString()).toBe("content");
    expect(proxy.requests).toEqual([{ method: "GET", target: url, authorization: BASIC }]);
    expect(origin.requests[0]?.headers.host).toBe(new URL(url).host);
    expect(origin.requests[0]?.headers["proxy-authorization"]).toBeUndefined();
  });

  test("an https URL goes through a tunnel, which is used again", async () => {
    proxy.wants = BASIC;
    vi.stubEnv("HTTPS_PROXY", proxy.url("me:p%40ss"));
    secure.route("/a", does.file("content"));
    const one = client();
    for (const _ of [1, 2, 3, 4, 5, 6])
      expect((await bytesOf(await get(named(secure, "/a"), one))).toString()).toBe("content");
    const target = `origin.test:${secure.port}`;
    for (const each of proxy.requests)
      expect(each).toEqual({ method: "CONNECT", target, authorization: BASIC });
    expect(proxy.requests.length).toBeLessThanOrEqual(2); // a request may begin before the last one is cleared away
    expect(secure.requests[0]?.headers["proxy-authorization"]).toBeUndefined();
  });

  test("of https as well", async () => {
    const tls = await TestProxy.start(certificate);
    vi.stubEnv("HTTP_PROXY", tls.url("", "https"));
    vi.stubEnv("HTTPS_PROXY", tls.url("", "https"));
    origin.route("/a", does.file("content"));
    secure.route("/a", does.file(LARGE));
    expect((await bytesOf(await get(named(origin, "/a")))).toString()).toBe("content");
    expect((await bytesOf(await get(named(secure, "/a")))).equals(LARGE)).toBe(true);
    expect(tls.requests.map(({ method }) => method)).toEqual(["GET", "CONNECT"]);
    await tls.stop();
  });

  test("large bodies come whole, side by side with direct ones", async () => {
    origin.route("/large", does.file(LARGE));
    secure.route("/large", does.file(LARGE));
    const one = client();
    const urls = [named(secure, "/large"), named(origin, "/large"), origin.url("/large")];
    const bodies = await Promise.all([...urls, ...urls].map(async (url) => bytesOf(await get(url, one))));
    for (const body of bodies) expect(body.equals(LARGE)).toBe(true);
  });

  test("go requests to services, with their bodies", async () => {
    origin.route("/put", does.file("done"));
    const put = { method: "PUT", body: Buffer.from("sent") } as const;
    const { origin: service } = new URL(named(origin, "/"));
    const headers = { "content-length": "4" };
    const answer = await client().ask(service, "/put?x=%2F", headers, new AbortController().signal, put);
    expect(answer.status).toBe(200);
    expect(proxy.requests).toMatchObject([{ method: "PUT", target: `${service}/put?x=%2F` }]);
  });

  test("does not go what NO_PROXY names, nor this machine", async () => {
    vi.stubEnv("NO_PROXY", "origin.test");
    origin.route("/a", does.file("content"));
    await expect(get(named(origin, "/a"))).rejects.toMatchObject({ class: "dns" });
    expect((await get(origin.url("/a"))).status).toBe(200);
    expect(proxy.requests).toEqual([]);
  });

  test("a redirect to a private address is refused, and the proxy is not asked", async () => {
    origin.route("/a", does.redirect("http://10.0.0.1/x"));
    await expect(get(named(origin, "/a"))).rejects.toMatchObject({ class: "address" });
    expect(proxy.requests.length).toBe(1);
  });

  test("a redirect to this machine is refused", async () => {
    origin.route("/secret", does.file("secret"));
    origin.route("/a", does.redirect(origin.url("/secret").replace("127.0.0.1", "localhost")));
    await expect(get(named(origin, "/a"))).rejects.toMatchObject({ class: "address" });
    expect(origin.requestsTo("/secret")).toEqual([]);
  });
});

describe("a proxy that", () => {
  test.for([
    ["http", 407, true],
    ["https", 407, true],
    ["https", 403, true],
    ["https", 502, false],
  ] as const)("refuses %s with %s is named without its password", async ([scheme, status, permanent]) => {
    vi.stubEnv("HTTP_PROXY", proxy.url("me:let-me-in"));
    vi.stubEnv("HTTPS_PROXY", proxy.url("me:let-me-in"));
    proxy.refuses = status;
    const failed = get(named(scheme === "http" ? origin : secure, "/a"));
    await expect(failed).rejects.toMatchObject({ class: "proxy", verdict: "none", permanent });
    await expect(failed).rejects.toThrow(`the proxy ${proxy.url()} refuses (HTTP status ${status})`);
  });

  test.for(["http", "https"])("is not there says so, for %s", async (scheme) => {
    const gone = await TestProxy.start();
    const url = gone.url("me:let-me-in");
    await gone.stop();
    vi.stubEnv("HTTP_PROXY", url);
    vi.stubEnv("HTTPS_PROXY", url);
    const failed = get(named(scheme === "http" ? origin : secure, "/a"));
    const shown = url.replace("me:let-me-in@", "");
    await expect(failed).rejects.toMatchObject({
      class: "proxy",
      verdict: "none",
      permanent: false,
      message: `the proxy ${shown}: cannot connect (ECONNREFUSED)`,
    });
  });

  test("never answers fails in time", async () => {
    proxy.silent = true;
    await expect(get(named(secure, "/a"), client(300))).rejects.toMatchObject({
      class: "proxy",
      verdict: "none",
      permanent: false,
      message: expect.stringContaining(`the proxy ${proxy.url()}: `),
    });
    await expect(get(named(origin, "/a"), client(300))).rejects.toMatchObject({ class: "timeout" });
  });

  test("leads to an origin with a certificate nobody knows: the error says what helps", async () => {
    vi.stubEnv("DROVER_CA_FILE", undefined);
    const failed = get(named(secure, "/a"));
    await expect(failed).rejects.toMatchObject({ class: "tls", permanent: true });
    await expect(failed).rejects.toThrow("--ca-file");
  });
});

describe("a certificate is verified with", () => {
  const direct = () => get(secure.url("/a"));

  test.for(["DROVER_CA_FILE", "SSL_CERT_FILE"])("%s", async (name) => {
    vi.stubEnv("DROVER_CA_FILE", undefined);
    secure.route("/a", does.file("content"));
    await expect(direct()).rejects.toMatchObject({ class: "tls" });
    vi.stubEnv(name, certificate.certPath);
    expect((await direct()).status).toBe(200);
  });

  test("SSL_CERT_DIR", async () => {
    vi.stubEnv("DROVER_CA_FILE", undefined);
    vi.stubEnv("SSL_CERT_DIR", `/nonexistent:${directory}`);
    secure.route("/a", does.file("content"));
    expect((await direct()).status).toBe(200);
  });

  test.for([
    ["/nonexistent/ca.pem", "cannot read the CA file /nonexistent/ca.pem (ENOENT)"],
    ["/etc/hostname", "the CA file /etc/hostname holds no certificate in PEM format"],
  ])("no file that cannot be used: %s", async ([path, message]) => {
    vi.stubEnv("DROVER_CA_FILE", path);
    await expect(direct()).rejects.toMatchObject({ class: "tls", permanent: true, message });
  });
});

describe("the User-Agent", () => {
  test("is Drover's own, else that of the client, else that of the user", async () => {
    origin.route("/a", does.file("content"));
    await get(origin.url("/a"));
    const own = new HttpClient({ timeoutMs: 5_000, connections: 1, userAgent: "mine/1" });
    clients.push(own);
    await get(origin.url("/a"), own);
    await own.get(origin.url("/a"), { "user-agent": "typed" }, {}, new AbortController().signal);
    const sent = origin.requests.map(({ headers }) => headers["user-agent"]);
    expect(sent).toEqual([expect.stringMatching(/^drover\/\d+\.\d+\.\d+/), "mine/1", "typed"]);
  });
});

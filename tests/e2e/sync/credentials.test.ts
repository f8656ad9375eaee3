import { readFileSync, rmSync } from "node:fs";
import type { TLSSocket } from "node:tls";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { selfSigned } from "../../harness/certificate.js";
import { type Behaviour, FaultOrigin } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";
import { onlyRun } from "../../harness/runs.js";

const SECRET = "let-me-in";
const BASIC = `Basic ${Buffer.from(`me:${SECRET}`).toString("base64")}`;
const once = ["--retries", "1", "--timeout", "5"];

it("a server that wants a login is told of with what can send one", async ({ box, origin, work }) => {
  const { items } = await box.sync([origin.route("/a", does.status(401)), ...work.into, ...once]);
  expect(items[0]?.error).toMatchObject({ class: "forbidden", message: expect.stringContaining("--netrc") });
});

describe("--netrc", () => {
  it("sends user and password to the host that it names, and nowhere else", async ({ box, origin, work }) => {
    const other = await FaultOrigin.start();
    const away = other.route("/away", does.file("away")).replace("127.0.0.1", "localhost");
    const urls = [origin.route("/a", does.file("one")), origin.route("/b", does.redirect(away))];
    const env = { NETRC: work.write({ netrc: `machine 127.0.0.1 login me password ${SECRET}\n` }) };
    const elsewhere = other.route("/c", does.file("three")).replace("127.0.0.1", "localhost");
    const result = await box.sync([...urls, elsewhere, ...work.into, ...once, "--netrc", "--verbose"], {
      env,
    });
    expect(result.items.map(({ outcome }) => outcome)).toEqual(["copied", "copied", "copied"]);
    for (const { headers } of origin.requests) expect(headers.authorization).toBe(BASIC);
    expect(other.requests.length).toBe(2);
    for (const { headers } of other.requests) expect(headers.authorization).toBeUndefined();
    const again = await box.sync([...urls, elsewhere, ...work.into, ...once, "--netrc"], { env });
    expect(again.items.map(({ outcome }) => outcome)).toEqual(["unchanged", "unchanged", "unchanged"]);
    for (const text of [result.stdout, result.stderr, ...box.stateFiles().map((each) => each.text)])
      expect(text).not.toContain(SECRET);
    await other.stop();
  });

  it("counts for the URLs in a list, also when its run is resumed, and is shown nowhere", async ({
    box,
    origin,
    work,
  }) => {
    const own = ["--state-dir", work.at("state")];
    const urls = [1, 2, 3, 4].map((at) =>
      origin.route(`/l${at}`, ...(at < 3 ? [does.silence] : []), does.file(`${at}`)),
    );
    const taken = origin.route("/own", does.file("own")).replace("://", "://you:own-secret@");
    const elsewhere = origin.route("/none", does.file("none")).replace("127.0.0.1", "localhost");
    const netrc = work.write({ netrc: `machine 127.0.0.1 login me password ${SECRET}\n` });
    const list = work.write({ list: [...urls, taken, elsewhere].join("\n") });
    const args = ["sync", "--from-file", list, ...work.into, ...own, "--netrc"];
    const options = ["--backlog-high-water", "2", "--max-workers", "2", "--verbose"];
    const run = box.start([...args, ...options], { env: { NETRC: netrc } });
    await origin.waitFor(2);
    run.interrupt();
    const stopped = await run.result;
    const { run: id } = await onlyRun(box, own);
    rmSync(netrc);
    const resumed = await box.run(["resume", id, ...own, "--json"]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    for (const { path, headers } of origin.requests) {
      const expected = path.startsWith("/l")
        ? BASIC
        : path === "/none"
          ? undefined
          : expect.stringMatching(/^Basic /);
      expect([path, headers.authorization]).toEqual([path, expected]);
    }
    expect(origin.requests.find(({ path }) => path === "/own")?.headers.authorization).not.toBe(BASIC);
    const status = await box.run(["status", id, ...own, "--json"]);
    for (const { stdout, stderr } of [stopped, resumed, status])
      expect(stdout + stderr).not.toContain(SECRET);
  });

  it("is for fetch, ~/.netrc and a fleet too", async ({ box, fleet, origin, work }) => {
    work.write({ ".netrc": `machine 127.0.0.1 login me password ${SECRET}\n` });
    const env = { HOME: work.path };
    const url = origin.route("/a", does.file("one"));
    const fetch = ["fetch", "--source-url", url, "--destination", work.to("f"), "--netrc"];
    expect((await box.run(fetch, { env })).code).toBe(0);
    const worker = await fleet.worker();
    const { items } = await box.sync([url, ...work.into, ...once, ...fleet.own, "--netrc"], { env });
    expect(items[0]?.outcome).toBe("copied");
    expect(origin.requests.map(({ headers }) => headers.authorization)).toEqual([BASIC, BASIC]);
    expect(worker.output).not.toContain(SECRET);
  });

  it("needs the file, and no other Authorization", async ({ box, origin, work }) => {
    const args = ["sync", origin.url("/a"), ...work.into, "--netrc"];
    const env = { NETRC: work.at("none") };
    const missing = await box.run(args, { env });
    expect(missing).toMatchObject({
      code: 2,
      stderr: `drover: --netrc: cannot read ${work.at("none")} (ENOENT)\n`,
    });
    const both = await box.run([...args, "--header", "authorization: x"], { env });
    expect(both.stderr).toBe(
      "drover: --netrc and another Authorization exclude each other (drover sync --help lists its options)\n",
    );
  });
});

describe("--bearer-token-file", () => {
  it("sends the token to the sources' own hosts, and shows it nowhere", async ({ box, origin, work }) => {
    const other = await FaultOrigin.start();
    const away = other.route("/away", does.file("away"));
    const urls = [origin.route("/a", does.file("one")), origin.route("/b", does.redirect(away))];
    const token = ["--bearer-token-file", work.write({ token: `${SECRET}\n` })];
    const result = await box.sync([...urls, ...work.into, ...once, ...token, "--verbose"]);
    expect(result.items.map(({ outcome }) => outcome)).toEqual(["copied", "copied"]);
    expect(readFileSync(work.to("b"), "utf8")).toBe("away");
    for (const { headers } of origin.requests) expect(headers.authorization).toBe(`Bearer ${SECRET}`);
    expect(other.requests[0]?.headers.authorization).toBeUndefined();
    const fetch = ["fetch", "--source-url", urls[0] as string, "--destination", work.to("f"), ...token];
    expect((await box.run(fetch)).code).toBe(0);
    expect(origin.requests.at(-1)?.headers.authorization).toBe(`Bearer ${SECRET}`);
    for (const text of [result.stdout, result.stderr, ...box.stateFiles().map((each) => each.text)])
      expect(text).not.toContain(SECRET);
    await other.stop();
  });

  it.for([
    ["two tokens", `${SECRET} ${SECRET}`, [], /must hold one token and nothing else/],
    ["nothing", "\n", [], /must hold one token and nothing else/],
    ["another Authorization", SECRET, ["--header", "Authorization: x"], /exclude each other/],
  ] as const)("is refused with %s", async ([, content, more, says], { box, origin, work }) => {
    const token = ["--bearer-token-file", work.write({ token: content })];
    const { code, stderr } = await box.run(["sync", origin.url("/a"), ...work.into, ...token, ...more]);
    expect(code).toBe(2);
    expect(stderr).toMatch(says);
    expect(stderr).not.toContain(SECRET);
  });
});

describe("--client-cert", () => {
  it("is presented to hosts that were named and ask for it, and to no other", async ({
    box,
    fleet,
    work,
  }) => {
    const certificate = await selfSigned(work.path, "IP:127.0.0.1,DNS:localhost");
    const asking = { ...certificate, ca: certificate.cert, requestCert: true, rejectUnauthorized: false };
    const secure = await FaultOrigin.start(asking);
    const other = await FaultOrigin.start(asking);
    const presented: [string, boolean][] = [];
    const seen =
      (name: string, behaviour: Behaviour): Behaviour =>
      (exchange) => {
        const socket = exchange.request.socket as TLSSocket;
        presented.push([name, socket.getPeerCertificate().fingerprint256 !== undefined]);
        return behaviour(exchange);
      };
    const away = other.route("/away", seen("away", does.file("away"))).replace("127.0.0.1", "localhost");
    const urls = [
      secure.route("/a", seen("a", does.file("one"))),
      secure.route("/b", seen("b", does.redirect(away))),
    ];
    const trust = ["--ca-file", certificate.certPath];
    const own = ["--client-cert", certificate.certPath, "--client-key", certificate.keyPath];
    const { items } = await box.sync([...urls, ...work.into, ...once, ...trust, ...own]);
    expect(items.map(({ outcome }) => outcome)).toEqual(["copied", "copied"]);
    expect(presented.sort()).toEqual([
      ["a", true],
      ["away", false],
      ["b", true],
    ]);
    presented.length = 0;
    await fleet.worker(...trust, ...own);
    const fleets = await box.sync([urls[0] as string, ...once, "--to", work.to("f"), ...fleet.own]);
    expect(fleets.items[0]?.outcome).toBe("copied");
    expect(presented).toEqual([["a", true]]);
    await Promise.all([secure.stop(), other.stop()]);
  });

  it.for<[string[], string]>([
    [["--client-cert", "/none"], "cannot read the client certificate /none (ENOENT)"],
    [
      ["--client-key", "/none"],
      "--client-key is the key of a certificate: it needs --client-cert (drover sync --help lists its options)",
    ],
    [
      ["--client-cert", "/etc/hostname"],
      "the client certificate /etc/hostname and the key in /etc/hostname cannot be used (ERR_OSSL_PEM_NO_START_LINE)",
    ],
  ])("%j is refused", async ([flags, message], { box, origin, work }) => {
    const { code, stderr } = await box.run(["sync", origin.url("/a"), ...work.into, ...flags]);
    expect(stderr).toBe(`drover: ${message}\n`);
    expect(code).toBe(2);
  });
});

import { existsSync, readFileSync } from "node:fs";
import { describe, expect } from "vitest";
import * as does from "../../harness/behaviours.js";
import { type Certificate, selfSigned } from "../../harness/certificate.js";
import { pattern, toBuffer } from "../../harness/content.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { it } from "../../harness/fixtures.js";

const once = ["--retries", "1", "--timeout", "5"];
const credentials = [
  ["--header", "Authorization: Bearer let-me-in"],
  ["--header", "Cookie: session=let-me-in"],
  ["--header", "X-Api-Key: let-me-in"],
].flat();

let certificate: Certificate | undefined;

describe("redirects", () => {
  it.for([301, 302, 303, 307, 308])(
    "with status %s are followed, and the file keeps the requested name",
    async (code, { box, origin, work }) => {
      origin.route("/there/other-name.txt", does.file("content"));
      const url = origin.route("/a.csv", does.redirect("/there/other-name.txt", code));
      const { items } = await box.sync([url, ...work.into]);
      expect(items[0]).toMatchObject({ outcome: "copied", source: url, attempts: 1 });
      expect(readFileSync(work.to("a.csv"), "utf8")).toBe("content");
    },
  );

  it("may form a chain", async ({ box, origin, work }) => {
    for (let i = 0; i < 5; i++) origin.route(`/${i}`, does.redirect(`/${i + 1}`));
    origin.route("/5", does.file("end"));
    const { items } = await box.sync([origin.url("/0"), ...work.into]);
    expect(items[0]?.outcome).toBe("copied");
    expect(readFileSync(work.to("0"), "utf8")).toBe("end");
  });

  it("that loop fail soon and permanently", async ({ box, origin, work }) => {
    origin.route("/a", does.redirect("/b"));
    origin.route("/b", does.redirect("/a"));
    const { items } = await box.sync([origin.url("/a"), ...work.into]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: 1, error: { class: "redirect" } });
    expect(origin.requests.length).toBeLessThanOrEqual(21);
  });

  it("without a target fail", async ({ box, origin, work }) => {
    const { items } = await box.sync([origin.route("/a", does.status(302)), ...work.into]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: 1 });
    expect(items[0]?.error?.class).toMatch(/^(redirect|protocol|http)$/);
  });

  it.for<[string, RegExp]>([
    ["file:///etc/hostname", /redirect|address/],
    ["ftp://127.0.0.1/x", /redirect|address/],
    ["data:text/plain,hello", /redirect|address/],
    ["http://169.254.169.254/latest/meta-data/", /redirect|address/],
    ["http://[::ffff:a9fe:a9fe]/latest/meta-data/", /redirect|address/],
    ["http://2852039166/latest/meta-data/", /redirect|address/],
    ["http://10.0.0.1/x", /redirect|address/],
    ["http://192.168.1.1/x", /redirect|address/],
    ["http://[fd00::1]/x", /redirect|address/],
    ["http://[64:ff9b::a9fe:a9fe]/x", /redirect|address/],
    ["http://0x0a.1/x", /redirect|address/],
    ["http://[bad/", /redirect|address|protocol/],
  ])("are not followed to %s", async ([to, cls], { box, origin, work }) => {
    const started = Date.now();
    const { items } = await box.sync([origin.route("/a", does.redirect(to)), ...work.into, "--timeout", "5"]);
    expect(items[0]).toMatchObject({ status: "failed", attempts: 1 });
    expect(items[0]?.error?.class).toMatch(cls);
    expect(existsSync(work.to("a"))).toBe(false);
    expect(Date.now() - started).toBeLessThan(4000);
  });
});

describe("credentials", () => {
  it("are sent to their host, and not across a redirect", async ({ box, origin, work }) => {
    origin.route("/b", does.file("content"));
    const url = origin.route("/a", does.redirect("/b"));
    const { items } = await box.sync([url, ...work.into, ...credentials]);
    expect(items[0]?.outcome).toBe("copied");
    expect(origin.requests).toHaveLength(2);
    for (const { headers } of origin.requests) {
      expect(headers.authorization).toBe("Bearer let-me-in");
      expect(headers.cookie).toBe("session=let-me-in");
      expect(headers["x-api-key"]).toBe("let-me-in");
    }
  });

  it("of a URL are sent as a header and not as part of the address", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("content")).replace("http://", "http://user:p%40ss@");
    const { items } = await box.sync([url, ...work.into]);
    expect(items[0]?.outcome).toBe("copied");
    const sent = origin.requests[0]?.headers.authorization;
    expect(sent).toBe(`Basic ${Buffer.from("user:p@ss").toString("base64")}`);
  });

  it("of a URL are sent unchanged if they are not percent-encoded", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("content")).replace("http://", "http://us%er:100%@");
    const { items } = await box.sync([url, ...work.into]);
    expect(items[0]?.outcome).toBe("copied");
    const sent = origin.requests[0]?.headers.authorization;
    expect(sent).toBe(`Basic ${Buffer.from("us%er:100%").toString("base64")}`);
  });

  it("are not sent to another origin", async ({ box, origin, work }) => {
    const other = await FaultOrigin.start();
    const there = other.route("/b", does.file("content"));
    const plain = origin.route("/a", does.redirect(there));
    const withUser = origin.route("/u", does.redirect(there)).replace("http://", "http://user:secret@");
    await box.sync([plain, ...work.into, ...credentials, ...once]);
    await box.sync([withUser, ...work.into, ...once]);
    await other.stop();
    expect(origin.requests).toHaveLength(2);
    for (const { headers } of other.requests) {
      expect(headers.authorization).toBeUndefined();
      expect(headers.cookie).toBeUndefined();
      expect(headers["x-api-key"]).toBeUndefined();
    }
  });

  it("are not restored by a redirect back to their origin", async ({ box, origin, work }) => {
    const other = await FaultOrigin.start();
    origin.route("/c", does.file("content"));
    const back = other.route("/b", does.redirect(origin.url("/c")));
    await box.sync([origin.route("/a", does.redirect(back)), ...work.into, ...credentials, ...once]);
    await other.stop();
    for (const { headers } of [...other.requests, ...origin.requestsTo("/c")]) {
      expect(headers.authorization).toBeUndefined();
      expect(headers.cookie).toBeUndefined();
    }
  });

  it("are not sent to another host among the run's sources", async ({ box, origin, work }) => {
    const other = await FaultOrigin.start();
    const one = origin.route("/a", does.file("a")).replace("http://", "http://user:secret@");
    await box.sync([one, other.route("/b", does.file("b")), ...work.into]);
    await other.stop();
    expect(other.requests.map((request) => request.path)).toEqual(["/b"]);
    expect(other.requests[0]?.headers.authorization).toBeUndefined();
  });
});

describe("https", () => {
  it("with an unknown certificate is refused permanently", async ({ box, work }) => {
    certificate ??= await selfSigned(box.root);
    const tls = await FaultOrigin.start(certificate);
    const { items, code } = await box.sync([
      tls.route("/a", does.file("x")),
      ...work.into,
      "--backoff-factor",
      "1",
    ]);
    await tls.stop();
    expect(items[0]).toMatchObject({ status: "failed", attempts: 1, error: { class: "tls" } });
    expect(code).toBe(3);
    expect(tls.requests).toEqual([]);
    expect(existsSync(work.to("a"))).toBe(false);
  });

  it("with a trusted certificate works", async ({ box, work }) => {
    certificate ??= await selfSigned(box.root);
    const tls = await FaultOrigin.start(certificate);
    const env = { NODE_EXTRA_CA_CERTS: certificate.certPath };
    const large = pattern(70_000_000); // in segments that bypass the parser
    const sources = [tls.route("/a", does.file("x")), tls.route("/large", does.file(large))];
    const { items } = await box.sync([...sources, ...work.into], { env });
    await tls.stop();
    expect(items.map(({ outcome }) => outcome)).toEqual(["copied", "copied"]);
    expect(readFileSync(work.to("large")).equals(toBuffer(large))).toBe(true);
  });

  it("fails if the server speaks plain HTTP", async ({ box, origin, work }) => {
    const url = origin.route("/a", does.file("x")).replace("http://", "https://");
    const { items } = await box.sync([url, ...work.into, ...once]);
    expect(items[0]).toMatchObject({ status: "failed", error: { class: "tls" } });
  });

  it("keeps its secrets on a redirect to http", async ({ box, origin, work }) => {
    certificate ??= await selfSigned(box.root);
    const tls = await FaultOrigin.start(certificate);
    const url = tls.route("/a", does.redirect(origin.route("/b", does.file("x"))));
    const env = { NODE_EXTRA_CA_CERTS: certificate.certPath };
    await box.sync([url, ...work.into, ...credentials, ...once], { env });
    await tls.stop();
    expect(tls.requests).toHaveLength(1);
    for (const { headers } of origin.requests) {
      expect(headers.authorization).toBeUndefined();
      expect(headers.cookie).toBeUndefined();
    }
  });
});

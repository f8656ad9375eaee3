import type { LookupAddress } from "node:dns";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { LookupFunction } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { type HttpAnswer, HttpClient } from "@drover/shared/storage/http/client";
import { AddressGuard } from "@drover/shared/storage/http/guard";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import * as does from "../../harness/behaviours.js";
import { type Certificate, selfSigned } from "../../harness/certificate.js";
import { FaultOrigin } from "../../harness/fault-origin.js";
import { TestProxy } from "../../harness/proxy.js";

let origin: FaultOrigin;
const clients: HttpClient[] = [];
/** Names that were looked up. */
let asked: string[];
beforeEach(async () => {
  for (const name of ["http_proxy", "https_proxy", "all_proxy", "no_proxy"]) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toUpperCase(), undefined);
  }
  asked = [];
  origin = await FaultOrigin.start();
  origin.route("/file", does.file("content"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await origin.stop();
});

/** Every name leads to the addresses that `answer` gives for it. */
function resolver(answer: (name: string) => string[]): LookupFunction {
  return (name, _options, callback) => {
    asked.push(name);
    const addresses = answer(name).map(
      (address): LookupAddress => ({ address, family: address.includes(":") ? 6 : 4 }),
    );
    process.nextTick(() => callback(null, addresses));
  };
}

const HERE = resolver(() => ["127.0.0.1"]);

function client(guard?: AddressGuard): HttpClient {
  const made = new HttpClient({ timeoutMs: 5_000, connections: 4, guard });
  clients.push(made);
  return made;
}

const guarded = (allow: string[] = [], resolve = HERE) => client(new AddressGuard(allow, resolve));

const get = (of: HttpClient, url: string) => of.get(url, {}, {}, new AbortController().signal);

async function textOf(answer: HttpAnswer | Promise<HttpAnswer>): Promise<string> {
  const { body } = await answer;
  body.reuseMemory();
  const parts: Buffer[] = [];
  for (let chunks = await body.read(); chunks !== null; chunks = await body.read())
    parts.push(Buffer.concat(chunks));
  return Buffer.concat(parts).toString();
}

/** The URL of a path on the origin, by another name or notation of its host. */
const at = (host: string, path = "/file", of = origin) => of.url(path).replace("127.0.0.1", host);

const REFUSED = { class: "address", permanent: true, verdict: "none" };

describe("a guarded URL", () => {
  test.for([
    ...["127.0.0.1", "127.1", "0", "017700000001", "0x7f.0.0.1", "2130706433", "127.0.0.1."],
    ...["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]"],
    ...["localhost", "app.localhost", "name.test"],
  ])("with the host %s is refused, and nothing is sent", async (host) => {
    await expect(get(guarded(), at(host))).rejects.toMatchObject(REFUSED);
    expect(origin.requests).toEqual([]);
  });

  test("that names only a private IPv6 address is refused", async () => {
    const only = guarded(
      [],
      resolver(() => ["fd00::1"]),
    );
    await expect(get(only, at("name.test"))).rejects.toMatchObject({
      ...REFUSED,
      message: "name.test has a private address: the operator may allow it with --allow-address",
    });
  });

  test("is refused by the system's own resolver as well", async () => {
    await expect(get(client(new AddressGuard()), at("localhost"))).rejects.toMatchObject(REFUSED);
  });

  test.for(["ftp://name.test/file", "gopher://127.0.0.1/", "file:///etc/passwd"])(
    "%s has no scheme that is fetched",
    async (url) => {
      await expect(get(guarded(["0.0.0.0/0"]), url)).rejects.toMatchObject({
        class: "unsupported",
        permanent: true,
      });
    },
  );

  test.for([
    ["a network", "127.0.0.0/8", "127.0.0.1"],
    ["a network, by name", "127.0.0.0/8", "name.test"],
    ["an address", "127.0.0.1", "127.1"],
    ["a host", "name.test", "name.test"],
  ])("is fetched where the worker allows %s", async ([, allowed, host]) => {
    expect(await textOf(get(guarded([allowed as string]), at(host as string)))).toBe("content");
  });

  test("is fetched where the worker allows its host and port, and refused with another port", async () => {
    const other = await FaultOrigin.start();
    const one = guarded([`name.test:${origin.port}`]);
    expect(await textOf(get(one, at("name.test")))).toBe("content");
    await expect(get(one, at("name.test", "/file", other))).rejects.toMatchObject(REFUSED);
    expect(other.requests).toEqual([]);
    await other.stop();
  });

  test("never leads to a metadata service, whatever is allowed", async () => {
    const everything = guarded(
      ["0.0.0.0/0", "::/0", "name.test", "metadata.google.internal"],
      resolver(() => ["169.254.169.254"]),
    );
    for (const host of ["169.254.169.254", "[::ffff:a9fe:a9fe]", "name.test", "metadata.google.internal"])
      await expect(get(everything, `http://${host}/latest/meta-data/`)).rejects.toMatchObject({
        ...REFUSED,
        message: expect.stringContaining("metadata service"),
      });
  });
});

describe("a redirect of a guarded URL", () => {
  const allowed = () => guarded(["open.test"]);

  test.for(["127.0.0.1", "localhost", "2130706433", "[::1]", "name.test", "169.254.169.254"])(
    "to %s is refused",
    async (host) => {
      origin.route("/away", does.redirect(at(host)));
      await expect(get(allowed(), at("open.test", "/away"))).rejects.toMatchObject(REFUSED);
      expect(origin.requestsTo("/file")).toEqual([]);
    },
  );

  test("is checked at every hop", async () => {
    origin.route("/one", does.redirect(at("open.test", "/two")));
    origin.route("/two", does.redirect(at("127.0.0.1")));
    await expect(get(allowed(), at("open.test", "/one"))).rejects.toMatchObject(REFUSED);
    expect(origin.requests.map(({ path }) => path)).toEqual(["/one", "/two"]);
  });

  test("to another port of the same name is refused where that is not allowed", async () => {
    const other = await FaultOrigin.start();
    origin.route("/away", does.redirect(at("open.test", "/file", other)));
    const one = guarded([`open.test:${origin.port}`]);
    await expect(get(one, at("open.test", "/away"))).rejects.toMatchObject(REFUSED);
    expect(other.requests).toEqual([]);
    await other.stop();
  });

  test("from an allowed loopback address leads to no other of them", async () => {
    origin.route("/away", does.redirect(at("127.0.0.2")));
    await expect(get(guarded(["127.0.0.1"]), at("127.0.0.1", "/away"))).rejects.toMatchObject(REFUSED);
  });

  test("is followed to what is allowed", async () => {
    origin.route("/away", does.redirect(at("open.test")));
    expect(await textOf(get(allowed(), at("open.test", "/away")))).toBe("content");
  });
});

describe("a name that leads elsewhere when it is asked again", () => {
  /** 127.0.0.1, which is allowed, at first, then 127.0.0.2, which is not. */
  const rebinding = () => {
    let times = 0;
    return guarded(
      ["127.0.0.1"],
      resolver(() => [times++ === 0 ? "127.0.0.1" : "127.0.0.2"]),
    );
  };

  test("leads to the address that was checked: it is asked once for a connection", async () => {
    const secret = createServer((_request, response) => void response.end("secret"));
    secret.listen(origin.port, "127.0.0.2");
    await once(secret, "listening");
    expect(await textOf(get(rebinding(), at("rebind.test")))).toBe("content");
    expect(asked).toEqual(["rebind.test"]);
    secret.close();
  });

  test("is refused with the next connection", async () => {
    origin.route("/closes", does.file("content", { headers: { connection: "close" } }));
    const one = rebinding();
    expect(await textOf(get(one, at("rebind.test", "/closes")))).toBe("content");
    await expect(get(one, at("rebind.test", "/closes"))).rejects.toMatchObject(REFUSED);
    expect(asked).toEqual(["rebind.test", "rebind.test"]);
    expect(origin.requests).toHaveLength(1);
  });
});

test("an open connection is used for no host that may not have it", async () => {
  const url = at("127.0.0.1");
  expect(await textOf(get(client(), url))).toBe("content"); // it stays open in the same process
  const one = guarded(["open.test"]);
  expect(await textOf(get(one, at("open.test")))).toBe("content");
  await expect(get(one, at("name.test"))).rejects.toMatchObject(REFUSED);
  await expect(get(one, url)).rejects.toMatchObject(REFUSED);
  expect(origin.requests).toHaveLength(2);
});

describe("a request to a service", () => {
  const ask = (of: HttpClient, path: string) =>
    of.ask(new URL(origin.url()).origin, path, {}, new AbortController().signal);

  test("is not guarded: the operator has named it", async () => {
    expect(await textOf(ask(guarded(), "/file"))).toBe("content");
  });

  test("is not led elsewhere by a redirect", async () => {
    origin.route("/away", does.redirect(at("127.0.0.1"), 307));
    expect((await ask(guarded(), "/away")).status).toBe(307);
    expect(origin.requestsTo("/file")).toEqual([]);
  });
});

describe("over https", () => {
  let directory: string;
  let certificate: Certificate;
  let secure: FaultOrigin;
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "drover-guard-"));
    certificate = await selfSigned(directory, "DNS:open.test,DNS:name.test,DNS:localhost,IP:127.0.0.1");
  });
  afterAll(() => rmSync(directory, { recursive: true }));
  beforeEach(async () => {
    secure = await FaultOrigin.start(certificate);
    secure.route("/file", does.file("content"));
    vi.stubEnv("DROVER_CA_FILE", certificate.certPath);
  });
  afterEach(() => secure.stop());

  test("names are checked alike", async () => {
    const one = guarded(["open.test"]);
    expect(await textOf(get(one, at("open.test", "/file", secure)))).toBe("content");
    await expect(get(one, at("name.test", "/file", secure))).rejects.toMatchObject(REFUSED);
    await expect(get(one, secure.url("/file"))).rejects.toMatchObject(REFUSED);
    expect(secure.requests).toHaveLength(1);
  });

  test("a server gets no client certificate, which was not meant for it", async () => {
    const asking = { ...certificate, ca: certificate.cert, requestCert: true, rejectUnauthorized: false };
    const curious = await FaultOrigin.start(asking);
    vi.stubEnv("DROVER_CLIENT_CERT", certificate.certPath);
    vi.stubEnv("DROVER_CLIENT_KEY", certificate.keyPath);
    const presented: boolean[] = [];
    curious.route("/cert", (exchange) => {
      const { subject } = (exchange.request.socket as TLSSocket).getPeerCertificate();
      presented.push(subject !== undefined);
      exchange.response.end();
    });
    const url = curious.url("/cert");
    await textOf(get(client(), at("localhost", "/cert", curious)));
    await textOf(get(guarded(["127.0.0.1"]), url));
    expect(presented).toEqual([true, false]);
    await curious.stop();
  });

  test("a proxy is used where that is allowed", async () => {
    const proxy = await TestProxy.start();
    vi.stubEnv("HTTPS_PROXY", proxy.url());
    await expect(get(guarded(), at("name.test", "/file", secure))).rejects.toMatchObject(REFUSED);
    expect(proxy.requests).toEqual([]);
    expect(await textOf(get(guarded(["proxy"]), at("name.test", "/file", secure)))).toBe("content");
    expect(proxy.requests).toMatchObject([{ method: "CONNECT" }]);
    await proxy.stop();
  });
});

describe("where the environment names a proxy", () => {
  let proxy: TestProxy;
  beforeEach(async () => {
    proxy = await TestProxy.start();
    vi.stubEnv("HTTP_PROXY", proxy.url());
  });
  afterEach(() => proxy.stop());

  test("a guarded URL goes direct", async () => {
    await expect(get(guarded(), at("name.test"))).rejects.toMatchObject(REFUSED);
    expect(await textOf(get(guarded(["name.test"]), at("name.test")))).toBe("content");
    expect(proxy.requests).toEqual([]);
  });

  test("it goes through the proxy where that is allowed, which resolves its name", async () => {
    expect(await textOf(get(guarded(["proxy"]), at("name.test")))).toBe("content");
    expect(proxy.requests).toMatchObject([{ target: at("name.test") }]);
    expect(asked).toEqual([]);
  });

  test("the proxy is not asked for what the URL itself shows to be private", async () => {
    const one = guarded(["proxy"]);
    origin.route("/away", does.redirect("http://10.0.0.1/file"));
    for (const url of ["http://10.0.0.1/", "http://[::]/", "http://localhost/", "http://metadata/"])
      await expect(get(one, url)).rejects.toMatchObject(REFUSED);
    expect(proxy.requests).toEqual([]);
    await expect(get(one, at("name.test", "/away"))).rejects.toMatchObject(REFUSED);
    expect(proxy.requests).toHaveLength(1);
  });

  test("services are reached through it, guarded or not", async () => {
    const service = at("service.test", "");
    const answer = guarded().ask(service, "/file", {}, new AbortController().signal);
    expect(await textOf(answer)).toBe("content");
    expect(proxy.requests).toHaveLength(1);
  });
});

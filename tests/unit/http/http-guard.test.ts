import dns, { type LookupAddress } from "node:dns";
import { syncBuiltinESMExports } from "node:module";
import { checkHeader, HttpClient } from "@drover/shared/storage/http/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as does from "../../harness/behaviours.js";
import { FaultOrigin } from "../../harness/fault-origin.js";

/** Names that only these tests resolve. Linux treats 0.0.0.0 as this machine. */
const NAMES: Record<string, string> = {
  "asked.test": "127.0.0.1",
  "loopback.test": "127.0.0.1",
  "private.test": "0.0.0.0",
};

const { lookup } = dns;
let origin: FaultOrigin;
let client: HttpClient;
beforeAll(async () => {
  const known = (name: string, options: dns.LookupOptions, told: (...answer: unknown[]) => void) => {
    const address = NAMES[name];
    if (address === undefined) return lookup(name, options, told as never);
    const all: LookupAddress[] = [{ address, family: 4 }];
    process.nextTick(() => (options.all ? told(null, all) : told(null, address, 4)));
  };
  dns.lookup = known as typeof dns.lookup;
  syncBuiltinESMExports();
  origin = await FaultOrigin.start();
  client = new HttpClient({ timeoutMs: 5_000, connections: 4 });
});
afterAll(async () => {
  dns.lookup = lookup;
  syncBuiltinESMExports();
  await client.close();
  await origin.stop();
});

const at = (host: string, path: string) => origin.url(path).replace("127.0.0.1", host);
const get = (url: string) => client.get(url, {}, {}, new AbortController().signal);

describe("a redirect to a name", () => {
  test.for([
    ["asked.test", "loopback.test"],
    ["asked.test", "private.test"],
    ["127.0.0.1", "private.test"],
    ["localhost", "private.test"],
  ] as const)("is refused for its address: from %s to %s", async ([from, to]) => {
    origin.route("/there", does.file("secret"));
    origin.route("/here", does.redirect(at(to, "/there")));
    await expect(get(at(from, "/here"))).rejects.toMatchObject({ class: "address", permanent: true });
    expect(origin.requestsTo("/there")).toEqual([]);
  });

  test("of this machine is followed if the user named this machine", async () => {
    origin.route("/open", does.file("open"));
    origin.route("/here", does.redirect(at("loopback.test", "/open")));
    expect((await get(at("127.0.0.1", "/here"))).status).toBe(200);
  });
});

describe("a header of the user", () => {
  test.for([
    "Range",
    "if-match",
    "If-None-Match",
    "if-range",
    "Host",
    "Content-Length",
    "TE",
    "Accept-Encoding",
  ])("cannot be %s, which Drover must control", (name) => {
    expect(() => checkHeader(name)).toThrow(`the header ${name} is set by Drover itself`);
  });

  test.for(["", "a b", "ü", "a:b", "a\n"])("cannot be called %j", (name) => {
    expect(() => checkHeader(name)).toThrow("invalid header name");
  });

  test("is compared in lower case", () => {
    expect(checkHeader("X-Api-Key")).toBe("x-api-key");
  });
});

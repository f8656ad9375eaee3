import { Proxies } from "@drover/shared/storage/http/proxies";
import { describe, expect, test } from "vitest";

const PROXY = "http://proxy.test:3128";
const shown = (environment: Record<string, string>, origin: string) =>
  new Proxies(environment).for(origin)?.shown;

describe("the proxy of an origin", () => {
  test.for<[string, Record<string, string>, string, string | undefined]>([
    ["none", {}, "https://a.test", undefined],
    ["of its scheme", { HTTPS_PROXY: PROXY }, "https://a.test", PROXY],
    ["not of the other scheme", { HTTPS_PROXY: PROXY }, "http://a.test", undefined],
    ["of http", { HTTP_PROXY: PROXY }, "http://a.test", PROXY],
    ["of all", { ALL_PROXY: PROXY }, "http://a.test:8080", PROXY],
    [
      "in lower case before upper case",
      { http_proxy: PROXY, HTTP_PROXY: "http://other.test:1" },
      "http://a.test",
      PROXY,
    ],
    ["none where the variable is empty", { https_proxy: "", ALL_PROXY: PROXY }, "https://a.test", undefined],
    ["without a scheme", { HTTPS_PROXY: "proxy.test:3128" }, "https://a.test", PROXY],
    ["without a port", { HTTPS_PROXY: "https://proxy.test" }, "https://a.test", "https://proxy.test:443"],
    ["without its password", { ALL_PROXY: "http://me:secret@proxy.test:3128" }, "https://a.test", PROXY],
  ])("is %s", ([, environment, origin, expected]) => {
    expect(shown(environment, origin)).toBe(expected);
  });

  test.for([
    "http://localhost:1",
    "https://127.0.0.1",
    "http://127.8.9.1:80",
    "http://[::1]:80",
    "http://a.localhost",
  ])("is none for this machine: %s", (origin) => {
    expect(shown({ ALL_PROXY: PROXY, no_proxy: "" }, origin)).toBeUndefined();
  });

  test.for<[string, string, boolean]>([
    ["*", "https://a.test", true],
    ["a.test", "https://a.test", true],
    ["A.Test", "https://a.test", true],
    ["a.test", "https://b.a.test", true],
    [".a.test", "https://a.test", true],
    [".a.test", "https://b.a.test", true],
    ["*.a.test", "https://b.a.test", true],
    ["a.test", "https://nota.test", false],
    ["b.test, a.test", "https://a.test", true],
    ["b.test a.test", "https://a.test.", true],
    ["a.test:8443", "https://a.test:8443", true],
    ["a.test:8443", "https://a.test", false],
    ["a.test:443", "https://a.test", true],
    ["10.1.2.3", "http://10.1.2.3", true],
    ["10.0.0.0/8", "http://10.1.2.3:9000", true],
    ["10.0.0.0/8", "http://11.1.2.3", false],
    ["10.1.2.3:9000", "http://10.1.2.3:9000", true],
    ["10.1.2.3:9000", "http://10.1.2.3", false],
    ["fd00::/8", "http://[fd00::1]", true],
    ["[fd00::1]", "http://[fd00::1]", true],
    ["[fd00::1]:80", "http://[fd00::1]", true],
    ["", "https://a.test", false],
    ["10.0.0.0/99, a.test", "https://a.test", true],
  ])("with no_proxy=%s and %s: none is %s", ([list, origin, none]) => {
    expect(shown({ ALL_PROXY: PROXY, NO_PROXY: list }, origin)).toBe(none ? undefined : PROXY);
  });

  test.for(["socks5://me:secret@proxy.test:1080", "http://me:secret@", "http://me:secret@proxy.test:99999"])(
    "must be named by an http(s) URL, and the error does not show a password: %s",
    (value) => {
      const find = () => new Proxies({ HTTPS_PROXY: value }).for("https://a.test");
      expect(find).toThrow("HTTPS_PROXY must be the http(s) URL of a proxy");
    },
  );

  test.for(["http://me:12#34@proxy.test", "http://me:1/2@proxy.test", "http://me:p@ss?x@proxy.test:3128"])(
    "with a special character in the password is refused with what to do: %s",
    (value) => {
      const find = () => new Proxies({ HTTPS_PROXY: value }).for("https://a.test");
      expect(find).toThrow(/^HTTPS_PROXY must be .*percent-encoded$/);
    },
  );

  test("is sent user and password, decoded", () => {
    const found = new Proxies({ HTTPS_PROXY: "http://me:p%40ss@proxy.test" }).for("https://a.test");
    expect(found?.authorization).toBe(`Basic ${Buffer.from("me:p@ss").toString("base64")}`);
  });
});

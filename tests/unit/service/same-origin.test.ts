import { isSameOrigin } from "@drover/service/security/same-origin";
import { describe, expect, it } from "vitest";

describe("a change that a browser asks for", () => {
  it.each([
    [{ host: "a.example", origin: "https://a.example" }, true],
    [{ host: "a.example", origin: "http://a.example" }, true],
    [{ host: "a.example:443", origin: "https://a.example" }, true],
    [{ host: "A.example", origin: "https://a.example" }, true],
    [{ host: "[::1]:8888", origin: "http://[::1]:8888" }, true],
    [{ host: "a.example", origin: "https://a.example", "sec-fetch-site": "same-origin" }, true],
    [{ host: "a.example", origin: "https://a.example", "sec-fetch-site": "same-site" }, false],
    [{ host: "a.example", origin: "https://a.example", "sec-fetch-site": "cross-site" }, false],
    [{ host: "a.example", origin: "https://a.example", "sec-fetch-site": "none" }, false],
    [{ host: "a.example" }, false],
    [{ host: "a.example", origin: "null" }, false],
    [{ host: "a.example", origin: "https://b.example" }, false],
    [{ host: "a.example", origin: "https://a.example.b.example" }, false],
    [{ host: "a.example", origin: "https://a.example:8443" }, false],
    [{ host: "a.example", origin: "ftp://a.example" }, false],
    [{ host: "a.example", origin: "chrome-extension://a.example" }, false],
    [{ host: "a example", origin: "https://a.example" }, false],
    [{ origin: "https://a.example" }, false],
  ])("%o is one of the service's own pages: %s", (headers, expected) => {
    expect(isSameOrigin({ headers })).toBe(expected);
  });

  it("is held against the host that a proxy was asked for", () => {
    const headers = { host: "drover.internal:8888", origin: "https://a.example" };
    expect(isSameOrigin({ headers })).toBe(false);
    expect(isSameOrigin({ headers }, "a.example")).toBe(true);
  });
});
